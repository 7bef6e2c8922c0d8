"""Faults on demand: a plan says what is to go wrong, seeded, so that the same plan does the same again."""
