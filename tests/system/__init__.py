"""Real worker processes against a real database and a real service."""
