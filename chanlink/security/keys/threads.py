"""Threads for files of keys, which must not have to wait for anything else.

anyio's default limiter is one for all that a process does in threads, forty at a time, and most of that is at a peer's
request: files that are sent or compared, names that are looked up. A peer that fills it must not keep anybody from
being let in or thrown out. So nothing that decides on that uses the default: a watched file has a thread of its own,
and what is read once for a connection shares the few of this module.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

T = TypeVar("T")

THREADS = 8
"""At a time, in one event loop: each reads or writes one small local file."""
_LIMITER: RunVar[CapacityLimiter] = RunVar("chanlink.security.keys.threads")


async def run_apart(function: Callable[..., T], *args: Any, abandon: bool = False) -> T:
    """Call a function in a thread, however busy the threads of the default limiter are.

    With ``abandon``, a caller that is cancelled does not wait for it: it may be left over, but must not be half done.
    """
    return await anyio.to_thread.run_sync(
        partial(function, *args), abandon_on_cancel=abandon, limiter=_limiter_of_loop()
    )


def _limiter_of_loop() -> CapacityLimiter:
    try:
        return _LIMITER.get()
    except LookupError:
        limiter = CapacityLimiter(THREADS)
        _LIMITER.set(limiter)
        return limiter
