"""How long a backfill takes and what it costs, before it is worked on: pure, no AWS, no database, no clock."""
