"""The stages, one a file, joined by streams in `worker.stages`; none of them knows another."""
