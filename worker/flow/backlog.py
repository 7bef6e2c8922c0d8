"""Whether more results wait than can be read before AWS forgets them: then nothing more is bought for a while."""

from __future__ import annotations

RESUMING = 0.9  # of the life: below it buying goes on, so that it does not flutter


class Backlog:
    """Results that run or wait, as the time that reading them takes at the present rate."""

    def __init__(self, life_seconds: float) -> None:
        self._life_seconds = life_seconds
        self.seconds = 0.0
        self.is_too_long = False

    def look(self, *, results: int, pages_a_result: float, pages_per_second: float) -> bool:
        """Take note of it; True if that was another verdict than before."""
        self.seconds = results * pages_a_result / pages_per_second
        before = self.is_too_long
        self.is_too_long = self.seconds > self._life_seconds * (RESUMING if before else 1.0)
        return self.is_too_long != before
