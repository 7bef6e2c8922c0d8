"""What moves while a command works: a bar or spinner on a terminal, log lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import anyio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from worker.display.figures import usd
from worker.model import VIDEO_STATES
from worker.pipeline.discover import Discovered
from worker.store.registry import Progress

LINE_SECONDS = 10.0

Show = Callable[[Progress], None]


def progress_shown(console: Console, log_line: Callable[..., Any]) -> AbstractContextManager[Show]:
    """A progress bar on a terminal, a log line every ten seconds elsewhere."""
    return _bar(console) if console.is_terminal else _lines(log_line)


@contextmanager
def counting(console: Console, name: str, found: Discovered) -> Iterator[None]:
    """A spinner that counts what is registered, on a terminal."""
    if not console.is_terminal:
        yield
        return

    class Count:
        def __rich__(self) -> str:
            return f"registering {name}: {found.named:,} videos"

    with console.status(Count()):
        yield


@contextmanager
def _bar(console: Console) -> Iterator[Show]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("moderating", total=None, detail="")

        def show(progress: Progress) -> None:
            detail = f"{progress.active:,} active, {progress.labels:,} labels, {usd(progress.spent_usd)}"
            bar.update(task, total=progress.total, completed=progress.final, detail=detail)

        yield show


@contextmanager
def _lines(log_line: Callable[..., Any]) -> Iterator[Show]:
    next_at = -float("inf")

    def show(progress: Progress) -> None:
        nonlocal next_at
        if (now := anyio.current_time()) < next_at:
            return
        next_at = now + LINE_SECONDS
        states = {state: getattr(progress, state) for state in VIDEO_STATES}
        log_line("progress", **states, labels=progress.labels, spent_usd=round(progress.spent_usd, 4))

    yield show
