"""What an encrypted byte stream makes of a network that lies, or that takes a part at a time (protocol section 3)."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

import anyio
import pytest

from chanlink import ConnectionLost, RemoteProtocolError
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.rekey import Thresholds
from tests.patience import PATIENCE

from .handshakes import FULL_BODY, one_backend, packed, stream_over, stream_pair
from .wires import CLOSE, DATA, REKEY, WELCOME, Wire, prefixed, sealed_pair

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]


async def everything(stream: NoiseStream) -> bytes:
    data = bytearray()
    with pytest.raises(anyio.EndOfStream):
        while True:
            data += await stream.receive()
    return bytes(data)


async def received(stream: NoiseStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive()
    return data


SIZES = [0, 1, 2, *range(65_517, 65_521), 2 * FULL_BODY, 2 * FULL_BODY + 1, 1_048_576]


@pytest.mark.parametrize("piece", [7_919, 300_000])
@pytest.mark.parametrize("size", SIZES)
async def test_data_passes_byte_exact_in_as_few_records_as_possible(size: int, piece: int) -> None:
    left, right, wire, _ = stream_pair(piece)
    data = os.urandom(size)
    await left.send(data)
    assert await received(right, size) == data
    assert len(wire.sent) == size + -(-size // FULL_BODY) * 19
    await left.send(b"next")
    assert await right.receive() == b"next"


@one_backend
@pytest.mark.parametrize("size", [1, 1_000, FULL_BODY + 1])
async def test_data_passes_a_transport_that_delivers_single_bytes(size: int) -> None:
    left, right, *_ = stream_pair(piece=1)
    data = os.urandom(size)
    await left.send(data)
    assert await received(right, size) == data


@one_backend
async def test_many_small_records_in_one_piece_are_received_one_by_one() -> None:
    left, right, _, wire = stream_pair(piece=1_000_000)
    bodies = [os.urandom(n % 7) for n in range(1_000)]
    for body in bodies:
        await left.send(body)
    assert [await right.receive() for body in bodies if body] == [body for body in bodies if body]
    assert not wire.buffer


@one_backend
async def test_empty_data_records_are_nothing() -> None:
    left, right, *_ = stream_pair()
    await left.send_record(DATA, b"")
    await left.send_record(DATA, b"x")
    await left.send_record(DATA, b"")
    await left.send_close("")
    assert await right.receive() == b"x"
    with pytest.raises(anyio.EndOfStream):
        await right.receive()


async def test_a_flood_of_empty_data_records_ends_it() -> None:
    left, right, *_ = stream_pair()
    await left.send(b"x")
    for _ in range(300):
        await left.send_record(DATA, b"")
    assert await right.receive() == b"x"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="empty"):
            await right.receive()


@pytest.mark.parametrize("max_bytes", [1, 3, FULL_BODY - 1])
async def test_a_receiver_may_ask_for_less_than_a_record(max_bytes: int) -> None:
    left, right, *_ = stream_pair()
    data = os.urandom(1_000 if max_bytes < 1_000 else 2 * FULL_BODY)
    await left.send(data)
    await left.send_eof()
    got = []
    with pytest.raises(anyio.EndOfStream):
        while True:
            got.append(await right.receive(max_bytes))
    assert b"".join(got) == data
    assert max(map(len, got)) == max_bytes


@one_backend
@pytest.mark.parametrize("max_bytes", [0, -1])
async def test_a_receiver_must_ask_for_something(max_bytes: int) -> None:
    left, right, *_ = stream_pair()
    await left.send(b"data")
    with pytest.raises(ValueError, match="max_bytes"):
        await right.receive(max_bytes)
    assert await right.receive() == b"data"


@one_backend
async def test_what_was_received_before_a_bad_record_can_still_be_taken() -> None:
    left, right, _, other = stream_pair()
    await left.send(b"good")
    other.feed(prefixed(bytes(40)))
    assert await right.receive(1) == b"g"
    assert await right.receive() == b"ood"
    with pytest.raises(RemoteProtocolError):
        await right.receive()


async def records_of(left: NoiseStream, wire: Wire, bodies: list[bytes]) -> list[bytes]:
    """The records that carry these bodies."""
    records = []
    for body in bodies:
        at = len(wire.sent)
        await left.send(body)
        records.append(bytes(wire.sent[at:]))
    return records


def tampered(records: list[bytes], foreign: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Ways to change four records after the first one; nothing but that one may be delivered."""
    one, two, three, four = records
    for at in range(2, len(two)):
        yield f"byte {at} flipped", [one, two[:at] + bytes([two[at] ^ 0x80]) + two[at + 1 :], three, four]
    yield "swapped", [one, three, two, four]
    yield "repeated", [one, one, two, three, four]
    yield "dropped", [one, three, four]
    yield "cut by a byte", [one, prefixed(two[2:-1]), three, four]
    yield "longer by a byte", [one, prefixed(two[2:] + b"\0"), three, four]
    yield "of the other direction", [one, foreign, two, three]
    yield "without a tag", [one, prefixed(b""), two, three]
    yield "shorter than a tag", [one, prefixed(bytes(15)), two, three]
    yield "nothing but zeros", [one, prefixed(bytes(65_535)), two, three]


