"""The clock of sessions: seconds since some moment, also while the machine is suspended, and never set.

`time.monotonic` stands still while a laptop sleeps, and keys grow old meanwhile
(docs/decisions/0024-clocks-and-silence.md).
"""

import sys
import time
from functools import partial

_ID: int | None = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC if sys.platform == "darwin" else None)
"""Linux has a clock of its own for this; on macOS the one that does is not that of `time.monotonic`."""

now = time.monotonic if _ID is None else partial(time.clock_gettime, _ID)


def as_text(seconds: int) -> str:
    """A moment in seconds since 1970, as people read it; it may be any number."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (OverflowError, OSError, ValueError):
        return "the end of time"


def which_is_wrong() -> str:
    """Words for people where two clocks may differ: what ours says."""
    return f"one of the two clocks may be wrong, ours says {as_text(since_1970())}"


def since_1970() -> int:
    """Seconds since 1970, by the clock of this machine, which may be wrong, and may be set at any time."""
    return int(time.time())
