"""What there is to moderate, in bounded memory: videos by what is known of their length, however many they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, field

CLASSES_AN_OCTAVE = 8  # of sizes and durations: a video differs from the mean of its lot by less than a tenth

Known = Literal["duration_ms", "size_bytes", "nothing"]
"""The best of what is known of a video's length; the others do not count then."""


class Lot(Struct):
    """Videos that are about equally long: `total` milliseconds or bytes, by what is known of them."""

    known: Known
    videos: int = 0
    total: int = 0

    @property
    def mean(self) -> float:
        """Milliseconds or bytes of one of them."""
        return self.total / self.videos


class Census(Struct):
    """Videos in some hundred lots. What is known of them adds up exactly."""

    lots: dict[tuple[Known, int], Lot] = field(default_factory=dict)

    def count(self, *, size_bytes: int | None, duration_ms: int | None) -> None:
        """One more video."""
        if duration_ms is not None:
            self.add("duration_ms", duration_ms)
        elif size_bytes is not None:
            self.add("size_bytes", size_bytes)
        else:
            self.add("nothing", 0)

    def add(self, known: Known, total: int, videos: int = 1) -> None:
        """More videos that are about equally long."""
        place = known, int(math.log2(total / videos + 1) * CLASSES_AN_OCTAVE)
        lot = self.lots.get(place)
        if lot is None:
            lot = self.lots[place] = Lot(known)
        lot.videos += videos
        lot.total += total

    def include(self, other: Census) -> None:
        """All videos of another census."""
        for lot in other.lots.values():
            self.add(lot.known, lot.total, lot.videos)

    @property
    def videos(self) -> int:
        """How many there are."""
        return sum(lot.videos for lot in self.lots.values())

    def of(self, known: Known) -> Lot:
        """All those of which this is known, as one lot."""
        lots = [lot for lot in self.lots.values() if lot.known == known]
        return Lot(known, sum(lot.videos for lot in lots), sum(lot.total for lot in lots))

    def sample(self, most: int) -> list[Lot]:
        """The lots with at most so many videos in all, each lot as often as its share; it has the same mean."""
        every = max(1.0, self.videos / most)
        return list(_thinned(sorted(self.lots.values(), key=lambda lot: (lot.known, lot.mean)), every))


def _thinned(lots: Sequence[Lot], every: float) -> list[Lot]:
    """One of `every` videos, counted on from lot to lot, so that rounding loses none."""
    thinned, seen, taken = [], 0, 0
    for lot in lots:
        seen += lot.videos
        videos = int(seen / every) - taken
        taken += videos
        if videos:
            thinned.append(Lot(lot.known, videos, round(lot.mean * videos)))
    return thinned
