"""A Ray cluster on this machine: a head that takes no work, and the nodes that a test adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # an extra, without which the tests are skipped
    from ray.cluster_utils import Cluster

ROOT = Path(__file__).parents[2]
STORE_BYTES = 80 * 2**20
HEALTH = {  # of the head: a node that does not answer for so long is dead
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster without a node that works."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    for name, value in (HEALTH | {"PYTHONPATH": str(ROOT)}).items():
        monkeypatch.setenv(name, value)
    settings = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=settings)
    try:
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def add_nodes(head: Cluster) -> Callable[[int, int], list[Any]]:
    """Gives the head so many nodes of so many cores."""

    def add(count: int, cores: int) -> list[Any]:
        added = [head.add_node(num_cpus=cores, object_store_memory=STORE_BYTES) for _ in range(count)]
        head.wait_for_nodes()
        return added

    return add
