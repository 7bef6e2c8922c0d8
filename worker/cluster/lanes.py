"""Lanes as Ray actors: Ray places and restarts them, PostgreSQL keeps it safe."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import uuid
from collections.abc import Collection
from typing import Any

import anyio
import ray
import structlog
from msgspec import Struct
from ray.exceptions import RayError

from worker import log
from worker.app import Application, open_store, traces_of
from worker.config import Changes, Settings, changes_between
from worker.errors import ModworkerError, UsageError
from worker.flow.stop import Stop
from worker.metrics import Metrics
from worker.process import WorkerProcess, pages

CPUS = 0.25  # a lane waits for AWS most of the time; with few lanes to a node each has room to decode its pages
LOOK_SECONDS = 1.0
ANSWER_SECONDS = 10.0  # an actor that is being restarted has none

logger = structlog.get_logger()


class Orders(Struct, frozen=True):
    """What a lane's process is to work by: the settings as they are served and as they were configured."""

    settings: Settings
    configured: Settings
    id: str


class Look(Struct, frozen=True):
    """What a lane's process says of itself; `ended` is "" after an end as asked, else the sentence of the fault."""

    node: str
    orders: str
    ended: str | None = None
    denied: str | None = None
    may_have_arrivals: bool = True


class LaneHost:
    """One lane in a process of its own, from its construction on: on a thread, so that Ray's calls find it at any time.

    When Ray restarts it, it is constructed with the orders that it was placed with; whoever follows the fleet sees that
    they are not the present ones, and gives it those.
    """

    def __init__(self, lane: str, orders: Orders) -> None:
        log.configure(json_lines=True)
        self._lane = lane
        self._orders = orders
        self._node = f"{socket.gethostname()} (Ray node {ray.get_runtime_context().get_node_id()[:8]})"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: WorkerProcess | None = None
        self._ended: str | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def look(self) -> Look:
        """Where it lives, and how it is."""
        if self._worker is None:
            return Look(self._node, self._orders.id, self._ended)
        state = self._worker.states.get(self._lane)
        denied = state.denied if state else None
        return Look(self._node, self._orders.id, self._ended, denied, self._worker.may_have_arrivals)

    def obey(self, orders: Orders) -> None:
        """Put other settings in force; where they are refused, the old ones stay."""
        self._orders = orders
        if self._loop and self._worker:
            changed = self._worker.reconfigure(orders.configured)
            try:
                asyncio.run_coroutine_threadsafe(changed, self._loop).result(ANSWER_SECONDS)
            except UsageError as error:
                logger.error("config file refused: the settings stay as they are", lane=self._lane, reason=str(error))  # noqa: TRY400 (no fault of ours)

    def stop(self) -> None:
        """Take nothing more; it ends once what it took has run dry."""
        if self._loop and self._worker:
            self._loop.call_soon_threadsafe(self._worker.stop.request)

    def _run(self) -> None:
        try:
            anyio.run(self._work)
            self._ended = ""
        except (ModworkerError, BaseExceptionGroup) as error:
            self._ended = _sentence(error)
            if self._ended is None:
                logger.exception("a fault of the program, not of yours; the lane goes on where it was")
                os._exit(1)  # Ray starts it anew

    async def _work(self) -> None:
        settings, name = self._orders.settings, f"{self._node}-{os.getpid()}"
        async with traces_of(settings, name) as traces, open_store(settings) as database:
            application = Application(settings, self._orders.configured, database, traces)
            application.name = name
            metrics = Metrics()
            worker = WorkerProcess(application, metrics, [self._lane])
            self._loop, self._worker = asyncio.get_running_loop(), worker
            async with pages(application, worker, metrics):
                await worker.run()


def _sentence(error: BaseException) -> str | None:
    """What an operator can mend; None for a fault of the program."""
    if isinstance(error, BaseExceptionGroup):
        known = error.subgroup(ModworkerError)
        return _sentence(known.exceptions[0]) if known else None
    return str(error) if isinstance(error, ModworkerError) else None


