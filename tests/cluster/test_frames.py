"""Frames of real videos scored on a Ray cluster: as one process would score them, whatever happens to a node."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")
from ray.cluster_utils import Cluster  # noqa: E402

from tests import videos  # noqa: E402
from tests.cluster.conftest import ROOT  # noqa: E402
from tests.system.processes import WorkerProcess  # noqa: E402
from tests.system.site import Site, finished, until  # noqa: E402
from worker.cluster.frames import score  # noqa: E402
from worker.cluster.head import connect  # noqa: E402
from worker.config import Settings  # noqa: E402
from worker.local.analysts.analysis import StoredVideo  # noqa: E402
from worker.local.analysts.model import SIDE_PIXELS, Model  # noqa: E402
from worker.local.analysts.onnx import OnnxAnalyst  # noqa: E402

pytestmark = pytest.mark.timeout(480)  # on a loaded machine: a cluster takes half a minute to come up there

AddNodes = Callable[[int, int], list[Any]]

CLIP = "carphone_pristine.mp4"
BROKEN = "damaged_frame.mp4"
REPEATS = 15  # a minute: long enough under analysis for something to happen in the middle
HEAD_SECONDS = {"RAY_gcs_rpc_server_reconnect_timeout_s": "8"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, and `long.mp4`, which shows a clip of it many times."""
    folder = tmp_path_factory.mktemp("archive")
    videos.build(folder)
    videos.repeat(folder / CLIP, folder / "long.mp4", times=REPEATS)
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A local service that looks at real videos; nothing here needs a database."""
    with Site(tmp_path, "postgresql://nobody@127.0.0.1:1/none") as site:
        site.configure(local={"analyst": "onnx"})
        yield site


def serve(site: Site, *options: str, **environment: str) -> WorkerProcess:
    """A service that answers."""
    process = site.start("serve", *options, environment=environment)
    assert process.stdout.readline().startswith("http://"), process.stderr.read()
    return process


def started(site: Site, bucket: str, key: str) -> str:
    """The JobId of a new analysis."""
    video = {"S3Object": {"Bucket": bucket, "Name": key}}
    job_id: str = site.client("rekognition").start_content_moderation(Video=video, MinConfidence=0)["JobId"]
    return job_id


def status(site: Site, job_id: str) -> str:
    return str(site.client("rekognition").get_content_moderation(JobId=job_id)["JobStatus"])


def labels(site: Site, job_id: str) -> list[dict[str, Any]]:
    """What a job has found once it is over."""
    rekognition = site.client("rekognition")
    until(lambda: status(site, job_id) != "IN_PROGRESS", within_seconds=120)
    page = rekognition.get_content_moderation(JobId=job_id)
    assert page["JobStatus"] == "SUCCEEDED", page
    found = page["ModerationLabels"]
    while token := page.get("NextToken"):
        page = rekognition.get_content_moderation(JobId=job_id, NextToken=token)
        found += page["ModerationLabels"]
    return [{name: one[name] for name in ("Timestamp", "ModerationLabel")} for one in found]


@cache
def labels_in_process(path: Path) -> list[dict[str, Any]]:
    """What one process finds by itself."""
    analysis = OnnxAnalyst().analyse(StoredVideo("archive", path.name, None, 0, path), 0)
    assert len(analysis.labels) == 2 * len(analysis.samples_ms) > 0
    found: list[dict[str, Any]] = msgspec.to_builtins(analysis.labels)
    return [{name: one[name] for name in ("Timestamp", "ModerationLabel")} for one in found]


def scoring(node: Any) -> int | None:
    """The process of that node that scores a frame right now: Ray names processes after what they do."""
    [raylet] = node.all_processes["raylet"]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == raylet.process.pid and b"_scored" in (stat.parent / "cmdline").read_bytes():
                return int(stat.parent.name)
    return None


def stopped_with_a_frame(node: Any) -> int | None:
    """A process of that node that stands still in the middle of a frame."""
    if pid := scoring(node):
        os.kill(pid, signal.SIGSTOP)
        if scoring(node) == pid:
            return pid
        os.kill(pid, signal.SIGCONT)
    return None


def test_node_killed_in_the_middle_changes_no_label(head: Cluster, add_nodes: AddNodes, site: Site, archive: Path):
    """Labels are those of one process, bit by bit, also of a video of which a frame was on a node that was killed."""
    victim, _ = add_nodes(2, 1)
    serve(site, "--cluster", head.address)
    bucket = site.publish(archive)
    jobs = {key: started(site, bucket, key) for key in ("long.mp4", "portrait.mp4", "bikes.mp4")}
    pid = until(lambda: stopped_with_a_frame(victim), within_seconds=60)
    head.remove_node(victim, allow_graceful=False)
    os.kill(pid, signal.SIGKILL)
    assert status(site, jobs["long.mp4"]) == "IN_PROGRESS"
    for key, job_id in jobs.items():
        assert labels(site, job_id) == labels_in_process(archive / key), key
    broken = started(site, bucket, BROKEN)
    until(lambda: status(site, broken) == "FAILED")


def test_lost_cluster_ends_the_service_and_fails_no_job(head: Cluster, add_nodes: AddNodes, site: Site, archive: Path):
    """Without Ray on its machine, and without a head, it ends with 3 and a sentence; the next one analyses the job."""
    [node] = add_nodes(1, 1)
    job_id = None
    for lose in (head.head_node.kill_raylet, head.head_node.kill_gcs_server):
        service = serve(site, "--cluster", head.address, **HEAD_SECONDS)
        job_id = job_id or started(site, site.publish(archive), "long.mp4")
        pid = until(lambda: stopped_with_a_frame(node), within_seconds=60)
        lose(check_alive=False)
        done = finished(service, seconds=60)
        with suppress(ProcessLookupError):  # Ray ends those whose owner has ended
            os.kill(pid, signal.SIGKILL)
        assert done.returncode == 3, done.stderr
        assert "modworker: the Ray cluster" in done.stderr
        assert done.stderr.rstrip().endswith("go on with the same command")
        assert "Traceback" not in done.stderr
    head.remove_node(node, allow_graceful=False)
    serve(site)
    assert labels(site, job_id) == labels_in_process(archive / "long.mp4")


async def test_frames_under_way_are_few_and_their_scores_in_order(
    head: Cluster, add_nodes: AddNodes, monkeypatch: pytest.MonkeyPatch
):
    """Never are more frames taken ahead than may be, and each has the scores that the model gives here, bit by bit."""
    seed = random.randrange(2**32)
    print("seed", seed)
    frames = np.random.default_rng(seed).integers(0, 256, (20, 3, SIDE_PIXELS, SIDE_PIXELS), np.uint8)
    monkeypatch.setattr("worker.cluster.frames.FRAMES_AHEAD", 4)
    add_nodes(1, 2)
    await connect(head.address, Settings())
    taken: list[Any] = []
    try:
        scored = []
        for probabilities in score(taken.append(frame) or frame for frame in frames):
            scored.append(probabilities)
            assert len(taken) - len(scored) < 4
    finally:
        ray.shutdown()
    assert np.array_equal(scored, [Model()(frame) for frame in frames])


def test_node_without_the_analysts_packages(
    head: Cluster, add_nodes: AddNodes, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The service does not start: one sentence names the node, what it lacks and how to mend it."""
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking" / "onnxruntime.py").write_text("raise ModuleNotFoundError(name=__name__)")
    with monkeypatch.context() as environment:
        environment.setenv("PYTHONPATH", f"{tmp_path / 'lacking'}:{ROOT}")
        add_nodes(1, 1)
    done = site.run("serve", "--cluster", head.address)
    assert done.returncode == 2, done.stderr
    assert "install modworker[analysis] on every node" in done.stderr
    assert "Traceback" not in done.stderr


def test_made_up_videos_have_no_frames(site: Site):
    """A cluster for the analyst that looks at nothing is a mistake."""
    site.configure(local={"analyst": "synthetic"})
    done = site.run("serve", "--cluster", "127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr == 'modworker: cluster 127.0.0.1:1: only local.analyst = "onnx" has frames to score\n'
