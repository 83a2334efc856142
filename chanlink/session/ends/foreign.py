"""Foreign streams in messages: files, sockets, pipes of processes, anyio's streams, async iterables of bytes.

Such an object is replaced by one end of a byte pipe; the other end stays, and a task copies between it and the
object. It is started when the message was accepted, and belongs to the session; or the program has opened a block for
it (`wrap`), and it belongs to that. The object moves: it is closed when both directions are over. Whatever it raises,
the far side sees a failure, our log the cause, and nobody else anything.
"""

import io
import math
import socket
from collections.abc import AsyncIterable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import NoneType, TracebackType
from typing import Any, Self

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketStream, TaskGroup, UnreliableObjectReceiveStream
from anyio.abc import ByteStream as AnyByteStream

from chanlink.arguments import expect
from chanlink.bytes_like import as_bytes
from chanlink.channels.bytestream import ByteStream
from chanlink.channels.memory import ByteQueue
from chanlink.channels.values import End
from chanlink.channels.waiting import Loop
from chanlink.errors import ChanlinkError, ChannelError, ChannelMoved, EncodeError, EndOfChannel
from chanlink.printing import printable_logger
from chanlink.tasks import tasks_beside

PUMPED_BYTES = 64 * 1024
"""What is read at a time, of an object or of the far side."""

logger = printable_logger("chanlink")


def wrap(source: object, size: int | None = None) -> "ForeignStream":
    """Make a byte stream of a binary file, a socket, a stream of anyio or an async iterable of bytes.

    Sent in a message over a session it is as good as the object itself, which may stand there as well: the session
    copies, and closes the object when both directions are over. Everywhere else ``async with wrap(file) as stream:``
    is needed, whose block copies: to read and write the object through ``stream``, to send that in memory, to give it
    to a call. Leaving the block waits until whoever has the stream is done with it; by an exception, it is cut short.
    In both cases the object is given away, and closed in the end.

    `size` is how many bytes come out of the object, exactly: `ByteStream.size` of whoever gets the stream. Another
    number fails on both sides with code ``wrong-size``.

    Raises `TypeError` for anything else, a text file or a `ByteStream`, and `ValueError` for a size below 0.
    """
    expect("size", size, int, NoneType)
    if size is not None and size < 0:
        raise ValueError("size must be None or at least 0")
    try:
        stream = None if isinstance(source, End) else replaced(source, size)
    except EncodeError as exc:
        raise TypeError(f"source: {exc.problem}") from None
    if stream is None:
        raise TypeError(f"source must be a binary file, socket or stream of bytes, not {type(source).__name__}")
    return stream


def replaced(source: object, size: int | None = None) -> "ForeignStream | None":
    """An end that stands for `source`, or None if it is no stream. Raises `EncodeError` for a text file."""
    file = source.wrapped if isinstance(source, anyio.AsyncFile) else source
    if isinstance(file, io.TextIOBase):
        raise EncodeError("a text file can't be sent; open it in binary mode")
    if not isinstance(file, _STREAMS) and not _is_iterable(file):
        return None
    loop = Loop()
    there, back = ByteQueue(loop), ByteQueue(loop, size)
    assert back.receiver is not None
    end = ForeignStream(there.sender, back.receiver)
    end.source, end.there, end.back = file, there, back
    return end


class ForeignStream(ByteStream):
    """The end that stands for a foreign object: in a message, or in the block that copies."""

    source: Any
    there: ByteQueue
    back: ByteQueue
    _block: AbstractAsyncContextManager[TaskGroup] | None = None

    def inner(self) -> ByteStream:
        """The end of the pipe that stays."""
        assert self.there.receiver is not None
        return ByteStream(self.back.sender, self.there.receiver)

    def pump_for(self) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """What copies, for the session by which this end has left; None if its block does."""
        return partial(pump, self.source, self.inner()) if self._block is None else None

    async def __aenter__(self) -> Self:
        self._check_open()
        if self._block is not None:
            raise RuntimeError("this stream has its block already")
        self._block = tasks_beside()
        self._tasks = await self._block.__aenter__()
        self._tasks.start_soon(pump, self.source, self.inner())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._block is not None
        if exc_type is not None:
            self._tasks.cancel_scope.cancel()
        await super().__aexit__(exc_type, exc, tb)
        await self._block.__aexit__(exc_type, exc, tb)

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        self._check_block()
        return await super().receive(max_bytes)

    async def send(self, item: bytes) -> None:
        self._check_block()
        await super().send(item)

    async def wait_closed(self) -> ChannelError:
        self._check_block()
        return await super().wait_closed()

    def _check_block(self) -> None:
        if self._block is None:
            raise RuntimeError(_NO_BLOCK)

    def _check_movable(self, receiver: object, path: str) -> None:
        super()._check_movable(receiver, path)
        if self._block is None:
            raise EncodeError(_NO_BLOCK, path)

    def _moved(self) -> ByteStream:  # type: ignore[override]
        """Whoever gets it in this process has an ordinary end."""
        self._make_void(ChannelMoved)
        return ByteStream(*self._cores())

    def __del__(self) -> None:
        """Not sent after all: the object is still the caller's."""


_NO_BLOCK = "nobody copies here: `async with wrap(...) as stream` does"
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
