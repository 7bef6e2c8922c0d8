"""A lane's concurrent jobs: a set of job ids and a limit that follows what the account says."""

from __future__ import annotations

from math import ceil

import anyio

from worker.flow.signal import Signal

SECONDS_AFTER_REFUSAL = 20.0
SECONDS_TO_PROBE = 8.0  # after each step upward
LEFT_TO_OTHERS = 8  # one of so many, and of fewer one, lest both run after each slot that comes free
FIRST_STEP = 1 / 25  # of the ceiling; each step that is not refused is twice as large, so five are enough


class Slots:
    """Slots are taken by job id, so that giving one back twice changes nothing."""

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.limit = ceiling
        self._account_limit = ceiling  # lower where AWS announced so
        self._taken: set[int] = set()
        self._changed = Signal()
        self._step = 0
        self._probe_at = float("inf")

    @property
    def used(self) -> int:
        """How many slots are taken, which after a takeover may be more than the limit."""
        return len(self._taken)

    @property
    def free(self) -> int:
        """How many jobs may be started now."""
        return max(0, self.limit - self.used)

    def set_ceiling(self, ceiling: int) -> None:
        """Another ceiling. A limit that the account set, or announced, stays and is probed upward to the new one."""
        was_refused = self.limit < self.ceiling
        self.ceiling = self._account_limit = ceiling
        self.limit = min(self.limit, ceiling) if was_refused else ceiling
        if was_refused and self._probe_at == float("inf"):
            self._probe_at = float("-inf")
        self._changed.set()

    def adopt(self, job_ids: set[int]) -> None:
        """Take slots for jobs that run already, even above the limit."""
        self._taken |= job_ids

    async def take(self, job_id: int) -> None:
        """Wait until a slot is free (or the job has one), and take it."""
        while job_id not in self._taken and not self._try(anyio.current_time()):
            await self._changed.wait(timeout_seconds=self._seconds_to_probe())
        self._taken.add(job_id)

    def give_back(self, job_id: int) -> None:
        """Free the job's slot, if it has one."""
        self._taken.discard(job_id)
        self._changed.set()

    def refused(self, job_id: int, now: float, announced: int | None = None) -> None:
        """AWS said that none is free: what runs is all that may run, until a probe shows otherwise.

        Where less runs than AWS announced as the limit, others have the rest, and a part of ours is left to them. Where
        nothing runs, others fill the account: then nothing is tried before the probe. An announced limit is not probed
        beyond, if it is lower than the ceiling.
        """
        self._taken.discard(job_id)
        self._account_limit = self.ceiling if announced is None else max(1, min(announced, self.ceiling))
        are_others = announced is not None and self.used < self._account_limit
        left_to_them = max(self.used // LEFT_TO_OTHERS, 1) if are_others and self.used > 1 else 0
        self.limit = min(self.limit, self.used - left_to_them, self._account_limit)
        self._step = ceil(self.ceiling * FIRST_STEP)
        self._probe_at = now + SECONDS_AFTER_REFUSAL

    def _try(self, now: float) -> bool:
        if now >= self._probe_at:
            self.limit = min(self.limit + self._step, self._account_limit)
            self._step *= 2
            self._probe_at = now + SECONDS_TO_PROBE if self.limit < self._account_limit else float("inf")
        return self.used < self.limit

    def _seconds_to_probe(self) -> float | None:
        seconds = self._probe_at - anyio.current_time()
        return None if seconds == float("inf") else max(0.01, seconds)
