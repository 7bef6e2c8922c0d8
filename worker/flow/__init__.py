"""Decisions and timing, pure or on anyio alone: no AWS, no database; testable in virtual time."""
