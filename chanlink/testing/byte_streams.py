"""`check_byte_stream`: what every byte stream promises, whatever is between its two ends."""

import random
from collections.abc import Collection
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream
from anyio.abc import ByteStream as AnyByteStream
from anyio.lowlevel import checkpoint

from chanlink import ByteStream, ChannelClosed, ChannelFailed, ChannelMoved, ChannelRefused
from chanlink.arguments import expect as expect_type
from chanlink.arguments import expect_function

from .promises import (
    Bench,
    MakeBytePair,
    Promise,
    Promises,
    a_while,
    all_are_woken,
    check,
    eventually,
    expect,
    raising,
    received_though_cancelled,
)

PROMISES = Promises()
"""Of every byte stream."""
OURS = Promises()
"""Of those only that can say why they are over: `chanlink.ByteStream`."""


async def check_byte_stream(
    factory: MakeBytePair, *, only: Collection[str] | None = None, patience: float = 10.0
) -> None:
    """Check that a byte stream keeps every promise that chanlink makes about byte streams.

    ``factory()`` returns an async context manager that gives two fresh `anyio.abc.ByteStream` that are joined: what is
    sent into one comes out of the other, both ways, with half-close. It is called once or more for each promise; the
    streams may be closed when its block is left. Where they are `chanlink.ByteStream`, all that these can do is
    checked as well: failures, refusals, cancellation, moving. ``only`` names the promises to check, out of
    `BYTE_STREAM_PROMISES`. ``patience`` is the number of seconds that one promise may take before it counts as broken.

    Raises `AssertionError` for the first broken promise: its name, what it says, and what was seen instead.
    """
    expect_function("factory", factory)
    expect_type("patience", patience, int, float)
    async with factory() as (one, other):
        ours = isinstance(one, ByteStream) and isinstance(other, ByteStream)
        await one.aclose()
        await other.aclose()
    promises: list[Promise] = [*PROMISES, *OURS] if ours or only is not None else PROMISES
    await check(promises, factory, only, patience, "this byte stream")


async def _read_all(stream: ByteReceiveStream) -> bytes:
    data = bytearray()
    try:
        while True:
            piece = await stream.receive()
            expect(piece, "receive() returned no bytes, which is not how an end is said")
            data += piece
    except anyio.EndOfStream:
        return bytes(data)


async def _fill(stream: ByteSendStream, most: int) -> int:
    """Send until that has to wait, also after a while; return how many bytes were accepted. Cancels one send."""
    accepted = 0
    async with anyio.create_task_group() as tasks:

        async def send() -> None:
            nonlocal accepted
            while accepted < most:
                await stream.send(bytes(1_000))
                accepted += 1_000
            tasks.cancel_scope.cancel()

        tasks.start_soon(send)
        before = -1
        while before < accepted:
            before = accepted
            await a_while()
        tasks.cancel_scope.cancel()
    return accepted


# --- of every byte stream -------------------------------------------------------------------------


@PROMISES.add
async def bytes_arrive_exactly_and_then_the_end(bench: Bench) -> None:
    """All bytes arrive, in order, however they were cut for sending; then comes the end, and it stays."""
    data = random.Random(0).randbytes(1_000_000)
    for turned in (False, True):
        async with bench.byte_streams() as pair, anyio.create_task_group() as tasks:
            writer, reader = reversed(pair) if turned else pair

            async def write(writer: AnyByteStream) -> None:
                begin, size = 0, 1
                while begin < len(data):
                    await writer.send(data[begin : begin + size])
                    begin, size = begin + size, size * 3 % 200_000 + 1
                await writer.send_eof()

            tasks.start_soon(write, writer)
            expect(await _read_all(reader) == data, "other bytes came")
            for _ in range(2):
                with raising(anyio.EndOfStream, "receive() after the end"):
                    await reader.receive()


@PROMISES.add
async def each_half_ends_by_itself(bench: Bench) -> None:
    """send_eof() ends one direction; the other one goes on until it ends itself."""
    for turned in (False, True):
        async with bench.byte_streams() as pair:
            one, other = reversed(pair) if turned else pair
            await one.send(b"question")
            await one.send_eof()
            expect(await _read_all(other) == b"question", "other bytes came")
            for _ in range(3):
                await other.send(b"answer")
                expect(await one.receive(6) == b"answer", "other bytes came back")
            await other.send_eof()
            expect(await _read_all(one) == b"", "more came back")


@PROMISES.add
async def closing_ends_what_was_sent_in_order(bench: Bench) -> None:
    """After aclose() the other side still reads what was sent before, and then the end."""
    async with bench.byte_streams() as (one, other):
        await one.send(b"the last words")
        await one.aclose()
        expect(await _read_all(other) == b"the last words", "other bytes came")


