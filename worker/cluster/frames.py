"""Frames of the local service's analyst as Ray tasks: scored on the nodes, by the model that one process would use."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from worker.cluster.head import connect, refuse_unreachable, watch_head
from worker.config import Settings
from worker.errors import ClusterError, UsageError

if TYPE_CHECKING:  # an extra, which the nodes need
    from worker.local.analysts.model import Frame, Model, Plane, Probabilities, Score

FRAMES_AHEAD = 64  # of one video, 150 kB each: more than there are cores that one which decodes can feed
TRIES_AGAIN = 3  # after a node or a process was lost


@asynccontextmanager
async def frames_scored_at(address: str, settings: Settings) -> AsyncIterator[Score]:
    """Score on the nodes of the cluster at that address while inside.

    Raises:
        UsageError: if there is no cluster, or one of its nodes cannot score.
        ClusterError: if its head is lost.

    """
    refuse_unreachable(address)
    await connect(address, settings)
    async with anyio.create_task_group() as watched:
        watched.start_soon(watch_head)
        await anyio.to_thread.run_sync(_refuse_unable_nodes, abandon_on_cancel=True)
        yield score
        watched.cancel_scope.cancel()


def score(frames: Iterator[Frame]) -> Iterator[Probabilities]:
    """The probabilities of each frame, in their order; a bounded number of frames is under way.

    Raises:
        ClusterError: if the cluster does not score them.

    """
    ahead: deque[ray.ObjectRef[Any]] = deque()
    try:
        for frame in frames:
            ahead.append(_scored.remote(*frame))
            if len(ahead) == FRAMES_AHEAD:
                yield ray.get(ahead.popleft())
        while ahead:
            yield ray.get(ahead.popleft())
    except RayError as error:
        raise ClusterError(
            f"the Ray cluster scores no frames any more ({_reason(error)}); mend it, and go on with the same command"
        ) from error


@ray.remote(num_cpus=1, max_retries=TRIES_AGAIN)
def _scored(*planes: Plane) -> Probabilities:
    """Score a frame.

    Its planes are arguments of their own, each small enough (50 kB) to travel inside the task: with frames in Ray's
    object store, Ray would end the service without a word when this machine's node dies.
    """
    return _model()(planes)


@ray.remote(num_cpus=0)
def _load() -> None:
    _model()


@cache
def _model() -> Model:
    """That of a process on a node."""
    try:
        from worker.local.analysts.model import Model  # noqa: PLC0415 (an extra)

        return Model()
    except (ImportError, UsageError) as error:
        raise UsageError(
            f"{socket.gethostname()} cannot score frames ({error}); install modworker[analysis] on every node"
        ) from None


def _refuse_unable_nodes() -> None:
    """Have every node that takes tasks load the model."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]  # type: ignore[no-untyped-call]
    there = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    try:
        ray.get([_load.options(scheduling_strategy=one).remote() for one in there])
    except RayError as error:
        raise UsageError(f"the Ray cluster cannot score frames: {_reason(error)}") from error


def _reason(error: RayError) -> str:
    """In one line; what a task raised, in its own words."""
    return str(getattr(error, "cause", None) or error).partition("\n")[0]
