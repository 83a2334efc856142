"""What all transports over another one have in common, over one below that takes as much as the test says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from chanlink import byte_pipe
from chanlink.transport.base import Transport, as_transport
from chanlink.transport.layered import MOST_ANSWERS, PIECE, LayeredTransport
from tests.patience import PATIENCE, until

pytestmark = pytest.mark.anyio

QUESTION, END = b"?", b"."


class Shouting(LayeredTransport):
    """Large letters below, small ones above; each question mark is answered, and a full stop is the end."""

    encoded = b""
    _come = b""
    _has_ended = False

    def _encode(self, piece: bytes | memoryview) -> bytes:
        self.encoded += bytes(piece)
        return bytes(piece).upper()

    def _feed(self, data: memoryview) -> None:
        self._has_ended = not data
        self._come += bytes(data)

    def _take(self, buffer: memoryview) -> int | None:
        if questions := len(self._come) - len(self._come.lstrip(QUESTION)):
            self._come = self._come[questions:]
            self._answer(b"!" * questions)
        if self._come.startswith(END):
            return 0
        if not self._come:
            if self._has_ended:
                raise anyio.BrokenResourceError
            return None
        data = self._come.partition(QUESTION)[0].partition(END)[0][: len(buffer)].lower()
        self._come = self._come[len(data) :]
        buffer[: len(data)] = data
        return len(data)

    def _farewell(self) -> bytes:
        return END


class Narrow(Transport):
    """A connection with room for some bytes."""

    waits_writable = True

    def __init__(self, room: int = 0) -> None:
        self.room, self.taken, self.coming = room, b"", [b""]

    def send_now(self, data: bytes | memoryview) -> int:
        sent = min(self.room, len(data))
        self.room -= sent
        self.taken += bytes(data[:sent])
        return sent

    async def wait_writable(self) -> None:
        await until(lambda: self.room)

    async def wait_readable(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def readable(self) -> bool:
        raise NotImplementedError

    def receive_now(self, buffer: memoryview) -> int | None:
        data = self.coming.pop(0)
        buffer[: len(data)] = data
        return len(data)

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        raise NotImplementedError

    async def send(self, item: bytes) -> None:
        raise NotImplementedError

    async def send_eof(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        self.taken += b"(closed)"


# --- out ------------------------------------------------------------------------------------------------


async def test_what_there_is_no_room_for_is_encoded_once_and_leaves_in_order() -> None:
    below = Narrow(3)
    above = Shouting(below)
    assert above.send_now(b"abcdef") == 0  # three have left, but it is not known of what
    assert below.taken == b"ABC"
    assert above.send_now(b"abcdef") == 0
    below.room = 2
    assert above.send_now(b"abcdef") == 0
    below.room = 100
    assert above.send_now(b"abcdefgh") == 8
    assert above.send_now(b"i") == 1
    assert below.taken == b"ABCDEFGHI"
    assert above.encoded == b"abcdefghi"


async def test_the_rest_may_come_in_other_pieces() -> None:
    below = Narrow()
    above = Shouting(below)
    assert above.send_now(b"abcdef") == 0
    below.room = 100
    assert above.send_now(b"ab") == 2
    assert above.send_now(b"cdefgh") == 6
    assert below.taken == b"ABCDEFGH"


async def test_no_more_is_encoded_than_one_piece_beyond_the_room() -> None:
    below = Narrow(PIECE + 1)
    above = Shouting(below)
    assert above.send_now(bytes(10 * PIECE)) == PIECE
    assert len(above.encoded) == 2 * PIECE


async def test_a_send_waits_for_room_and_the_end_comes_behind() -> None:
    below = Narrow()
    above = Shouting(below)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(above.send, b"abc")
        await until(lambda: above.encoded)
        below.room = 2
        await until(lambda: not below.room)
        below.room = 100
    await above.send_eof()
    await above.aclose()
    assert below.taken == b"ABC.(closed)"


async def test_who_waits_for_room_can_be_cancelled_and_come_again() -> None:
    below = Narrow()
    above = Shouting(below)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await above.wait_writable()
    below.room = 100
    await above.send(b"abc")
    assert below.taken == b"ABC"


async def test_a_cancelled_send_of_which_nobody_knows_how_much_has_left_was_the_last() -> None:
    near, far = byte_pipe()
    above = Shouting(as_transport(near))
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(above.send, bytes(10 * PIECE))
            await until(lambda: above.encoded)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    with pytest.raises(anyio.BrokenResourceError):
        await above.send(b"more")
    await anyio.aclose_forcefully(above)
    await far.aclose()


# --- answers --------------------------------------------------------------------------------------------


@asynccontextmanager
async def asked(below: Narrow, *coming: bytes) -> AsyncIterator[Shouting]:
    below.coming = [*coming, b""]
    yield Shouting(below)


async def test_a_question_is_answered_while_it_is_read() -> None:
    below = Narrow(100)
    async with asked(below, b"A?B?") as above:
        assert await above.receive() == b"ab"
        assert below.taken == b"!!"


async def test_an_answer_without_room_leaves_before_what_is_sent_next() -> None:
    below = Narrow()
    async with asked(below, b"A?B") as above:
        assert await above.receive() == b"ab"
        below.room = 100
        await above.send(b"c")
        assert below.taken == b"!C"


async def test_who_asks_for_answers_and_reads_none_is_cut_off() -> None:
    async with asked(Narrow(), *[b"?" * 10_000] * (MOST_ANSWERS // 10_000 + 1)) as above:
        with pytest.raises(anyio.BrokenResourceError, match="reads none"):
            await above.receive()


async def test_who_reads_the_answers_may_ask_for_ever() -> None:
    below = Narrow(1_000_000)
    async with asked(below, *[b"?" * 10_000] * 20, b"A.") as above:
        assert await above.receive() == b"a"
        assert len(below.taken) == 200_000


# --- in -------------------------------------------------------------------------------------------------


async def test_what_came_before_the_trouble_is_received_first() -> None:
    async with asked(Narrow(), b"ABC") as above:  # and then the end below, which nobody has said
        buffer = memoryview(bytearray(10))
        assert above.receive_now(buffer) is None  # nobody has looked below yet
        assert above.receive_now(buffer) == 3
        for _ in range(2):
            with pytest.raises(anyio.BrokenResourceError):
                above.receive_now(buffer)


async def test_the_end_is_the_end_whatever_comes_behind() -> None:
    async with asked(Narrow(), b"AB.MORE") as above:
        assert await above.receive() == b"ab"
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await above.receive()
        assert not await above.readable()
