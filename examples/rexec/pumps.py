"""Between file descriptors and byte streams, fast and without ever blocking the event loop.

`FileSource` and `FileSink` are files as anyio streams. They read and write first and wait only when told to: on a
busy pipe that saves a turn of the event loop for each piece, and files that are always ready (`epoll` refuses
regular files and ``/dev/null``) need no special case.

The descriptors are non-blocking, which for the pipes of our own processes is a flag. Our standard input and output are
another matter: the flag belongs to the open file, which we share with the shell and whoever else has it, and a
terminal that is left non-blocking breaks the programs after us. `open_standard_input` and `open_standard_output`
say what is done instead. Such a descriptor is waited for by way of a `Watch`, because an event loop may set that flag
on whatever it is given (libuv does).
"""

import fcntl
import io
import os
import selectors
import socket
import stat
from contextlib import suppress
from typing import Protocol

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream, ByteSendStream

import chanlink

PIECE = 4 * 65_493
"""What is read and written at a time: a turn of the session's writer, in frames that are a record each. A piece costs a
turn of the event loop, and often a switch to the command and back."""
PIPE_SIZE = 1024 * 1024
"""Bytes that a pipe holds while the event loop is busy, so that the command need not wait for its next turn."""


class ReadableFile(Protocol):
    """What a `FileSource` needs: an unbuffered file, or an `io.BytesIO`."""

    def fileno(self) -> int: ...
    def read(self, size: int, /) -> bytes | None:
        """None: nothing is there yet."""

    def close(self) -> None: ...


class WritableFile(Protocol):
    """What a `FileSink` needs."""

    def fileno(self) -> int: ...
    def write(self, data: memoryview, /) -> int | None:
        """None: there is no room now."""

    def close(self) -> None: ...


