"""Standard input and output for an event loop, without changing them for those that share them.

A descriptor is non-blocking by a flag of the open file, which we share with the shell and whoever else has it, and a
terminal that is left non-blocking breaks the programs after us. So pipes and terminals are opened once more, sockets
are asked not to wait in each call, and what remains is written in worker threads. A shared descriptor is waited for by
way of a `Watch`, because an event loop may set that flag on whatever it is given (libuv does). Reading and writing are
tried first, and waited for only when that fails: on a busy pipe this saves a turn of the event loop for each piece.
rexec, which uses public names only, has its own way to do this, for three streams and terminals (its pumps.py).
"""

import os
import selectors
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread

import chanlink

PIECE = 64 * 1024
"""Bytes to read at a time: about a DATA frame of the session."""


class Watch:
    """Waits for a descriptor that others have as well: the event loop sees a selector, the selector the descriptor."""

    def __init__(self, descriptor: int, events: int = selectors.EVENT_READ) -> None:
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


class Input:
    """Standard input."""

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor, self._read, self._waits = _opened(descriptor, os.O_RDONLY)
        self._watch = Watch(self._descriptor)

    async def receive(self) -> bytes:
        """At least one byte; none at the end. Raises `OSError`."""
        if self._waits:
            await self._watch.ready()
        while True:
            try:
                data: bytes = self._read(PIECE)
                return data
            except BlockingIOError:
                await self._watch.ready()


class Output:
    """Standard output."""

    def __init__(self, descriptor: int = 1) -> None:
        self._standard = descriptor
        self._descriptor, self._write, self._waits = _opened(descriptor, os.O_WRONLY)
        self._watch = Watch(self._descriptor, selectors.EVENT_WRITE)
        is_socket = stat.S_ISSOCK(os.fstat(descriptor).st_mode)
        self._socket = socket.socket(fileno=os.dup(descriptor)) if is_socket else None

    async def send(self, data: bytes) -> None:
        """Write it all. Raises `BrokenPipeError` when nobody reads it any more, or another `OSError`."""
        rest = memoryview(data)
        while rest:
            try:
                if self._waits:  # being writable promises room for 4 KiB at most
                    written = await anyio.to_thread.run_sync(self._write, rest, abandon_on_cancel=True)
                else:
                    written = self._write(rest)
            except BlockingIOError:
                await self._watch.ready()
            else:
                rest = rest[written:]

    def end(self) -> None:
        """Nothing more comes: the reader sees the end, though this process goes on. Raises `OSError`."""
        if self._socket is not None:
            with suppress(OSError):  # the other side has gone
                self._socket.shutdown(socket.SHUT_WR)
            return
        null = os.open(os.devnull, os.O_WRONLY)
        for descriptor in {self._descriptor, self._standard}:
            os.dup2(null, descriptor)
        os.close(null)


def _opened(descriptor: int, access: int) -> tuple[int, Callable[[Any], Any], bool]:
    """The descriptor to wait for, what reads or writes, and whether to wait first."""
    mode = os.fstat(descriptor).st_mode
    call: Callable[..., Any]
    reading = access == os.O_RDONLY
    if stat.S_ISSOCK(mode):
        sock = socket.socket(fileno=os.dup(descriptor))
        call = sock.recv if reading else sock.send
        return sock.fileno(), lambda argument: call(argument, socket.MSG_DONTWAIT), False
    call = os.read if reading else os.write
    # Not regular files: the position in them, and whether to append, belong to the shared open file.
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        with suppress(OSError):  # there is no /proc (macOS), or it belongs to another user (sudo)
            own = os.open(f"/proc/self/fd/{descriptor}", access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            # To read a terminal from the background, though nothing was typed, would stop us.
            return own, lambda argument: call(own, argument), reading and os.isatty(own)
    return descriptor, lambda argument: call(descriptor, argument), not stat.S_ISREG(mode)


# --- copying ------------------------------------------------------------------------------------


async def exchange(stream: chanlink.ByteStream, source: Input, sink: Output) -> None:
    """Standard input goes to the stream, and what it brings to standard output, until both are over.

    Each direction ends alone. Reading stops when the other side wants no more. Raises `chanlink.ChannelBroken` when
    what came or went is not all, and `OSError` for the standard streams; the other side is told.
    """
    problems: list[Exception] = []

    async def run(direction: Callable[..., object], *args: object) -> None:
        try:
            await direction(*args)  # type: ignore[misc]
        except Exception as exc:
            problems.append(exc)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, _copy_out, stream, sink)
        await run(_copy_in, source, stream)
    if problems:
        raise problems[0]


async def _copy_in(source: Input, stream: chanlink.ByteStream) -> None:
    """Until the input ends, or until the other side reads no more."""
    refusal: list[chanlink.ChannelError] = []

    async def watch() -> None:
        refusal.append(await stream.wait_closed())
        reading.cancel_scope.cancel()

    async with anyio.create_task_group() as reading:
        reading.start_soon(watch)
        try:
            while data := await _receive(source, stream):
                await stream.send(data)
            await stream.send_eof()
        except chanlink.ChannelBroken as exc:
            refusal.append(exc)
        reading.cancel_scope.cancel()
    for reason in refusal:
        if not (isinstance(reason, chanlink.ChannelRefused) and reason.code in ("closed", "done")):
            raise reason


async def _receive(source: Input, stream: chanlink.ByteStream) -> bytes:
    try:
        return await source.receive()
    except OSError as exc:
        stream.fail("read-failed", type(exc).__name__)  # half of the data is not all of it
        raise


async def _copy_out(stream: chanlink.ByteStream, sink: Output) -> None:
    while True:
        try:
            data = await stream.receive()
        except chanlink.EndOfChannel:
            sink.end()
            return
        try:
            await sink.send(data)
        except OSError as exc:
            code = "closed" if isinstance(exc, BrokenPipeError) else "write-failed"
            stream.refuse(code, type(exc).__name__)
            raise
