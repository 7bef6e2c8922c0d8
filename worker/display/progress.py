"""What moves while a command works: a bar or spinner on a terminal, log lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import anyio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from worker.display.figures import usd
from worker.pipeline.discover import Discovered
from worker.store.purge import Purged
from worker.store.registry import Progress

LINE_SECONDS = 10.0

Show = Callable[[Progress], None]


def progress_shown(console: Console, log_line: Callable[..., Any]) -> AbstractContextManager[Show]:
    """A progress bar on a terminal, a log line every ten seconds elsewhere."""
    return _bar(console) if console.is_terminal else _lines(log_line)


@contextmanager
def counting(console: Console, what: str, name: str, found: Discovered) -> Iterator[None]:
    """A spinner that counts what is registered or looked at, on a terminal."""
    if not console.is_terminal:
        yield
        return

    class Count:
        def __rich__(self) -> str:
            return f"{what} {name}: {found.named:,} videos"

    with console.status(Count()):
        yield


@contextmanager
def purging(console: Console, log_line: Callable[..., Any], name: str) -> Iterator[Callable[[Purged], None]]:
    """A spinner that counts what is removed on a terminal, a log line every ten seconds elsewhere."""
    with console.status(f"purging {name}") if console.is_terminal else nullcontext() as spinner:
        next_at = anyio.current_time() + LINE_SECONDS

        def show(gone: Purged) -> None:
            nonlocal next_at
            if spinner is not None:
                spinner.update(f"purging {name}: {gone.videos:,} videos, {gone.jobs:,} jobs, {gone.labels:,} labels")
            elif (now := anyio.current_time()) >= next_at:
                next_at = now + LINE_SECONDS
                log_line("purging", backfill=name, videos=gone.videos, jobs=gone.jobs, labels=gone.labels)

        yield show


@contextmanager
def exporting(
    console: Console, log_line: Callable[..., Any], names: Sequence[str]
) -> Iterator[Callable[[int, int | None], None]]:
    """A spinner that counts what is written on a terminal, a log line every ten seconds elsewhere."""
    title = f"exporting {', '.join(names)}"
    with console.status(title) if console.is_terminal else nullcontext() as spinner:
        next_at = anyio.current_time() + LINE_SECONDS

        def show(written: int, labels: int | None) -> None:
            nonlocal next_at
            if spinner is not None:
                spinner.update(f"{title}: {written:,}{f' of {labels:,}' if labels else ''} labels")
            elif (now := anyio.current_time()) >= next_at:
                next_at = now + LINE_SECONDS
                log_line("exporting", backfills=names, written=written, labels=labels)

        yield show


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
            completed = progress.total - progress.left
            bar.update(task, total=progress.total, completed=completed, detail=detail)

        yield show


@contextmanager
def _lines(log_line: Callable[..., Any]) -> Iterator[Show]:
    next_at = -float("inf")

    def show(progress: Progress) -> None:
        nonlocal next_at
        if (now := anyio.current_time()) < next_at:
            return
        next_at = now + LINE_SECONDS
        log_line("progress", **progress.videos, labels=progress.labels, spent_usd=round(progress.spent_usd, 4))

    yield show