class FileSource(ByteReceiveStream):
    """Reads a non-blocking file."""

    def __init__(self, file: ReadableFile) -> None:
        self._file = file

    async def receive(self, max_bytes: int = PIECE) -> bytes:
        """At least one byte. Raises `anyio.EndOfStream` at the end of the file, or an `OSError`."""
        while (data := self._file.read(max_bytes)) is None:
            await self.wait()
        if not data:
            raise anyio.EndOfStream
        return data

    async def wait(self) -> None:
        """Return once there is something to read, or the end."""
        await anyio.wait_readable(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    async def aclose(self) -> None:
        self.close()


class FileSink(ByteSendStream):
    """Writes to a non-blocking file."""

    def __init__(self, file: WritableFile) -> None:
        self._file = file

    async def send(self, item: bytes) -> None:
        """Write it all. Raises `anyio.BrokenResourceError` when nobody reads any more, or an `OSError`."""
        rest = memoryview(item)
        try:
            while rest:
                written = await self.write(rest)
                if written is None:
                    await self.wait()
                else:
                    rest = rest[written:]
        except BrokenPipeError as exc:
            raise anyio.BrokenResourceError from exc

    async def write(self, data: memoryview) -> int | None:
        return self._file.write(data)

    async def wait(self) -> None:
        """Return once there is room, or nobody to read it."""
        await anyio.wait_writable(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    async def aclose(self) -> None:
        self.close()


def enlarge(file: io.FileIO) -> None:
    """Let a pipe hold more, where that can be done (Linux) and as far as the user's share of memory for pipes goes."""
    with suppress(AttributeError, OSError):
        fcntl.fcntl(file, fcntl.F_SETPIPE_SZ, PIPE_SIZE)


# --- copying ------------------------------------------------------------------------------------


async def copy_in(source: ByteReceiveStream, stream: chanlink.ByteStream) -> chanlink.ChannelBroken | None:
    """Copy to a byte stream until the source ends, or until the other side reads no more: the reason is returned then.

    An error of the source is told to the other side, lest it take a part of the data for the whole, and raised.
    """
    while True:
        try:
            data = await source.receive()
        except anyio.EndOfStream:
            break
        except (OSError, anyio.BrokenResourceError) as exc:
            stream.fail("read-failed", type(exc).__name__)
            raise
        try:
            await stream.send(data)
        except chanlink.ChannelBroken as exc:
            return exc
    await stream.send_eof()
    return None


async def copy_out(stream: chanlink.ByteStream, sink: ByteSendStream) -> None:
    """Copy from a byte stream until it ends, or until nobody reads the sink; the other side is told then.

    Raises `chanlink.ChannelBroken` when the stream breaks: what was copied is not all. An error of the sink is told
    to the other side and raised.
    """
    while True:
        try:
            data = await stream.receive(PIECE)
        except chanlink.EndOfChannel:
            return
        try:
            await sink.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            stream.refuse("closed", "nobody reads this any more")
            return
        except OSError as exc:
            stream.refuse("write-failed", type(exc).__name__)
            raise


# --- our own standard input and output ----------------------------------------------------------


def open_standard_input(descriptor: int = 0) -> FileSource:
    """Standard input as a stream, without changing it for those that share it."""
    own = _own_file(descriptor, os.O_RDONLY)
    if own is None:
        return _SharedSource(descriptor)
    return _Terminal(own) if own.isatty() else FileSource(own)


def open_standard_output(descriptor: int) -> FileSink:
    """Standard output (1) or error (2) as a stream, without changing it for those that share it."""
    own = _own_file(descriptor, os.O_WRONLY)
    return FileSink(own) if own is not None else _SharedSink(descriptor)


def _own_file(descriptor: int, access: int) -> io.FileIO | None:
    """An open file of our own for the same pipe or terminal, if the system gives us one."""
    mode = os.fstat(descriptor).st_mode
    # Not regular files: the position in them, and whether to append, belong to the shared open file.
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        return None
    try:
        own = os.open(f"/proc/self/fd/{descriptor}", access | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # there is no /proc (macOS), or it belongs to another user (sudo)
        return None
    file = io.FileIO(own, _mode(access))
    enlarge(file)
    return file


def _mode(access: int) -> str:
    return "r" if access == os.O_RDONLY else "w"


class _Terminal(FileSource):
    """Waits before it reads: reading from the background would stop us even if nothing was typed."""

    async def receive(self, max_bytes: int = PIECE) -> bytes:
        await self.wait()
        return await super().receive(max_bytes)


class Watch:
    """Waits for a descriptor that others have as well: the event loop gets a selector, which gets the descriptor."""

    def __init__(self, descriptor: int, events: int) -> None:
        self._selector = selectors.DefaultSelector()
        try:
            self._selector.register(descriptor, events)
            self._always = False
        except PermissionError:  # epoll refuses what is always ready
            self._always = True

    async def ready(self) -> None:
        """Return once it can be read or written."""
        if not self._always:
            await anyio.wait_readable(self._selector.fileno())

    def close(self) -> None:
        self._selector.close()


class _Socket:
    """A socket that others have, too, as a file that does not block: each call asks it not to wait."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self.fileno, self.close = self._socket.fileno, self._socket.close

    def read(self, size: int) -> bytes | None:
        try:
            return self._socket.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def write(self, data: memoryview) -> int | None:
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None


def _shared_file(descriptor: int, access: int) -> tuple[_Socket | io.FileIO, bool]:
    """A file that others have open, too, and whether to use it can block."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        return _Socket(descriptor), False
    file = io.FileIO(descriptor, _mode(access), closefd=False)
    return file, os.get_blocking(descriptor) and not stat.S_ISREG(mode)


class _SharedSource(FileSource):
    """Reads a file that others have open, too: if it can block, only once something is there."""

    def __init__(self, descriptor: int) -> None:
        file, self._can_block = _shared_file(descriptor, os.O_RDONLY)
        super().__init__(file)
        self._watch = Watch(file.fileno(), selectors.EVENT_READ)

    async def receive(self, max_bytes: int = PIECE) -> bytes:
        if self._can_block:
            await self.wait()
        return await super().receive(max_bytes)

    async def wait(self) -> None:
        await self._watch.ready()

    def close(self) -> None:
        self._watch.close()
        super().close()


class _SharedSink(FileSink):
    """Writes to a file that others have open, too.

    If it can block, in a worker thread: being writable promises room for 4 KiB at most.
    """

    def __init__(self, descriptor: int) -> None:
        file, self._can_block = _shared_file(descriptor, os.O_WRONLY)
        super().__init__(file)
        self._watch = Watch(file.fileno(), selectors.EVENT_WRITE)

    async def write(self, data: memoryview) -> int | None:
        if self._can_block:
            return await anyio.to_thread.run_sync(self._file.write, data, abandon_on_cancel=True)
        return await super().write(data)

    async def wait(self) -> None:
        await self._watch.ready()

    def close(self) -> None:
        self._watch.close()
        super().close()