@one_backend
async def test_nothing_is_delivered_after_a_record_that_is_not_the_next_one() -> None:
    for number in range(1_000):
        left, right, wire, other = stream_pair()
        other.edit = lambda at, data: b""
        await right.send(b"backwards")
        wire.edit = lambda at, data: b""
        records = await records_of(left, wire, [b"first", b"second", b"third", b"fourth"])
        cases = list(tampered(records, bytes(other.sent)))
        if number >= len(cases):
            break
        name, changed = cases[number]
        other.feed(b"".join(changed))
        assert await right.receive() == b"first"
        for _ in range(3):
            with pytest.raises(RemoteProtocolError):
                pytest.fail(f"{name}: {await right.receive()!r} was delivered")
    assert number > 30


@one_backend
@pytest.mark.parametrize("cut", [1, 2, 3, 20, 24])
async def test_a_record_that_is_cut_off_by_the_end_is_a_loss(cut: int) -> None:
    left, right, wire, other = stream_pair()
    wire.edit = lambda at, data: b""
    first, second = await records_of(left, wire, [b"first", b"second"])
    other.feed(first + second[:cut])
    other.end()
    assert await right.receive() == b"first"
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            await right.receive()


async def test_the_end_of_the_connection_is_never_the_end_of_the_stream() -> None:
    left, right, wire, _ = stream_pair()
    await left.send(b"data")
    await wire.aclose()
    assert await right.receive() == b"data"
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            await right.receive()


@one_backend
async def test_a_broken_connection_is_a_loss() -> None:
    left, right, _, other = stream_pair()
    await other.aclose()
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            await right.receive()
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            await left.send(b"data")


@one_backend
@pytest.mark.parametrize("kind", [REKEY, WELCOME, 4, 255])
async def test_a_record_of_another_kind_ends_it(kind: int) -> None:
    left, right, *_ = stream_pair()
    await left.send(b"first")
    await left.send_record(kind, b"")
    await left.send(b"last")
    assert await right.receive() == b"first"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            await right.receive()


@one_backend
async def test_a_record_without_a_kind_ends_it() -> None:
    left, right, _, other = stream_pair()
    other.feed(prefixed(left._keys._sending.encrypt_with_ad(b"", b"")))
    await left.send(b"last")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="empty"):
            await right.receive()


@one_backend
@pytest.mark.parametrize("body", [b"", b"\xc1", packed([]), packed("code")])
async def test_a_malformed_close_record_is_no_end_and_nothing_follows_it(body: bytes) -> None:
    left, right, *_ = stream_pair()
    await left.send_record(CLOSE, body)
    await left.send(b"more")
    await left.send_close("")
    for _ in range(3):
        with pytest.raises(RemoteProtocolError):
            await right.receive()


@one_backend
async def test_nothing_is_delivered_after_a_close_record() -> None:
    left, right, *_ = stream_pair()
    await left.send_record(CLOSE, packed({"code": "done"}))
    await left.send(b"more")
    for _ in range(2):
        with pytest.raises(anyio.EndOfStream):
            await right.receive()
    assert right.peer_close == ("done", "")


@one_backend
async def test_the_words_of_a_close_record_are_cut_and_fit_for_a_log() -> None:
    left, right, *_ = stream_pair()
    await left.send_record(CLOSE, packed({"code": "a\nword", "text": "two\nlines\x1b[31m" + "x" * 1_000}))
    with pytest.raises(anyio.EndOfStream):
        await right.receive()
    code, text = right.peer_close
    assert code == r"a\nword"
    assert text.startswith(r"two\nlines\x1b[31mxxx")
    assert len(text) == 256


# --- sending --------------------------------------------------------------------------------------------


class Stuck(Wire):
    """A connection that takes nothing."""

    async def send(self, item: bytes) -> None:
        await anyio.sleep_forever()


def stuck() -> Stuck:
    end = Stuck(1, True)
    end.other = Stuck(1, True)
    return end


async def test_after_a_cancelled_send_nothing_more_is_sent() -> None:
    transport = stuck()
    stream = stream_over(transport)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.send, b"data")
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            await stream.send(b"more")
    with pytest.raises(ConnectionLost):
        await stream.send_eof()
    await stream.aclose()  # says nothing, and does not wait
    assert transport.closed


async def test_closing_by_force_does_not_wait_for_a_stuck_connection() -> None:
    transport = stuck()
    stream = stream_over(transport)
    with anyio.fail_after(PATIENCE):
        await anyio.aclose_forcefully(stream)
    assert transport.closed


