"""The head of a cluster: found, joined, and watched."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time

import anyio
import anyio.to_thread
import ray
from ray.exceptions import RayError

from worker.config import Settings
from worker.errors import ClusterError, UsageError

CONNECT_SECONDS = 5.0
LOOK_SECONDS = 1.0

# Without a head for so long, Ray ends a process with words of its own and exit code 1; the watch comes before it.
RAYS_PATIENCE_SECONDS = float(os.environ.get("RAY_gcs_rpc_server_reconnect_timeout_s", "60"))  # noqa: SIM112 (Ray's)
WITHOUT_HEAD_SECONDS = 0.75 * RAYS_PATIENCE_SECONDS


def refuse_unreachable(address: str) -> None:
    """Look before anything is begun.

    Raises:
        UsageError: if nothing listens at the address.

    """
    if error := _fault_at(address):
        raise UsageError(f"cluster {address}: no Ray cluster answers there ({error.strerror or error})") from error


async def connect(address: str, settings: Settings) -> None:
    """Join the cluster at that address; to be called in the main thread.

    Raises:
        UsageError: if there is none.

    """
    await anyio.to_thread.run_sync(_connect, address, settings)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))  # Ray's own handler would print a stack trace first
    signal.siginterrupt(signal.SIGTERM, False)  # as the event loop has it


def _connect(address: str, settings: Settings) -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)
    namespace = f"modworker-{settings.deployment}"
    try:
        ray.init(address=address, namespace=namespace, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        raise UsageError(f"cluster {address}: no Ray cluster answers there ({error})") from error


async def watch_head() -> None:
    """Look at the head that was joined, for as long as it is there; it may be started anew in the meantime.

    Raises:
        ClusterError: if it is gone.

    """
    address = ray.get_runtime_context().gcs_address
    seen = time.monotonic()
    while not (fault := await _look(address)) or time.monotonic() - seen < WITHOUT_HEAD_SECONDS:
        if not fault:
            seen = time.monotonic()
        await anyio.sleep(LOOK_SECONDS)
    raise ClusterError(f"the Ray cluster's head at {address} is gone; start it, and go on with the same command")


async def _look(address: str) -> OSError | None:
    return await anyio.to_thread.run_sync(_fault_at, address, abandon_on_cancel=True)


def _fault_at(address: str) -> OSError | None:
    """Why no connection can be made; None if it can, or if that is no address but a word of Ray's."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except OSError as error:
            return error
    return None