class Fleet:
    """The actors of a deployment: one for each lane, named after it, alive beyond the process that placed them."""

    def __init__(self, application: Application, chosen: Collection[str] | None) -> None:
        self._application = application
        self._chosen = chosen
        self._hosts: dict[str, Any] = {}
        self._looks: dict[str, Look] = {}
        self._orders = self._new_orders()

    @property
    def lanes(self) -> list[str]:
        """Those that are worked on."""
        return [name for name in self._application.settings.lanes if self._chosen is None or name in self._chosen]

    async def run(self, stop: Stop, *, is_until_empty: bool) -> str | None:
        """Place the lanes and follow them until the stop, or until nothing is left; gives the sentence of an early end.

        Raises:
            UsageError: what a lane said of its configuration.

        """
        self._give_orders()
        try:
            with stop.taking():
                return await self._follow(is_until_empty=is_until_empty)
        finally:
            with anyio.CancelScope(shield=True):
                await self._end()
        return None

    async def reconfigure(self, settings: Settings) -> Changes:
        """Put other settings in force: new lanes are placed, those that are gone end.

        Raises:
            UsageError: if a lane is registered in another region; then nothing has changed.

        """
        changes = changes_between(self._application.configured, settings)
        await self._application.register_lanes(settings)
        self._application.reconfigure(changes.lanes)
        self._give_orders()
        return changes

    def _give_orders(self) -> None:
        self._orders = self._new_orders()
        for name in self.lanes:
            self._hosts[name] = _placed(name, self._orders)

    def _new_orders(self) -> Orders:
        return Orders(self._application.settings, self._application.configured, uuid.uuid4().hex)

    async def _follow(self, *, is_until_empty: bool) -> str | None:
        registry = self._application.registry
        while True:
            await self._look()
            if faults := {name: look.ended for name, look in self._looks.items() if look.ended}:
                raise UsageError("; ".join(f"lane {name}: {fault}" for name, fault in faults.items()))
            if is_until_empty:
                may_have_arrivals = any(map(self._may_have_arrivals, self.lanes))
                left = await registry.work_left(self.lanes)
                if not left and not may_have_arrivals:
                    return None
                able = [name for name in self.lanes if not self._denied(name)]
                if left and not may_have_arrivals and not await registry.work_left(able):
                    return f"no lane is able to work ({next(filter(None, map(self._denied, self.lanes)))})"
            await anyio.sleep(LOOK_SECONDS)

    def _denied(self, name: str) -> str | None:
        look = self._looks.get(name)
        return look.denied if look else None

    def _may_have_arrivals(self, name: str) -> bool:
        if not self._application.settings.lanes[name].arrivals.queue_url:
            return False
        look = self._looks.get(name)
        return look is None or look.orders != self._orders.id or look.may_have_arrivals

    async def _look(self) -> None:
        """See where each lane is; what has old orders gets the present ones, what is gone from them ends."""
        async with anyio.create_task_group() as looks:
            for name in self._hosts:
                looks.start_soon(self._look_at, name)
        if gone := self._hosts.keys() - set(self.lanes):
            await self._take_away(gone)

    async def _look_at(self, name: str) -> None:
        host = self._hosts[name]
        look: Look | None = await _answer(host.look.remote())
        if look is None:
            logger.warning("lane does not answer: Ray is placing it anew", lane=name)
            return
        if (before := self._looks.get(name)) is None or before.node != look.node:
            logger.info("lane placed", lane=name, node=look.node)
        self._looks[name] = look
        if look.orders != self._orders.id:
            await _answer(host.obey.remote(self._orders))

    async def _end(self) -> None:
        await self._take_away(list(self._hosts))

    async def _take_away(self, names: Collection[str]) -> None:
        """End these lanes in their own way, then remove their actors."""
        for name in names:
            await _answer(self._hosts[name].stop.remote())
        grace_seconds = self._application.settings.worker.shutdown_grace_seconds
        with anyio.move_on_after(grace_seconds):
            while any([await self._is_working(name) for name in names]):  # noqa: ASYNC110 (it is another process's end)
                await anyio.sleep(LOOK_SECONDS / 4)
        for name in names:
            ray.kill(self._hosts.pop(name))
            self._looks.pop(name, None)

    async def _is_working(self, name: str) -> bool:
        look: Look | None = await _answer(self._hosts[name].look.remote())
        return look is not None and look.ended is None


def _placed(name: str, orders: Orders) -> Any:
    """The lane's actor, found by its name or made anew."""
    return (
        ray.remote(LaneHost)
        .options(
            name=f"lane:{name}",
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            num_cpus=CPUS,
            scheduling_strategy="SPREAD",
        )
        .remote(name, orders)
    )


async def _answer(call: ray.ObjectRef[Any]) -> Any:
    """What an actor answers; None from one that is not there."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(call.future()), ANSWER_SECONDS)
    except (RayError, TimeoutError):
        return None


def refuse_unshared(settings: Settings) -> None:
    """Look before anything is begun.

    Raises:
        UsageError: if the database is one that the nodes cannot share.

    """
    if settings.database.is_embedded:
        raise UsageError("--cluster: set database.url; the embedded PostgreSQL is this machine's own")