@PROMISES.add
async def receive_returns_no_more_than_asked(bench: Bench) -> None:
    """receive(n) returns at least one and at most n bytes, and what it left comes next."""
    async with bench.byte_streams() as (one, other):
        await one.send(bytes(range(100)))
        await one.send_eof()
        pieces: list[bytes] = []
        with raising(anyio.EndOfStream, "receive()"):
            while True:
                pieces.append(await other.receive(1 + len(pieces) % 7))
        for n, piece in enumerate(pieces):
            expect(1 <= len(piece) <= 1 + n % 7, f"receive({1 + n % 7}) returned {len(piece)} bytes")
        expect(b"".join(pieces) == bytes(range(100)), "other bytes came")


@PROMISES.add
async def both_directions_flow_at_once(bench: Bench) -> None:
    """Two sides that both send more than fits, and read meanwhile, don't wait for each other for ever."""
    data = random.Random(1).randbytes(500_000)
    async with bench.byte_streams() as pair:
        whole: list[bytes] = []

        async def write(stream: AnyByteStream) -> None:
            for begin in range(0, len(data), 50_000):
                await stream.send(data[begin : begin + 50_000])
            await stream.send_eof()

        async def read(stream: ByteReceiveStream) -> None:
            whole.append(await _read_all(stream))

        async with anyio.create_task_group() as tasks:
            for stream in pair:
                tasks.start_soon(write, stream)
                tasks.start_soon(read, stream)
        expect(whole == [data, data], "other bytes came")


@PROMISES.add
async def bytes_are_not_queued_without_a_bound(bench: Bench) -> None:
    """A reader that does not read stops its writer, in both directions."""
    for turned in (False, True):
        async with bench.byte_streams() as pair:
            writer, _reader = reversed(pair) if turned else pair
            accepted = await _fill(writer, 50_000_000)
            expect(accepted < 50_000_000, "50 MB were accepted though nobody reads")


@PROMISES.add
async def nothing_is_accepted_after_the_end(bench: Bench) -> None:
    """After send_eof() and aclose(), send() raises an error of anyio; closing again is harmless."""
    async with bench.byte_streams() as (one, _other):
        await one.send_eof()
        with raising(anyio.ClosedResourceError, "send() after send_eof()"):
            await one.send(b"late")
        await one.aclose()
        await one.aclose()
        with raising(anyio.ClosedResourceError, "send() after aclose()"):
            await one.send(b"late")
        with raising(anyio.ClosedResourceError, "receive() after aclose()"):
            await one.receive()


@PROMISES.add
async def a_writer_learns_that_its_reader_is_gone(bench: Bench) -> None:
    """When the reading side closes, send() raises BrokenResourceError before long."""
    async with bench.byte_streams() as (one, other):
        await one.send(b"x")
        expect(await other.receive() == b"x", "other bytes came")
        await other.aclose()
        with raising(anyio.BrokenResourceError, "send() to a reader that closed"):
            while True:
                await one.send(bytes(1_000))
                await checkpoint()


@PROMISES.add
async def a_cancelled_receive_of_bytes_loses_nothing(bench: Bench) -> None:
    """A receive() that is cancelled, at whatever moment, takes no bytes with it."""
    async with bench.byte_streams() as (one, other):
        received = await received_though_cancelled(other.receive, lambda n: one.send(bytes([n])))
        await one.send_eof()
        received.append(await _read_all(other))
        expect(b"".join(received) == bytes(range(60)), "bytes were lost, or came twice")


# --- of ours --------------------------------------------------------------------------------------


@OURS.add
async def a_failure_is_no_end(bench: Bench) -> None:
    """After fail(code, text) the reader gets what was sent before, then ChannelFailed; the other way goes on."""
    for turned in (False, True):
        async with bench.byte_streams() as pair:
            one, other = _ours(pair, turned)
            await one.send(b"a part")
            one.fail("disk-error", "bad sector")
            expect(await other.receive() == b"a part", "other bytes came")
            for _ in range(2):
                with raising(ChannelFailed, "receive() after a failure") as raised:
                    await other.receive()
                raised.carries(code="disk-error", text="bad sector")
            await other.send(b"goes on")
            expect(await one.receive() == b"goes on", "other bytes came back")


