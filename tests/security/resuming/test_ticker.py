"""When a connection is looked at, and what has come between two looks."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from chanlink.security.resuming.silence import ANSWER, ASKED
from chanlink.security.resuming.ticker import Ticker
from tests.patience import until

SECOND = 0.01


@asynccontextmanager
async def running(ticker: Ticker, look: Callable[[], None]) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticker.run, look)
        yield
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_nothing_is_looked_at_without_a_reason() -> None:
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        ticker.rest_unless(looks % 3 != 0)

    ticker = Ticker(SECOND, 30)
    async with running(ticker, look):
        for reasons in range(4):
            await until(lambda reasons=reasons: looks == 3 * reasons)  # type: ignore[misc]
            await anyio.sleep(5 * SECOND)
            assert looks == 3 * reasons
            ticker.stir()
            ticker.stir()


@pytest.mark.anyio
async def test_a_reason_of_before_it_runs_counts() -> None:
    looked = anyio.Event()
    ticker = Ticker(SECOND, 30)
    ticker.stir()
    async with running(ticker, looked.set):
        await looked.wait()


def test_what_came_is_of_one_tick() -> None:
    ticker = Ticker(1, 30)
    assert ticker.tick(sent=9, acknowledged=0) == (False, "")
    ticker.hear()
    ticker.hear()
    assert ticker.tick(sent=9, acknowledged=7) == (True, "")
    assert ticker.tick(sent=9, acknowledged=7) == (False, "")


def verdict(ticker: Ticker, *, heard: bool = False, acknowledged: int = 0) -> tuple[int, str]:
    """After how many ticks more nothing is waited for, and why."""
    for count in range(1, 100):
        if heard:
            ticker.hear()
        if why := ticker.tick(sent=200, acknowledged=acknowledged).why:
            return count, why
    return 0, ""


def test_silence_is_given_up_after_its_time_and_one_with_a_doubt_soon() -> None:
    ticker = Ticker(1, 30)
    assert verdict(ticker) == (ANSWER + 1, f"nothing came from the peer for {ANSWER} s, though an answer was due")
    ticker = Ticker(1, 30)
    ticker.hurry()
    assert verdict(ticker)[0] == ASKED + 1


def test_who_talks_may_acknowledge_nothing_for_the_time_of_progress_however_long_a_tick_is() -> None:
    assert verdict(Ticker(1, 20), heard=True) == (21, "the peer acknowledged nothing for 20 s")
    assert verdict(Ticker(0.5, 20), heard=True)[0] == 41


@pytest.mark.parametrize(("ticks", "allowed"), [(1, ANSWER), (ANSWER - 1, ANSWER), (ANSWER, 2 * ANSWER)])
def test_a_short_time_that_has_sufficed_counts_also_while_an_answer_is_always_due(ticks: int, allowed: int) -> None:
    ticker = Ticker(1, 1_000)
    verdict(ticker)
    ticker.begin()
    for sent in range(100):  # the peer is behind by so much, and has a byte each time
        ticker.hear()
        assert not ticker.tick(sent=sent + ticks, acknowledged=sent).why
    assert verdict(ticker, acknowledged=99)[0] == allowed + 1


def test_another_connection_has_time_of_its_own() -> None:
    ticker = Ticker(1, 30)
    for _ in range(ANSWER):
        assert not ticker.tick(sent=9, acknowledged=0).why
    ticker.hear()
    ticker.begin()
    assert ticker.tick(sent=9, acknowledged=0) == (False, ""), "what came was of the one before"
    assert verdict(ticker)[0] == ANSWER
