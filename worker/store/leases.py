"""Lanes in the database: their registration, and the lease by which one process owns one."""

from __future__ import annotations

import uuid
from typing import Any, Self

import anyio
import asyncpg
from msgspec import Struct, json

from worker.errors import UsageError
from worker.failpoints import around
from worker.model import Channel
from worker.store.database import SQL, TRANSIENT, Database, connect, patient

TRIES_A_RENEWAL = 10  # where the database refuses at once: a lane is not lost for one broken connection


class LaneRow(Struct, frozen=True):
    """A registered lane; `account_id` is None until its first owner has pinned it."""

    id: int
    account_id: str | None


class Holder(Struct, frozen=True):
    """A running process: a random id, and a name for people."""

    id: uuid.UUID
    name: str


class LaneHolder(Struct, frozen=True):
    """What makes a process the owner of a lane: every decision in the database is guarded by it."""

    lane_id: int
    holder: uuid.UUID
    epoch: int


class Leases:
    """Registers, takes, renews and gives back lanes. Times are the database's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @patient
    async def register(self, name: str, region: str) -> LaneRow:
        """Find the lane or make it.

        Raises:
            UsageError: if it is registered in another region.

        """
        row = None
        while row is None:
            row = await self._database.pool.fetchrow(SQL["register_lane"], name, region)
        if row["region"] != region:
            raise UsageError(
                f"lane {name} is registered in {row['region']}, the config file says {region}; use another lane name"
            )
        return LaneRow(row["id"], row["account_id"])

    @patient
    async def channels(self, lane_id: int, topic_arn: str, role_arn: str) -> list[Channel]:
        """Every channel that the lane ever used, the given one (registered if it is new) first."""
        current = None
        while current is None:
            current = await self._database.pool.fetchval(SQL["register_channel"], lane_id, topic_arn, role_arn)
        rows = await self._database.pool.fetch(SQL["channels_of_lane"], lane_id)
        channels = [Channel(row["id"], row["topic_arn"], row["role_arn"]) for row in rows]
        return sorted(channels, key=lambda channel: channel.id != current)

    @patient
    async def owner_of(self, lane_id: int) -> str | None:
        """The name of the process that holds the lane, None if nobody does."""
        row = await self._database.pool.fetchrow(SQL["lane_owner"], lane_id)
        return row["holder_name"] if row and row["is_held"] else None

    @patient
    async def acquire(self, lane_id: int, holder: Holder, lease_seconds: float, account_id: str) -> LaneHolder | None:
        """Take the lane if it is free.

        Raises:
            UsageError: if the lane is pinned to another account.

        """
        taken = await self._database.commit(
            "acquire_lane_if_free", lane_id, holder.id, holder.name, lease_seconds, account_id
        )
        if taken:
            return LaneHolder(lane_id, holder.id, taken[0]["epoch"])
        row = await self._database.pool.fetchrow(SQL["lane_owner"], lane_id)
        if row and row["account_id"] not in (None, account_id):
            raise UsageError(
                f"lane {row['name']} belongs to account {row['account_id']}, the credentials to {account_id}; "
                "use the other credentials, or another lane name"
            )
        return None

    async def release(self, owner: LaneHolder) -> None:
        """Give the lane back, if it is still held."""
        await self._database.commit("release_lane_if_held", owner.lane_id, owner.holder, owner.epoch)

    def connection(self) -> LeaseConnection:
        """A connection for renewals alone, so that slow writes never cost the lease."""
        return LeaseConnection(self._database)


class LeaseConnection:
    """One connection for the renewals of one lane, made anew when it breaks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._unit = database.patience.unit()
        self._connection: asyncpg.Connection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._unit.was_given_up()
        self._drop()

    async def renew(
        self, owner: LaneHolder, lease_seconds: float, report: dict[str, Any], *, within_seconds: float
    ) -> bool | None:
        """True if the lane is still held, False if it is lost, None if the database did not say in time."""
        arguments = (owner.lane_id, owner.holder, owner.epoch, lease_seconds, json.encode(report).decode())
        with anyio.move_on_after(within_seconds):
            while True:
                try:
                    renewed = await self._try(arguments, within_seconds)
                except TRANSIENT as error:
                    self._put_off(error)
                    await anyio.sleep(within_seconds / TRIES_A_RENEWAL)
                else:
                    self._unit.went_through()
                    return renewed
        self._put_off(TimeoutError())
        return None

    async def _try(self, arguments: tuple[object, ...], within_seconds: float) -> bool:
        connection = await self._connected(within_seconds)
        with around("renew_lane_if_held"):
            return bool(await connection.fetchval(SQL["renew_lane_if_held"], *arguments))

    async def _connected(self, within_seconds: float) -> asyncpg.Connection:
        """The server ends a renewal that nobody waits for any more, or each would leave a waiting session behind."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._database.url, statement_timeout=f"{within_seconds:.3f}s")
        return self._connection

    def _put_off(self, error: Exception) -> None:
        self._unit.failed(error)
        self._drop()

    def _drop(self) -> None:
        if self._connection:
            self._connection.terminate()
            self._connection = None
