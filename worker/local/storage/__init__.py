"""The buckets: a made-up archive, edge cases, folders of this machine, or another S3's."""
