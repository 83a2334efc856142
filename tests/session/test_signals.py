"""Signals that stop a server: received where that can be, and a second one cuts it short."""

import os
import signal
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from chanlink import ConfigError, Identity, Trust, serve
from chanlink.session.signals import received, stop_on
from chanlink.transport.listening_at import listening_at
from tests.patience import PATIENCE, until

pytestmark = pytest.mark.anyio

ONE, OTHER = signal.SIGUSR1, signal.SIGUSR2


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


async def test_each_of_them_arrives_and_does_nothing_else() -> None:
    signal.signal(ONE, before := signal.SIG_DFL)
    with received((ONE, OTHER)) as arriving, anyio.fail_after(PATIENCE):
        for number in (OTHER, ONE, ONE):
            send(number)
            assert await arriving() is number
    assert signal.getsignal(ONE) == before


async def test_one_that_is_received_already_is_refused_and_goes_on_there() -> None:
    """On asyncio the block that is left first would take the signal from the other: the next one ends the program."""
    with received((ONE,)) as arriving, anyio.fail_after(PATIENCE):
        with pytest.raises(ConfigError, match="SIGUSR1: received already"), received((OTHER, ONE)):
            pytest.fail("it is received twice")
        with received((OTHER,)) as others:
            send(OTHER)
            assert await others() is OTHER
        send(ONE)
        assert await arriving() is ONE
    with received((ONE, OTHER)):
        pass


async def test_without_any_nothing_arrives() -> None:
    with received(()) as arriving, anyio.move_on_after(0.01) as scope:
        await arriving()
    assert scope.cancelled_caught


async def test_one_that_can_not_be_received_is_said() -> None:
    with pytest.raises(ConfigError, match="can't be received"), received((signal.SIGKILL,)):
        pytest.fail("it is received")


async def test_where_none_can_be_received_it_is_said(anyio_backend_name: str) -> None:
    def run() -> None:
        async def main() -> None:
            with received((ONE,)):
                pytest.fail("it is received")

        with pytest.raises(ConfigError, match="can't be received"):
            anyio.run(main, backend=anyio_backend_name)

    await anyio.to_thread.run_sync(run)


class Drain:
    def __init__(self) -> None:
        self.began, self.done = False, anyio.Event()
        self.outcome = ""

    async def __call__(self) -> None:
        self.began = True
        try:
            await self.done.wait()
            self.outcome = "done"
        finally:
            self.outcome = self.outcome or "cut short"


async def run(drain: Drain, act: Callable[[], None]) -> None:
    with received((ONE, OTHER)) as arriving, anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_on, arriving, drain)
            await anyio.wait_all_tasks_blocked()
            assert not drain.began
            send(ONE)
            await until(lambda: drain.began)
            assert not drain.outcome
            act()


async def test_the_first_one_begins_it_and_it_is_over_when_it_is_done() -> None:
    drain = Drain()
    await run(drain, drain.done.set)
    assert drain.outcome == "done"


async def test_a_second_one_cuts_it_short() -> None:
    drain = Drain()
    await run(drain, lambda: send(OTHER))
    assert drain.outcome == "cut short"


async def test_a_signal_counts_from_before_there_is_an_address_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process of a container loses one that it does not receive."""
    lost: list[int] = []
    before = signal.signal(ONE, lambda number, frame: lost.append(number))

    async def sockets_and_a_signal(*args: Any, **options: Any) -> Any:
        made = await listening_at(*args, **options)
        send(ONE)
        return made

    monkeypatch.setattr("chanlink.session.listening.listening_at", sockets_and_a_signal)
    try:
        with anyio.fail_after(PATIENCE):
            await serve({}, "tcp://127.0.0.1:0", identity=Identity.generate(), trust=Trust.of(), signals=(ONE,))
    finally:
        signal.signal(ONE, before)
    assert not lost
