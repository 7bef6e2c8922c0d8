"""The clock by which leases and tokens grow old in this process: it goes on while the machine sleeps, and never jumps.

The event loop's clock stands still while a machine is suspended; a lease does not.
"""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_seconds() -> float:
    """Seconds since some moment in the past."""
    return time.clock_gettime(_CLOCK)
