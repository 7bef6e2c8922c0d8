"""The only place that speaks SQL: the statements lie in queries/*.sql, named, and are called from here by name."""
