"""Foreign streams in messages: files, sockets, processes, async iterables, and what they should not do."""

import io
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteReceiveStream

import chanlink
from chanlink import (
    ByteStream,
    ChannelClosed,
    ChannelFailed,
    ChannelMoved,
    ChannelRefused,
    EncodeError,
    EndOfChannel,
    SessionClosed,
    wrap,
)
from tests.channels.pairs import assert_is_interrupted, session_pair, settle
from tests.patience import until

pytestmark = pytest.mark.anyio


async def read_all(stream: ByteReceiveStream) -> bytes:
    data = b""
    try:
        while True:
            data += await stream.receive()
    except anyio.EndOfStream:
        return data


@asynccontextmanager
async def sent_in_a_message(item: Any) -> AsyncIterator[ByteStream]:
    """What arrives of a foreign object that is sent in a message."""
    async with session_pair() as (client, server):
        carrier = await client.open("service")
        await carrier.send({"body": item})
        message = await (await server.accept()).end.receive()
        assert isinstance(message["body"], ByteStream)
        yield message["body"]


async def test_a_binary_file_is_read_to_its_end_and_closed(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)
    file = (tmp_path / "file").open("rb")
    async with sent_in_a_message(file) as body:
        assert await read_all(body) == data
        with pytest.raises(ChannelRefused):  # it can only be read
            while True:
                await body.send(b"x")
                await settle()
        body.close()
    assert file.closed


async def test_an_async_file_is_written_and_flushed(tmp_path: Path) -> None:
    file = await anyio.open_file(tmp_path / "file", "wb")
    async with sent_in_a_message(file) as body:
        await body.send(b"hello ")
        await body.send(b"file")
        await body.send_eof()
        assert await read_all(body) == b""
    assert (tmp_path / "file").read_bytes() == b"hello file"


async def test_a_text_file_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with (tmp_path / "file").open() as file:
        with pytest.raises(EncodeError, match="binary mode"):
            async with sent_in_a_message(file):
                pass
        assert not file.closed


async def test_the_output_of_a_process_arrives_while_it_runs() -> None:
    script = "import sys; print('first', flush=True); sys.stdin.read(1); print('last')"
    async with await anyio.open_process([sys.executable, "-c", script]) as process:
        async with sent_in_a_message(process.stdout) as body:
            assert (await body.receive()).strip() == b"first"
            assert process.stdin is not None
            await process.stdin.send(b"x")
            assert (await read_all(body)).strip() == b"last"
        await process.wait()


async def test_the_input_of_a_process_sees_the_end() -> None:
    async with await anyio.open_process(["cat"], stderr=subprocess.DEVNULL) as process:
        async with sent_in_a_message(process.stdin) as body:
            await body.send(b"through cat")
            await body.send_eof()
            assert process.stdout is not None
            assert await read_all(process.stdout) == b"through cat"
        await process.wait()


async def test_a_socket_is_used_both_ways() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(10)
        async with sent_in_a_message(theirs) as body:
            await anyio.to_thread.run_sync(ours.sendall, b"from the socket")
            assert await body.receive() == b"from the socket"
            await body.send(b"to the socket")
            await body.send_eof()
            assert await anyio.to_thread.run_sync(ours.recv, 100) == b"to the socket"
            assert await anyio.to_thread.run_sync(ours.recv, 100) == b""
            ours.shutdown(socket.SHUT_WR)
            with pytest.raises(EndOfChannel):
                await body.receive()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
async def test_a_full_disk_refuses_the_writer_and_harms_nothing_else() -> None:
    file = await anyio.open_file("/dev/full", "wb", buffering=0)
    async with session_pair() as (client, server):
        carrier = await client.open("service")
        await carrier.send(file)
        receiver = (await server.accept()).end
        body = await receiver.receive()
        await body.send(b"x")
        reason = await body.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert (reason.code, reason.reason) == ("write-failed", "OSError")
        await carrier.send("the session goes on")
        assert await receiver.receive() == "the session goes on"


class BrokenStream(ByteReceiveStream):
    """Yields something and then breaks, in a way that nobody foresaw."""

    closed = False

    def __init__(self) -> None:
        self._pieces = [b"a part"]

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await anyio.lowlevel.checkpoint()
        if not self._pieces:
            raise ZeroDivisionError("unforeseen")
        return self._pieces.pop()

    async def aclose(self) -> None:
        self.closed = True


