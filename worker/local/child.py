"""The local moderation service as a child process, shared by every process with the same data folder."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import anyio
import msgspec

from worker.errors import UsageError
from worker.local.address import ANNOUNCEMENT, Announcement
from worker.shared_process import SharedProcess, shared_process

NAME = "local-service"
_POLL_SECONDS = 0.05
_ANSWER_SECONDS = 5.0


@asynccontextmanager
async def local_service(config_file: Path, data_dir: Path) -> AsyncIterator[str]:
    """Use the local service, starting it if nobody does; yields its URL.

    Raises:
        UsageError: if it does not start.

    """
    command = [sys.executable, "-m", "worker", "serve", "--config", str(config_file.absolute())]  # noqa: ASYNC240 (a look at the working directory only)
    async with shared_process(data_dir, NAME, command) as process:
        yield await _answering_url(process, data_dir / ANNOUNCEMENT)


async def publish_folder(service_url: str, folder: Path) -> str:
    """Let the service serve a folder of videos as a bucket; returns the bucket's name."""
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{service_url}/_folders", json={"path": str(folder.absolute())}) as response,  # noqa: ASYNC240
    ):
        answer = await response.json()
        if response.status != 200:
            raise UsageError(f"folder {folder} cannot be read by the local service: {answer}")
        return str(answer["bucket"])


async def _answering_url(process: SharedProcess, address_file: Path) -> str:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS)) as session:
        while True:
            if (address := _read(address_file)) and await _is_service(session, address):
                return address.url
            if process.ends():
                raise UsageError(f"the local moderation service does not start: {process.log_tail()}")
            await anyio.sleep(_POLL_SECONDS)


def _read(address_file: Path) -> Announcement | None:
    try:
        return msgspec.json.decode(address_file.read_bytes(), type=Announcement)
    except (OSError, msgspec.DecodeError):
        return None


async def _is_service(session: aiohttp.ClientSession, address: Announcement) -> bool:
    try:
        async with session.get(f"{address.url}/healthz") as response:
            return bool((await response.json()).get("pid") == address.pid)
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return False
