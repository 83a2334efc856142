"""Foreign streams in messages: files, sockets, pipes of processes, anyio's streams, async iterables of bytes.

Such an object is replaced by one end of a byte pipe; the other end stays, and a task copies between it and the
object. It is started when the message was accepted, and belongs to the session. The object moves: it is closed
when both directions are over. Whatever it raises, the far side sees a failure, our log the cause, and nobody else
anything.
"""

import io
import math
import socket
from collections.abc import AsyncIterable, Callable
from functools import partial
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketStream, UnreliableObjectReceiveStream
from anyio.abc import ByteStream as AnyByteStream

from chanlink.bytes_like import as_bytes
from chanlink.channels.bytestream import ByteStream
from chanlink.channels.memory import ByteQueue
from chanlink.channels.waiting import Loop
from chanlink.errors import ChanlinkError, EncodeError, EndOfChannel
from chanlink.printing import printable_logger

PUMPED_BYTES = 64 * 1024
"""What is read at a time, of an object or of the far side."""

logger = printable_logger("chanlink")


class ForeignStream(ByteStream):
    """The end that stands for a foreign object in a message."""

    source: Any
    there: ByteQueue
    back: ByteQueue

    def inner(self) -> ByteStream:
        """The end of the pipe that stays."""
        assert self.there.receiver is not None
        return ByteStream(self.back.sender, self.there.receiver)

    def __del__(self) -> None:
        """Not sent after all: the object is still the caller's."""


def wrap(source: object) -> ForeignStream | None:
    """An end that stands for `source`, or None if it is no stream. Raises `EncodeError` for a text file."""
    file = source.wrapped if isinstance(source, anyio.AsyncFile) else source
    if isinstance(file, io.TextIOBase):
        raise EncodeError("a text file can't be sent; open it in binary mode")
    if not isinstance(file, _STREAMS) and not _is_iterable(file):
        return None
    loop = Loop()
    there, back = ByteQueue(loop), ByteQueue(loop)
    assert back.receiver is not None
    end = ForeignStream(there.sender, back.receiver)
    end.source, end.there, end.back = file, there, back
    return end


_STREAMS = (ByteReceiveStream, ByteSendStream, io.RawIOBase, io.BufferedIOBase, socket.socket)


def _is_iterable(source: object) -> bool:
    """Whether pieces of bytes may come out of it; what streams of objects bring is not for us."""
    return isinstance(source, AsyncIterable) and not isinstance(source, UnreliableObjectReceiveStream)


class _Iterable(ByteReceiveStream):
    """An async iterable of bytes as a stream that can only be read."""

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self._pieces = aiter(source)
        self._left = memoryview(b"")

    async def receive(self, max_bytes: int = PUMPED_BYTES) -> bytes:
        while not self._left:
            try:
                self._left = memoryview(as_bytes(await anext(self._pieces)))
            except StopAsyncIteration:
                raise anyio.EndOfStream from None
        data, self._left = self._left[:max_bytes], self._left[max_bytes:]
        return bytes(data)

    async def aclose(self) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()


