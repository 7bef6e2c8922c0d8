"""Where an export goes: a file that nobody sees before it is complete, or standard output."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

from anyio.lowlevel import checkpoint

from worker.errors import UsageError
from worker.flow.descriptors import send

STANDARD_OUTPUT = "-"
_STANDARD_OUTPUT_DESCRIPTOR = 1

Target = Path | None
"""None is standard output."""

SendOn = Callable[[], Awaitable[None]]
"""Brings what was written to where it is read."""


def target_of(text: str, *, is_forced: bool) -> Target:
    """What the operator named.

    Raises:
        UsageError: if it is there already and is not to be replaced, or is no file.

    """
    if text == STANDARD_OUTPUT:
        return None
    path = Path(text)
    if path.exists() and not path.is_file():
        raise UsageError(f"{text} is no regular file; name one, or - for standard output")
    if path.exists() and not is_forced:
        raise UsageError(f"{text} is there already; name another file, or replace it with --force")
    return path


def opened(target: Target) -> AbstractAsyncContextManager[tuple[BinaryIO, SendOn]]:
    """The target to write to. A file is at its place after the end, and only if nothing was raised.

    Raises:
        OSError: if it cannot be written.

    """
    if target is None:
        return _standard_output()
    return _draft_of(target.resolve())  # where the target is a link, it goes on to lead to the file


@contextmanager
def failure_told(target: Target) -> Iterator[None]:
    """What the system says against writing, as a sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        place = target or "standard output"
        raise UsageError(
            f"{place} cannot be written ({reason}); check its path, permissions and the room there"
        ) from None


@asynccontextmanager
async def _draft_of(path: Path) -> AsyncIterator[tuple[BinaryIO, SendOn]]:
    """A file beside the target, under a name that nobody else uses."""
    draft = path.with_name(f".modworker-{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as file:
            yield file, checkpoint
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@asynccontextmanager
async def _standard_output() -> AsyncIterator[tuple[BinaryIO, SendOn]]:
    waiting = io.BytesIO()

    async def send_on() -> None:
        await send(_STANDARD_OUTPUT_DESCRIPTOR, waiting.getvalue())
        waiting.seek(0)
        waiting.truncate()

    yield waiting, send_on
    await send_on()
