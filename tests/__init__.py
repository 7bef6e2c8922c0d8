"""The tests mirror `worker/`; `tests/system/` runs real processes."""
