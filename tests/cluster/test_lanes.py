"""Lanes on a Ray cluster of a head and two nodes: a node is killed in the middle, and the books are true at the end."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")
from ray.cluster_utils import Cluster  # noqa: E402

from tests.system.checker import findings  # noqa: E402
from tests.system.site import Site, finished, until  # noqa: E402
from tests.system.truth import rows_in  # noqa: E402

pytestmark = pytest.mark.timeout(480)  # on a loaded machine: a cluster takes half a minute to come up there

ARCHIVE = "s3://synthetic-archive/"
VIDEOS = 1000
LANES = ("a", "b", "c", "d")
STARTS_PER_SECOND = 8.0  # of each lane: half a minute of work
LEASE_SECONDS = 8  # on a machine that has a node to start beside
ELSEWHERE_SECONDS = PLACED_SECONDS = 150.0  # a loaded machine; how soon it was is printed
OWNERS = "select name, epoch, holder_name from lane where expires_at > clock_timestamp()"
PLACE = re.compile(r"Ray node (\w{8})\)-(\d+)$")


@pytest.fixture
def cluster(head: Cluster, add_nodes: Callable[[int, int], list[Any]]) -> Cluster:
    """A head that holds no lane, and two nodes."""
    add_nodes(2, 4)
    return head


@pytest.fixture
def site(site: Site) -> Site:
    """Four lanes of one region, each an account of its own."""
    del site.sections["lanes.main"]
    lane = site.local_lane("us-east-1", start_per_second=STARTS_PER_SECOND)
    site.configure(
        local={"videos": VIDEOS},
        worker={"lease_seconds": LEASE_SECONDS},
        **{f"lanes__{name}": dict(lane) for name in LANES},
    )
    site.service()
    return site


async def owners(site: Site) -> dict[str, tuple[int, str, int]]:
    """Lane -> (epoch, node, process)."""
    places = {
        row["name"]: (row["epoch"], PLACE.search(row["holder_name"]))
        for row in await rows_in(site.database_url, OWNERS)
    }
    return {name: (epoch, place[1], int(place[2])) for name, (epoch, place) in places.items() if place}


async def until_owned(site: Site, within_seconds: float, is_there: Any) -> dict[str, tuple[int, str, int]]:
    """Wait until the lanes are where they should be; how they are then."""
    deadline = time.monotonic() + within_seconds
    while not is_there(found := await owners(site)):
        assert time.monotonic() < deadline, f"not there within {within_seconds} s: {found}"
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


async def test_node_killed_in_the_middle(cluster: Cluster, site: Site):
    """Its lanes run elsewhere soon, the others notice nothing, no job is bought twice, `status` tells the places."""
    assert site.run("enqueue", ARCHIVE).returncode == 0
    driver = site.start("run", "--until-empty", "--cluster", cluster.address)
    before = await until_owned(site, PLACED_SECONDS, lambda found: found.keys() == set(LANES))
    until(lambda: site.ledger()["paid_jobs"] >= VIDEOS / 5, within_seconds=60)
    assert {node for _, node, _ in before.values()} == {node.node_id[:8] for node in cluster.worker_nodes}
    assert all(node in site.run("status").stdout for _, node, _ in before.values())

    victim = min(cluster.worker_nodes, key=lambda node: node.node_id)
    lost = {name for name, (_, node, _) in before.items() if node == victim.node_id[:8]}
    killed_at = time.monotonic()
    cluster.remove_node(victim, allow_graceful=False)
    after = await until_owned(
        site,
        ELSEWHERE_SECONDS,
        lambda found: found.keys() == set(LANES) and all(found[name][0] > before[name][0] for name in lost),
    )
    print(f"lanes {sorted(lost)} elsewhere after {time.monotonic() - killed_at:.1f} s")
    assert {name: after[name] for name in after.keys() - lost} == {name: before[name] for name in before.keys() - lost}
    until(lambda: not any(is_alive(before[name][2]) for name in lost))  # none of the old owners can call any more

    done = finished(driver, seconds=PLACED_SECONDS)
    assert done.returncode == 0, done.stderr
    assert await findings(site, registered=VIDEOS) == []


async def test_fleet_outlives_its_driver_and_ends_with_the_next(cluster: Cluster, site: Site):
    """Lanes go on when the process that placed them is killed; the next one finds them, and its SIGTERM ends them."""
    assert site.run("enqueue", ARCHIVE).returncode == 0
    first = site.start("run", "--cluster", cluster.address)
    before = await until_owned(site, PLACED_SECONDS, lambda found: found.keys() == set(LANES))
    first.send_signal(signal.SIGKILL)
    first.communicate()
    paid = site.ledger()["paid_jobs"]
    until(lambda: site.ledger()["paid_jobs"] > paid + 10)
    second = site.start("run", "--cluster", cluster.address)
    lines = list(takewhile(lambda line: line and "lane placed" not in line, iter(second.stderr.readline, None)))
    assert second.poll() is None, lines
    assert await owners(site) == before
    second.terminate()
    done = finished(second, seconds=30)
    assert done.returncode == 0, done.stderr
    assert await rows_in(site.database_url, OWNERS) == []
    until(lambda: not any(is_alive(pid) for _, _, pid in before.values()))


def test_no_cluster_at_the_address(site: Site):
    """Where no head answers, one sentence says so."""
    done = site.run("run", "--cluster", "127.0.0.1:1", seconds=60)
    assert done.returncode == 2
    assert "cluster 127.0.0.1:1: no Ray cluster answers there" in done.stderr
    assert "Traceback" not in done.stderr


def test_embedded_database_is_no_cluster_s(site: Site):
    """What only one machine can reach is refused before anything is placed."""
    site.configure(database={"url": "embedded"})
    done = site.run("run", "--cluster", "127.0.0.1:1", seconds=60)
    assert done.returncode == 2
    assert done.stderr == "modworker: --cluster: set database.url; the embedded PostgreSQL is this machine's own\n"
