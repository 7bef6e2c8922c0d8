"""What was paid for, and which calls were answered how."""