@one_backend
async def test_ending_twice_ends_once_and_nothing_is_sent_afterwards() -> None:
    left, right, wire, _ = stream_pair()
    await left.send_eof()
    sent = bytes(wire.sent)
    await left.send_eof()
    with pytest.raises(ConnectionLost):
        await left.send(b"more")
    await left.aclose()
    assert bytes(wire.sent) == sent
    assert wire.closed
    with pytest.raises(anyio.EndOfStream):
        await right.receive()


@one_backend
async def test_closing_says_goodbye_and_the_other_half_is_still_read() -> None:
    left, right, wire, _ = stream_pair()
    await left.send_close("enough")
    assert wire.half_closed
    await right.send(b"one more thing")
    assert await left.receive() == b"one more thing"
    await right.aclose()
    with pytest.raises(anyio.EndOfStream):
        await left.receive()


@one_backend
@pytest.mark.parametrize(
    "problem", [anyio.BrokenResourceError(), OSError(107, "not connected"), RuntimeError("closed")]
)
async def test_a_connection_that_breaks_at_the_very_end_is_a_loss_and_nothing_else(problem: Exception) -> None:
    left, _, wire, _ = stream_pair()

    async def send_eof() -> None:
        raise problem

    wire.send_eof = send_eof  # type: ignore[method-assign]
    with pytest.raises(ConnectionLost):
        await left.send_close("")
    await left.aclose()
    assert wire.closed


@one_backend
async def test_a_peer_that_is_gone_does_not_keep_from_closing() -> None:
    left, _, wire, other = stream_pair()
    await other.aclose()
    await left.aclose()
    assert wire.closed


@one_backend
async def test_a_record_that_is_too_long_is_not_sent() -> None:
    left, right, wire, _ = stream_pair()
    with pytest.raises(Exception, match="does not fit"):
        await left.send_record(DATA, bytes(FULL_BODY + 1))
    assert not wire.sent
    await left.send_record(DATA, bytes(FULL_BODY))
    assert len(await right.receive()) == FULL_BODY


@one_backend
async def test_attributes_of_the_connection_can_be_asked_for() -> None:
    one, two = socket.socketpair()
    with two:
        stream = await anyio.abc.UNIXSocketStream.from_socket(one)
        secure_stream = stream_over(stream)
        assert secure_stream.extra(anyio.abc.SocketAttribute.family) == socket.AF_UNIX
        await anyio.aclose_forcefully(secure_stream)


# --- without waiting, and in parts ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 10_000, 65_518, 65_519, 300_000, 1_000_000])
async def test_what_does_not_leave_now_leaves_with_the_next_send(size: int) -> None:
    near, far = sealed_pair()
    first, second = os.urandom(size), os.urandom(100)
    whole = near.send_now([first] if first else [])
    assert whole is (size <= 10_000)
    assert near.can_send_now is whole
    async with anyio.create_task_group() as tasks:

        async def go_on() -> None:
            await near.send(second)
            await near.send_eof()

        tasks.start_soon(go_on)
        assert await everything(far) == first + second
    for stream in (near, far):
        await stream.aclose()


@pytest.mark.parametrize(
    "cuts", [[], [9], [9, 65_502], [65_501, 65_502, 65_503], [1, 2, 131_004], range(1, 200_000, 999)]
)
@pytest.mark.parametrize("now", [False, True])
async def test_what_comes_in_parts_leaves_as_if_it_were_joined(cuts: Sequence[int], now: bool) -> None:
    near, far = sealed_pair()
    whole = os.urandom(200_000)
    parts = [whole[begin:end] for begin, end in pairwise([0, *cuts, len(whole)])]
    records = []
    async with anyio.create_task_group() as tasks:

        async def send() -> None:
            if now:
                near.send_now([bytearray(part) for part in parts])
                await near.send(b"")
            else:
                await near.send_parts(memoryview(part) for part in parts)
            await near.send_eof()

        tasks.start_soon(send)
        with suppress(anyio.EndOfStream):
            while True:
                records.append(await far.receive())
    assert b"".join(records) == whole
    assert {len(record) for record in records[:-1]} == {near._writer._max_body}
    for stream in (near, far):
        await stream.aclose()


async def test_a_close_record_comes_after_what_could_not_leave() -> None:
    near, far = sealed_pair()
    first = os.urandom(400_000)
    assert not near.send_now([first])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(near.send_close, "bye")
        assert await everything(far) == first
    assert far.peer_close == ("bye", "")
    await far.aclose()
    await near.aclose()


async def test_a_rekey_record_goes_first_also_when_nothing_waits() -> None:
    near, far = sealed_pair(Thresholds(seconds=0.0))
    assert near.send_now([b"hello"])
    assert await far.receive() == b"hello"
    assert far.has_output()  # the answer
    await near.aclose()
    await far.aclose()
