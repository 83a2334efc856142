"""The exchange notices what is wrong; over a session of one connection nothing is."""

import random

import anyio
import pytest

from chanlink.testing import session_pair
from tests.patience import until

from .exchange import PATTERN, Count, Exchange, pattern

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


async def test_what_both_sides_tell_each_other_is_heard_to_its_end() -> None:
    exchange = Exchange(random.Random(0))
    async with session_pair() as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.as_server, server)
        async with anyio.create_task_group() as inner:
            inner.start_soon(exchange.as_client, client)
            await until(lambda: len(exchange.volume) == 5 and min(exchange.volume.values()) >= 10)
            exchange.enough.set()
        await client.aclose()
    exchange.check()


def test_a_number_that_is_left_out_or_comes_twice_is_noticed() -> None:
    count = Count("numbers")
    count.take(0)
    for number in (0, 2):
        with pytest.raises(AssertionError, match=f"{number} comes in the place of 1"):
            count.take(number)


@pytest.mark.parametrize("begin", [0, 1, 65_520, 65_521, 1_000_000])
@pytest.mark.parametrize("size", [0, 1, 65_521, 200_000])
def test_each_byte_of_the_pattern_has_its_place(begin: int, size: int) -> None:
    piece = pattern(begin, size)
    assert len(piece) == size
    assert all(piece[at] == PATTERN[(begin + at) % len(PATTERN)] for at in range(0, size, 1_001))
