"""Two-phase stop: first the taking ends and what was taken runs dry, then everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import anyio


class Stop:
    """Ends whatever runs under `taking()`, now or later, as soon as it is requested."""

    def __init__(self) -> None:
        self.scopes: set[anyio.CancelScope] = set()
        self.is_requested = False
        self._parts: list[Stop] = []

    def request(self) -> None:
        """End the taking."""
        self.is_requested = True
        for scope in self.scopes:
            scope.cancel()
        for part in self._parts:
            part.request()

    @contextmanager
    def part(self) -> Iterator[Stop]:
        """A stop of one part of the work, which this one requests too."""
        part = Stop()
        if self.is_requested:
            part.request()
        self._parts.append(part)
        try:
            yield part
        finally:
            self._parts.remove(part)

    def taking(self) -> Taking:
        """A block that runs until the stop is requested, and is left quietly then."""
        return Taking(self)


class Taking:
    """A cancel scope that the stop cancels."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._scope = anyio.CancelScope()

    def __enter__(self) -> None:
        self._scope.__enter__()
        self._stop.scopes.add(self._scope)
        if self._stop.is_requested:
            self._scope.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._stop.scopes.discard(self._scope)
        return self._scope.__exit__(kind, error, trace)