async def test_a_read_error_of_a_wrapped_source_is_a_failure_there_and_harms_nothing_else() -> None:
    source = BrokenStream()
    async with session_pair() as (client, server):
        carrier = await client.open("service")
        await carrier.send(source)
        receiver = (await server.accept()).end
        body = await receiver.receive()
        assert await body.receive() == b"a part"
        with pytest.raises(ChannelFailed) as caught:
            await body.receive()
        assert (caught.value.code, caught.value.text) == ("read-failed", "ZeroDivisionError")
        await carrier.send("the session goes on")
        assert await receiver.receive() == "the session goes on"
    assert source.closed


class Slow(io.RawIOBase):
    """A raw file that takes ten bytes a call."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += bytes(data[:10])
        return min(len(data), 10)


async def test_a_raw_file_that_takes_a_part_is_given_the_rest() -> None:
    file = Slow()
    async with sent_in_a_message(file) as body:
        await body.send(b"twenty-five bytes in all.")
        await body.send_eof()
        assert await read_all(body) == b""
        while not file.closed:
            await anyio.sleep(0.001)
    assert file.data == b"twenty-five bytes in all."


class Odd(BrokenStream):
    """Returns, or raises, what no byte stream does."""

    def __init__(self, what: Any) -> None:
        self.what = what

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await anyio.lowlevel.checkpoint()
        if isinstance(self.what, Exception):
            raise self.what
        return self.what  # type: ignore[no-any-return]


@pytest.mark.parametrize("what", [None, 5, "text", ChannelFailed("code"), ChannelClosed("closed")], ids=repr)
async def test_what_a_source_should_not_do_is_a_failure_and_no_end(what: Any) -> None:
    source = Odd(what)
    async with sent_in_a_message(source) as body:
        with pytest.raises(ChannelFailed) as caught:
            await body.receive()
        assert caught.value.code == "read-failed"
    assert source.closed


class Leaving(anyio.abc.ByteStream):
    """An object that leaves the program, or is interrupted, in one of its methods."""

    def __init__(self, where: str, error: BaseException) -> None:
        self._where, self._error = where, error

    async def _act(self, what: str) -> None:
        await anyio.lowlevel.checkpoint()
        if what == self._where:
            raise self._error

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await self._act("read")
        if isinstance(self._error, KeyboardInterrupt):
            await anyio.sleep_forever()
        raise anyio.EndOfStream

    async def send(self, item: bytes) -> None:
        await self._act("write")

    async def send_eof(self) -> None:
        await self._act("end")

    async def aclose(self) -> None:
        await self._act("close")


@pytest.mark.parametrize("error", [SystemExit(3), BaseExceptionGroup("", [SystemExit(3), ValueError()])], ids=repr)
@pytest.mark.parametrize("where", ["read", "write", "end", "close"])
async def test_an_object_that_leaves_the_program_ends_its_own_stream_only(where: str, error: BaseException) -> None:
    async with session_pair() as (client, server):
        sender = await client.open("carrier")
        await sender.send(Leaving(where, error))
        receiver = (await server.accept()).end
        stream = await receiver.receive()
        if where == "read":
            with pytest.raises(ChannelFailed, match="read-failed"):
                await stream.receive()
        elif where == "close":
            with pytest.raises(EndOfChannel):
                await stream.receive()
        else:
            await stream.send(b"data")
            await stream.send_eof()
            reason = await stream.wait_closed()
            assert isinstance(reason, ChannelRefused)
        stream.close()
        await settle()
        await sender.send("goes on")
        assert await receiver.receive() == "goes on"
        sender.close()


@pytest.mark.parametrize("where", ["read", "write"])
def test_an_interruption_in_an_object_ends_the_program(
    anyio_backend: tuple[str, dict[str, object]], where: str
) -> None:
    async def program() -> None:
        async with session_pair() as (client, server):
            sender = await client.open("carrier")
            await sender.send(Leaving(where, KeyboardInterrupt()))
            async with await (await server.accept()).end.receive() as stream:
                await stream.send(b"data")
                await anyio.sleep_forever()

    assert_is_interrupted(program, anyio_backend)


async def test_a_file_that_is_closed_already_is_a_failure_and_harms_nothing_else(tmp_path: Path) -> None:
    file = (tmp_path / "file").open("wb")
    file.close()
    async with session_pair() as (client, server):
        carrier = await client.open("service")
        await carrier.send(file)
        receiver = (await server.accept()).end
        with pytest.raises(ChannelFailed):
            await (await receiver.receive()).receive()
        await carrier.send("the session goes on")
        assert await receiver.receive() == "the session goes on"


async def test_a_socket_that_is_none_of_a_stream_is_closed() -> None:
    source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    async with sent_in_a_message(source) as body:
        with pytest.raises(ChannelFailed):
            await body.receive()
    assert source.fileno() == -1


async def test_a_session_ends_though_a_thread_still_reads_a_file() -> None:
    reading, writing = os.pipe()
    try:
        async with session_pair() as (client, server):
            carrier = await client.open("service")
            await carrier.send(os.fdopen(reading, "rb"))
            await (await server.accept()).end.receive()
            await settle()
        assert isinstance(await client.wait_closed(), SessionClosed)
    finally:
        os.close(writing)  # the thread sees the end now


class EndlessStream(ByteReceiveStream):
    """Never yields anything; closed by cancellation only."""

    closed = False

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await anyio.sleep_forever()
        return b""

    async def aclose(self) -> None:
        self.closed = True


async def test_a_source_that_is_being_read_is_let_go_when_the_far_side_closes() -> None:
    source = EndlessStream()
    async with sent_in_a_message(source) as body:
        await settle()
        body.close()
        await settle()
        assert source.closed


async def test_a_foreign_stream_is_not_started_when_the_message_is_not_sent() -> None:
    source = BrokenStream()
    async with session_pair() as (client, _server):
        carrier = await client.open("service")
        with pytest.raises(EncodeError):
            await carrier.send([source, object()])
        await settle()
        assert not source.closed
        assert await source.receive() == b"a part"


async def test_an_async_iterable_of_bytes_is_a_stream_that_can_only_be_read() -> None:
    closed = anyio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"one "
            yield b""
            yield b"two " * 50_000
        finally:
            closed.set()

    async with session_pair() as (client, server):
        sender = await client.open("service")
        await sender.send({"body": pieces()})
        async with (await (await server.accept()).end.receive())["body"] as body:
            assert b"".join([piece async for piece in body]) == b"one " + b"two " * 50_000
            await closed.wait()
            assert isinstance(await body.wait_closed(), ChannelRefused)


async def test_an_iterable_of_what_is_no_bytes_has_failed() -> None:
    async def pieces() -> AsyncIterator[Any]:
        yield b"fine"
        yield "a text"

    async with session_pair() as (client, server):
        sender = await client.open("service")
        await sender.send(pieces())
        async with await (await server.accept()).end.receive() as body:
            assert await body.receive() == b"fine"
            with pytest.raises(ChannelFailed, match="read-failed: TypeError"):
                await body.receive()


async def test_a_stream_of_objects_is_no_stream_of_bytes() -> None:
    send, receive = anyio.create_memory_object_stream[Any]()
    async with session_pair() as (client, _):
        sender = await client.open("service")
        with pytest.raises(EncodeError, match="MemoryObjectReceiveStream can't be sent"):
            await sender.send(receive)
    send.close()
    receive.close()


# --- wrap -----------------------------------------------------------------------------------------


async def test_a_wrapped_file_in_a_message_is_as_good_as_the_file(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)
    file = (tmp_path / "file").open("rb")
    async with sent_in_a_message(wrap(file)) as body:
        assert body.size is None
        assert await read_all(body) == data
        await until(lambda: file.closed)


async def test_with_a_size_whoever_gets_it_knows_how_much_will_come(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)
    async with sent_in_a_message(wrap((tmp_path / "file").open("rb"), len(data))) as body:
        assert body.size == len(data)
        await body.receive(1_000)
        assert body.size == len(data)
        assert len(await read_all(body)) == len(data) - 1_000


@pytest.mark.parametrize("more", [-1, 1])
async def test_another_number_of_bytes_than_was_said_fails(tmp_path: Path, more: int) -> None:
    (tmp_path / "file").write_bytes(bytes(100_000))
    file = (tmp_path / "file").open("rb")
    async with sent_in_a_message(wrap(file, 100_000 + more)) as body:
        with pytest.raises(ChannelFailed) as caught:
            await read_all(body)
        assert caught.value.code == "wrong-size"
        await until(lambda: file.closed)


async def test_a_block_reads_and_writes_an_object_here() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        async with wrap(ours) as stream:
            await stream.send(b"question")
            assert await anyio.to_thread.run_sync(theirs.recv, 100) == b"question"
            theirs.sendall(b"answer")
            assert await stream.receive() == b"answer"
            theirs.shutdown(socket.SHUT_WR)
            with pytest.raises(EndOfChannel):
                await stream.receive()
        assert ours.fileno() == -1


async def test_what_was_written_is_in_the_file_behind_the_block(tmp_path: Path) -> None:
    async with wrap((tmp_path / "file").open("wb")) as stream:
        for _ in range(100):
            await stream.send(bytes(10_000))
    assert (tmp_path / "file").stat().st_size == 1_000_000


async def test_leaving_a_block_waits_for_whoever_has_the_stream_in_this_process(tmp_path: Path) -> None:
    data = os.urandom(1_000_000)
    (tmp_path / "file").write_bytes(data)
    got: list[bytes] = []
    sender, receiver = chanlink.pipe()

    async def read() -> None:
        async with (await receiver.receive())["body"] as body:
            assert type(body) is ByteStream
            assert body.size == len(data)
            got.append(await read_all(body))

    async with sender, receiver, anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        async with wrap((tmp_path / "file").open("rb"), len(data)) as stream:
            await sender.send({"body": stream})
        assert got == [data]


async def test_a_block_pumps_what_went_over_a_session_too(tmp_path: Path) -> None:
    data = os.urandom(200_000)
    (tmp_path / "file").write_bytes(data)
    file = (tmp_path / "file").open("rb")

    async def read(body: ByteStream) -> None:
        async with body:
            assert await read_all(body) == data

    async with (
        session_pair() as (client, server),
        await client.open("service") as carrier,
        anyio.create_task_group() as tasks,
    ):
        async with wrap(file, len(data)) as stream:
            await carrier.send(stream)
            with pytest.raises(ChannelMoved):
                await stream.receive()
            body = await (await server.accept()).end.receive()
            assert body.size == len(data)
            tasks.start_soon(read, body)
        assert file.closed


async def test_an_exception_cuts_it_short_and_is_not_wrapped(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10_000_000))
    file = (tmp_path / "file").open("rb")
    sender, receiver = chanlink.pipe()
    async with sender, receiver:
        with pytest.raises(ZeroDivisionError):
            async with wrap(file) as stream:
                await sender.send(stream)
                raise ZeroDivisionError
        assert file.closed
        async with await receiver.receive() as body:
            with pytest.raises(ChannelFailed) as caught:
                await read_all(body)
            assert caught.value.code == "cut-short"


async def test_a_block_that_is_cancelled_ends_though_nobody_reads(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10_000_000))
    file = (tmp_path / "file").open("rb")
    sender, receiver = chanlink.pipe()
    async with sender, receiver:
        with anyio.move_on_after(0.05) as scope:
            async with wrap(file) as stream:
                await sender.send(stream)
        assert scope.cancelled_caught
        assert file.closed
        (await receiver.receive()).close()


async def test_a_block_whose_stream_nobody_uses_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10_000_000))
    file = (tmp_path / "file").open("rb")
    async with wrap(file):
        pass
    assert file.closed


async def test_without_a_block_it_waits_for_nothing_and_is_the_callers(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with (tmp_path / "file").open("r+b") as file:
        stream = wrap(file)
        for use in (partial(stream.receive, 1), stream.wait_closed, partial(stream.send, b"x")):
            with pytest.raises(RuntimeError, match="async with wrap"):
                await use()  # type: ignore[operator]
        sender, receiver = chanlink.pipe()
        with pytest.raises(EncodeError, match=r"^body: nobody copies here"):
            await sender.send({"body": stream})
        sender.close()
        receiver.close()
        del stream
        assert file.read() == b"abc"


async def test_a_stream_has_one_block() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"

    stream = wrap(pieces())
    async with stream:
        assert await stream.receive() == b"abc"
        with pytest.raises(RuntimeError, match="its block already"):
            async with stream:
                raise AssertionError("not entered")
    with pytest.raises(ChannelClosed):
        async with stream:
            raise AssertionError("not entered")


async def test_what_is_no_stream_of_bytes_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    one, other = chanlink.byte_pipe()
    with (tmp_path / "text").open() as text:
        for bad in (None, "x", b"x", 5, chanlink.pipe, one, text):
            with pytest.raises(TypeError, match=r"^source"):
                wrap(bad)
    one.close()
    other.close()
    with pytest.raises(ValueError, match="at least 0"):
        wrap(io.BytesIO(), -1)
    with pytest.raises(TypeError, match="size must be"):
        wrap(io.BytesIO(), 1.5)  # type: ignore[arg-type]


async def test_a_wrapped_file_goes_through_a_relay() -> None:
    async with session_pair() as (client, middle), session_pair() as (onward, server):
        first, second = await client.open("service"), await onward.open("service")
        await first.send(wrap(io.BytesIO(bytes(100_000)), 100_000))
        relayed = await (await middle.accept()).end.receive()
        await second.send(relayed)
        body = await (await server.accept()).end.receive()
        assert body.size == 100_000
        assert await read_all(body) == bytes(100_000)
