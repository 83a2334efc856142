"""Signals in an event loop; one that was ignored when we were started stays so.

The command ``chanlink`` has the same in its module of interrupts; it is no public name, so it stands here as well.
"""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import anyio


@contextmanager
def heeding(*numbers: signal.Signals) -> Iterator[AsyncIterator[signal.Signals]]:
    """As `anyio.open_signal_receiver`; but one that was ignored when we were started stays so.

    That is what ``nohup`` and a script that starts us by ``&`` ask for.
    """
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    if not heeded:
        yield _none()
        return
    with anyio.open_signal_receiver(*heeded) as signals:
        yield signals


async def _none() -> AsyncIterator[signal.Signals]:
    await anyio.sleep_forever()
    yield signal.SIGTERM  # never; without it this would be no iterator
