"""Foreign streams in messages: files, sockets, pipes of processes, anyio's streams.

Such an object is replaced by one end of a byte pipe; the other end stays, and a task copies between it and the
object. It is started when the message was accepted, and belongs to the session. The object moves: it is closed
when both directions are over.
"""

import io
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import IO, Any, cast

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketStream
from anyio.abc import ByteStream as AnyByteStream

from .bytestream import ByteStream, byte_pipe
from .errors import ChanlinkError, EncodeError

PIECE = 64 * 1024

logger = logging.getLogger("chanlink")


class ForeignStream(ByteStream):
    """The end that stands for a foreign object in a message."""

    source: Any
    inner: ByteStream


def wrap(source: object) -> ForeignStream | None:
    """An end that stands for `source`, or None if it is no stream.  Raises `EncodeError` for a text file."""
    if isinstance(source, io.TextIOBase) or isinstance(getattr(source, "wrapped", None), io.TextIOBase):
        raise EncodeError("a text file can't be sent; open it in binary mode")
    kinds = (ByteReceiveStream, ByteSendStream, anyio.AsyncFile, io.RawIOBase, io.BufferedIOBase, socket.socket)
    if not isinstance(source, kinds):
        return None
    inner, outer = byte_pipe()
    end = ForeignStream(outer.send_core, outer.receive_core)
    end.source, end.inner = source, inner
    return end


async def pump(source: Any, inner: ByteStream) -> None:
    """Copy between a foreign object and the end of the pipe that stayed, until both directions are over."""
    try:
        source = await _opened(source)
    except Exception as exc:
        _broken(inner, "read", exc)
        inner.close()
        return
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_copy_in, _reader(source), inner)
            await _copy_out(source, inner)
    finally:
        inner.close()
        with anyio.move_on_after(1, shield=True):
            await _close(source)


async def _close(source: Any) -> None:
    try:
        await source.aclose()
    except Exception as exc:  # whatever it raises, it is over
        logger.info("closing a foreign stream: %s: %s", type(exc).__name__, exc)


def _broken(inner: ByteStream, what: str, exc: Exception) -> None:
    """A foreign stream may raise what it likes: the far side learns that it broke, our log learns why."""
    logger.info("a foreign stream broke at a %s: %s: %s", what, type(exc).__name__, exc)
    if what == "read":
        inner.fail("read-failed", type(exc).__name__)
    else:
        inner.refuse("write-failed", type(exc).__name__)


async def _opened(source: Any) -> Any:
    if isinstance(source, socket.socket):
        source.setblocking(False)
        return await SocketStream.from_socket(source)
    if isinstance(source, io.RawIOBase | io.BufferedIOBase):
        return anyio.wrap_file(cast(IO[bytes], source))
    return source


Read = Callable[[int], Awaitable[bytes]]


def _reader(source: Any) -> Read | None:
    if isinstance(source, anyio.AsyncFile):
        if not source.wrapped.readable():
            return None
        # read1 returns what there is; a pipe would keep `read` waiting for all that was asked for.
        return source.read1 if hasattr(source.wrapped, "read1") else source.read
    return source.receive if isinstance(source, ByteReceiveStream) else None


async def _copy_in(read: Read | None, inner: ByteStream) -> None:
    """From the object to the far side, until that reads no more."""
    if read is None:
        await inner.send_eof()
        return
    async with anyio.create_task_group() as tasks:

        async def stop_when_refused() -> None:
            await inner.wait_closed()
            tasks.cancel_scope.cancel()

        tasks.start_soon(stop_when_refused)
        await _read_to_end(read, inner)
        tasks.cancel_scope.cancel()


async def _read_to_end(read: Read, inner: ByteStream) -> None:
    try:
        while data := await _piece(read):
            await inner.send(data)
    except ChanlinkError:
        pass  # the far side reads no more; that the object is not read to its end is its wish
    except Exception as exc:
        _broken(inner, "read", exc)
    else:
        await inner.send_eof()


async def _piece(read: Read) -> bytes:
    try:
        return await read(PIECE)
    except anyio.EndOfStream:
        return b""


async def _copy_out(source: Any, inner: ByteStream) -> None:
    """From the far side to the object."""
    is_file = isinstance(source, anyio.AsyncFile)
    if not (source.wrapped.writable() if is_file else isinstance(source, ByteSendStream)):
        inner.refuse("closed", "it can only be read")
        return
    write = source.write if is_file else source.send
    try:
        while data := await _piece(inner.receive):
            await write(data)
        await _say_end(source, is_file)
    except ChanlinkError:
        pass  # a truncated stream is no end: the object is closed without one
    except Exception as exc:
        _broken(inner, "write", exc)


async def _say_end(source: Any, is_file: bool) -> None:
    """Let who reads the object see the end."""
    if is_file:
        await source.flush()
    elif isinstance(source, AnyByteStream):
        await source.send_eof()
    else:
        await _close(source)