@OURS.add
async def leaving_the_block_closes_the_stream(bench: Bench) -> None:
    """Leaving the block ends both directions; by an exception, what it sends fails with the exception's class only."""
    async with bench.byte_streams() as pair:
        one, other = _ours(pair)
        async with one:
            await one.send(b"all")
        expect(await _read_all(other) == b"all", "other bytes came")
    async with bench.byte_streams() as pair:
        one, other = _ours(pair)
        with raising(LookupError, "the block"):
            async with one:
                raise LookupError("internal details")
        with raising(ChannelFailed, "receive() after an exception") as raised:
            await other.receive()
        raised.carries(code="lookup-error", text="")
        expect(isinstance(await other.wait_closed(), ChannelRefused), "wait_closed() returned another reason")


@OURS.add
async def an_idle_writer_learns_of_a_refusal(bench: Bench) -> None:
    """refuse(code, reason) stops one direction: wait_closed() returns why, send() raises it; the other way goes on."""
    for turned in (False, True):
        async with bench.byte_streams() as pair, anyio.create_task_group() as tasks:
            one, other = _ours(pair, turned)
            reasons: list[Any] = []

            async def wait() -> None:
                reasons.append(await one.wait_closed())  # noqa: B023

            tasks.start_soon(wait)
            await a_while()
            expect(not reasons, "wait_closed() returned while the reader was there")
            other.refuse("enough", "no more room")
            await eventually(lambda: reasons)  # noqa: B023
            expect(isinstance(reasons[0], ChannelRefused), f"wait_closed() returned {reasons[0]!r}")
            for _ in range(2):
                with raising(ChannelRefused, "send() after a refusal") as raised:
                    await one.send(b"x")
                raised.carries(code="enough", reason="no more room")
            await other.send(b"goes on")
            expect(await one.receive() == b"goes on", "other bytes came back")


@OURS.add
async def a_blocked_writer_learns_of_a_refusal(bench: Bench) -> None:
    """When the reader closes, a task that waits in send() gets the reason."""
    async with bench.byte_streams() as pair, anyio.create_task_group() as tasks:
        one, other = _ours(pair)

        async def write() -> None:
            with raising(ChannelRefused, "send() in a task that waits"):
                while True:
                    await one.send(bytes(10_000))

        tasks.start_soon(write)
        await a_while()
        other.close()


@OURS.add
async def a_cancelled_send_of_bytes_is_whole_or_nothing(bench: Bench) -> None:
    """A send() that is cancelled was accepted whole or not at all, and the stream goes on."""
    async with bench.byte_streams() as pair:
        one, other = _ours(pair)
        await _fill(one, 50_000_000)  # cancels a send that waits
        data = bytearray()

        async def read() -> None:
            data.extend(await _read_all(other))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await one.send(b"the last")
            await one.send_eof()
        expect(data.endswith(b"the last"), "the stream did not go on")
        expect((len(data) - 8) % 1_000 == 0, "a part of it was sent")


@OURS.add
async def no_bytes_are_no_end(bench: Bench) -> None:
    """Sending no bytes does nothing; above all it does not end the stream."""
    async with bench.byte_streams() as pair:
        one, other = _ours(pair)
        await one.send(b"")
        await one.send(b"x")
        await one.send(b"")
        await one.send_eof()
        expect(await _read_all(other) == b"x", "other bytes came")


@OURS.add
async def closing_wakes_every_task_that_reads(bench: Bench) -> None:
    """The end, and closing the stream, are seen by every task that waits in receive()."""
    for close_writer, kind in ((True, anyio.EndOfStream), (False, ChannelClosed)):
        async with bench.byte_streams() as pair:
            one, other = _ours(pair)
            await all_are_woken(other.receive, kind, (one if close_writer else other).close)


@OURS.add
async def a_byte_stream_moves_with_what_waits_in_it(bench: Bench) -> None:
    """A byte stream sent in a message raises ChannelMoved here; where it arrives come first the bytes that waited."""
    async with bench.byte_streams() as pair:
        one, other = _ours(pair)
        sender, receiver = bench.pipe()
        await one.send(b"before, ")
        await sender.send(other)
        with raising(ChannelMoved, "receive() on a byte stream that moved"):
            await other.receive()
        moved = bench.keep(await receiver.receive())
        await one.send(b"after")
        await one.send_eof()
        expect(await _read_all(moved) == b"before, after", "other bytes came")
        await moved.send(b"back")
        expect(await one.receive() == b"back", "other bytes came back")


def _ours(pair: tuple[Any, Any], turned: bool = False) -> tuple[ByteStream, ByteStream]:
    one, other = reversed(pair) if turned else pair
    return one, other


BYTE_STREAM_PROMISES = tuple(promise.__name__ for promise in (*PROMISES, *OURS))
"""The names of the promises that `check_byte_stream` tries, in its order; the last ones of ours only."""
