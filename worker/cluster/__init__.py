"""What runs on a Ray cluster: lanes as actors, frames of the analyst as tasks. Nothing else here knows of Ray."""

from worker.errors import UsageError

try:
    import ray  # noqa: F401 (a look whether it is there)
except ModuleNotFoundError as error:
    raise UsageError("a cluster needs Ray: install modworker[cluster] here and on every node") from error
