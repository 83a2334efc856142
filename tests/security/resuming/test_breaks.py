"""Two streams whose connections break at any byte, in both directions: nothing is lost, doubled or reordered."""

import os
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import anyio
import pytest

from chanlink.security.resuming.resumable import ResumableStream

from .pairs import Pair, cut_after, joined, over_sockets, over_wires
from .test_resumable import Collected

pytestmark = pytest.mark.anyio


async def at_once() -> None: ...


async def talk(
    pair: Pair, near: Sequence[bytes], far: Sequence[bytes], before_end: Callable[[], Awaitable[None]] = at_once
) -> None:
    """Both sides say this and close, as two sessions do; each has what the other one has said."""
    here, there = Collected(pair.client), Collected(pair.server)

    async def hear(stream: ResumableStream, collected: Collected) -> None:
        await collected.run()
        await stream.finish()

    async def live(stream: ResumableStream, collected: Collected, parts: Sequence[bytes], word: str) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hear, stream, collected)
            for part in parts:
                await stream.send(part)
            await before_end()
            await stream.send_close("done", word)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(live, pair.client, here, near, "client")
        tasks.start_soon(live, pair.server, there, far, "server")
    assert bytes(there.data) == b"".join(near)
    assert bytes(here.data) == b"".join(far)
    assert pair.server.peer_close == ("done", "client")
    assert pair.client.peer_close == ("done", "server")
    assert isinstance(here.end, anyio.EndOfStream)
    assert isinstance(there.end, anyio.EndOfStream)
    assert pair.client.settled
    assert pair.server.settled


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_breaks_both_have_all_that_was_said(seed: int) -> None:
    """Each connection breaks after some bytes of one of its directions, until the last one."""
    dice = Random(seed)
    cuts = [dice.randint(0, 60_000) for _ in range(dice.randint(0, 8))]
    near, far = ([dice.randbytes(dice.randint(1, 30_000)) for _ in range(dice.randint(0, 8))] for _ in range(2))
    async with joined(over_wires(faults=cut_after(cuts))) as pair:
        await talk(pair, near, far)


@pytest.mark.parametrize("count", [1, 7, 40])
async def test_so_they_have_over_sockets_that_are_closed_in_the_middle(count: int) -> None:
    async with joined(over_sockets()) as pair:
        size = 20_000 * count
        all_cut = anyio.Event()

        async def cut() -> None:
            for number in range(1, count):
                while pair.server.received < 18_000 * number:
                    await anyio.sleep(0.001)
                await pair.cut(number % 2)
            all_cut.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut)
            # Not behind the ends: who is done goes, and then the last acknowledgement may be lost.
            await talk(pair, [os.urandom(size)], [os.urandom(size)], all_cut.wait)


@pytest.mark.parametrize("cut", range(0, 300, 7))
async def test_an_end_in_order_stays_one_wherever_it_breaks(cut: int) -> None:
    async with joined(over_wires(faults=cut_after([cut, cut // 2, cut]))) as pair:
        await talk(pair, [b"a few words"], [b"and fewer"])


async def test_a_record_that_does_not_open_is_a_break_and_nothing_else() -> None:
    async with joined(over_sockets()) as pair:
        pair.near[1]._keys._sending.rekey()  # as if somebody on the way had changed it
        await talk(pair, [os.urandom(100_000)], [os.urandom(100_000)])
        assert pair.connections == 1
        assert pair.client.away_because is not None