class _File(AnyByteStream):
    """A binary file as a byte stream.

    Its calls run in worker threads. A task that waits for one can be cancelled: a pipe may never have anything to read,
    and a session must be able to end all the same. The thread goes on until the call returns.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.readable: bool = file.readable()
        self.writable: bool = file.writable()
        # read1 returns what there is; a pipe would keep `read` waiting for all that was asked for.
        self._read: Callable[[int], bytes] = getattr(file, "read1", file.read)

    async def receive(self, max_bytes: int = PUMPED_BYTES) -> bytes:
        return await _in_thread(self._read, max_bytes) or b""

    async def send(self, item: bytes) -> None:
        left = memoryview(item)
        while left:  # a raw file may write less than it was given
            count = await _in_thread(self._file.write, left)
            if not count:
                raise BlockingIOError("the file takes nothing")
            left = left[count:]

    async def send_eof(self) -> None:
        await _in_thread(self._file.flush)

    async def aclose(self) -> None:
        await _in_thread(self._file.close)


async def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    result = await anyio.to_thread.run_sync(partial(function, *args), abandon_on_cancel=True)
    if result is None and args:
        raise BlockingIOError("the file is not ready; it must be a blocking one")
    return result


# --- copying ------------------------------------------------------------------------------------


_ITS_OWN = (Exception, SystemExit)
"""What an object may raise and end its own stream only: `sys.exit` as well, as in a service."""


def _concerns_all(exc: BaseException) -> bool:
    """Whether an object has raised what is for the whole program, an interruption, say."""
    return isinstance(exc, BaseExceptionGroup) and exc.split(_ITS_OWN)[1] is not None


async def pump(source: Any, inner: ByteStream) -> None:
    """Copy between a foreign object and the end of the pipe that stayed, until both directions are over."""
    stream = source
    try:
        stream = await _opened(source)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_copy_in, stream, inner)
            await _copy_out(stream, inner)
    except (*_ITS_OWN, BaseExceptionGroup, anyio.get_cancelled_exc_class()) as exc:
        if anyio.current_effective_deadline() == -math.inf or _concerns_all(exc):
            raise  # it is we who are cancelled; asyncio has the same exception for what leaked from the object
        _broken(inner, "read", exc)
    finally:
        inner.fail("cut-short")  # without effect where the end, or why there is none, was said
        inner.close()
        with anyio.move_on_after(1, shield=True):
            await _close(stream)


async def _opened(source: Any) -> Any:
    if isinstance(source, socket.socket):
        source.setblocking(False)
        return await SocketStream.from_socket(source)
    if isinstance(source, io.RawIOBase | io.BufferedIOBase):
        return _File(source)
    return source if isinstance(source, _STREAMS) else _Iterable(source)


async def _close(source: Any) -> None:
    try:
        if isinstance(source, io.IOBase):
            await _in_thread(source.close)
        elif isinstance(source, socket.socket):
            source.close()
        else:
            await source.aclose()
    except (*_ITS_OWN, BaseExceptionGroup) as exc:  # whatever it raises, it is over
        if _concerns_all(exc):
            raise
        logger.info("closing a foreign stream: %s: %s", type(exc).__name__, exc)


def _broken(inner: ByteStream, what: str, exc: BaseException) -> None:
    logger.info("a foreign stream broke at a %s: %s: %s", what, type(exc).__name__, exc)
    if what == "read":
        inner.fail("read-failed", type(exc).__name__)
    else:
        inner.refuse("write-failed", type(exc).__name__)


async def _copy_in(stream: Any, inner: ByteStream) -> None:
    """From the object to the far side, until that reads no more."""
    if not (stream.readable if isinstance(stream, _File) else isinstance(stream, ByteReceiveStream)):
        await inner.send_eof()
        return
    async with anyio.create_task_group() as tasks:

        async def stop_when_refused() -> None:
            await inner.wait_closed()
            tasks.cancel_scope.cancel()

        tasks.start_soon(stop_when_refused)
        await _read_to_end(stream, inner)
        tasks.cancel_scope.cancel()


async def _read_to_end(stream: Any, inner: ByteStream) -> None:
    while True:
        try:
            data = await _piece(stream)
        except (*_ITS_OWN, BaseExceptionGroup) as exc:
            if _concerns_all(exc):
                raise
            _broken(inner, "read", exc)
            return
        try:
            if not data:
                await inner.send_eof()
                return
            await inner.send(data)
        except ChanlinkError:
            return  # the far side reads no more; that the object is not read to its end is its wish


async def _piece(stream: Any) -> bytes:
    """The next bytes of an object, none at its end."""
    try:
        data = await stream.receive(PUMPED_BYTES)
    except anyio.EndOfStream:
        return b""
    return as_bytes(data)


async def _copy_out(stream: Any, inner: ByteStream) -> None:
    """From the far side to the object."""
    if not (stream.writable if isinstance(stream, _File) else isinstance(stream, ByteSendStream)):
        inner.refuse("closed", "it can only be read")
        return
    while True:
        try:
            data = await inner.receive(PUMPED_BYTES)
        except EndOfChannel:
            data = b""
        except ChanlinkError:
            return  # a truncated stream is no end: the object is closed without one
        try:
            if not data:
                await _say_end(stream)
                return
            await stream.send(data)
        except (*_ITS_OWN, BaseExceptionGroup) as exc:
            if _concerns_all(exc):
                raise
            _broken(inner, "write", exc)
            return


async def _say_end(stream: Any) -> None:
    """Let whoever reads the object see the end."""
    if isinstance(stream, AnyByteStream):
        await stream.send_eof()
    else:
        await _close(stream)
