"""Signals that stop a server in order."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from signal import Signals
from typing import NoReturn

import anyio
from anyio.lowlevel import RunVar

from chanlink.errors import ConfigError
from chanlink.printing import printable_logger

logger = printable_logger(__name__)

Arriving = Callable[[], Awaitable[Signals]]
"""Waits for the next signal."""
_taken: RunVar[frozenset[Signals]] = RunVar("chanlink signals")
"""Those that blocks of this event loop receive."""


async def _never() -> NoReturn:
    await anyio.sleep_forever()
    raise AssertionError


@contextmanager
def _alone(signals: Collection[Signals]) -> Iterator[None]:
    taken = _taken.get(frozenset())
    if twice := taken.intersection(signals):
        names = ", ".join(sorted(one.name for one in twice))
        raise ConfigError(f"{names}: received already, by another block of this event loop")
    _taken.set(taken.union(signals))
    try:
        yield
    finally:
        _taken.set(_taken.get().difference(signals))


@contextmanager
def received(signals: Collection[Signals]) -> Iterator[Arriving]:
    """Receive these signals in the block, where they do nothing else. Raises `ConfigError` where that can't be, and if
    a block around it, or in another task, receives one of them: whichever is left first would leave none to the other.
    """
    if not signals:
        yield _never
        return
    with _alone(signals), ExitStack() as stack:
        try:
            arriving: AsyncIterator[Signals] = stack.enter_context(anyio.open_signal_receiver(*signals))
        except (RuntimeError, ValueError, NotImplementedError, OSError) as exc:
            raise ConfigError(f"these signals can't be received, or not in this thread: {exc}") from exc
        yield arriving.__anext__


async def stop_on(arriving: Arriving, drain: Callable[[], Awaitable[None]]) -> None:
    """Wait for a signal, and call ``drain``, which a second signal cuts short."""
    signal = await arriving()
    logger.info("%s: no more is taken, what was begun goes on", signal.name)
    async with anyio.create_task_group() as tasks:

        async def cut_short() -> None:
            again = await arriving()
            logger.info("%s: what was begun is ended", again.name)
            tasks.cancel_scope.cancel()

        tasks.start_soon(cut_short)
        await drain()
        tasks.cancel_scope.cancel()
