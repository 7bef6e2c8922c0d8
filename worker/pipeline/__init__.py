"""The stages, one a file, joined by streams in `worker.app`; none of them knows another."""
