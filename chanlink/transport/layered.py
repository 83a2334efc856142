"""A transport over another one, where bytes have another form: as records of TLS, as messages of WebSocket.

Who derives says what the form is, and does no I/O: `LayeredTransport` sends and receives, without waiting where the
transport below can, and keeps what that could not take.
"""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import anyio
from anyio.lowlevel import RunVar, checkpoint

from .base import BROKEN, Transport

PIECE = 128 * 1024
"""Bytes of the caller that are encoded at a time: no more than the system takes, mostly."""
RECEIVE = 128 * 1024
"""Bytes that are asked of the transport below at a time."""
MOST_ANSWERS = 64 * 1024
"""Bytes that may wait for a peer which asks for answers, and reads none."""

_SCRATCH: RunVar[memoryview] = RunVar("chanlink.transport.scratch")


def _scratch() -> memoryview:
    """A buffer that all layers of an event loop use in turn: what is in it is used before anybody waits."""
    try:
        return _SCRATCH.get()
    except LookupError:
        _SCRATCH.set(made := memoryview(bytearray(RECEIVE)))
        return made


class _MoreIsHere(Exception):
    """What was received is not read yet, and nothing below says so again."""


class LayeredTransport(Transport):
    """Bytes in another form over a transport, which it owns.

    What `send_now` could not pass on whole, it says it has not taken, though it may be encoded already: the next call
    brings it again, as it does for sockets, and nothing is encoded twice.
    """

    piece = PIECE

    def __init__(self, below: Transport) -> None:
        self._below = below
        self.waits_writable = below.waits_writable
        self._unsent: bytes | memoryview = b""
        """Encoded, and not taken below."""
        self._owed = 0
        """Bytes that are encoded, of those that the caller will bring again."""
        self._answers = 0
        """Bytes among those unsent that nobody here has asked for, at most."""
        self._lent = False
        """Whether a `send` of the transport below is under way, which nothing may overtake."""
        self._has_ended_half = False
        self._problem: Exception | None = None
        """Why nothing can be sent or received any more."""
        self._ahead = b""
        """Taken to look at it."""
        self._needs_more = False
        """Whether there is nothing to read before more has come from below."""
        self._ended = False

    # --- the form, for who derives ---

    @abstractmethod
    def _encode(self, piece: bytes | memoryview) -> bytes:
        """These bytes as they are sent."""

    @abstractmethod
    def _feed(self, data: memoryview) -> None:
        """What has come from below, to be used before this returns; nothing, when that has ended."""

    @abstractmethod
    def _take(self, buffer: memoryview) -> int | None:
        """Write what has come into a buffer that has room: how many bytes, 0 at the end, None when there is nothing.

        What it has to tell the peer it gives to `_answer`. Raises `anyio.BrokenResourceError`, also when the transport
        below has ended and the peer has not said that this is the end.
        """

    @abstractmethod
    def _farewell(self) -> bytes:
        """What says that nothing follows, as it is sent."""

    def _answer(self, data: bytes) -> None:
        """Send what nobody here has asked for: now, or with what is sent next. Raises `anyio.BrokenResourceError`."""
        self._answers += len(data)
        self._add(data)
        if not self._push() and self._answers > MOST_ANSWERS:
            raise anyio.BrokenResourceError("the peer asks for answers, and reads none")

    # --- out ---

    def send_now(self, data: bytes | memoryview) -> int:
        self._check_send()
        if self._lent or not self._push():
            return 0
        taken = min(self._owed, len(data))
        self._owed -= taken
        while taken < len(data):
            piece = data[taken : taken + self.piece]
            self._add(self._encode(piece))
            if not self._push():
                self._owed = len(piece)
                break
            taken += len(piece)
        return taken

    async def send(self, item: bytes) -> None:
        await checkpoint()
        left = memoryview(item).cast("B")
        while left:
            left = left[self.send_now(left) :]
            if left:
                await self._push_all()

    async def wait_writable(self) -> None:
        self._check_send()
        await self._below.wait_writable()

    async def send_eof(self) -> None:
        """Say that nothing follows; what the peer still sends can be received."""
        self._check_open()
        await checkpoint()
        self._end_half()
        await self._push_all()

    def _end_half(self) -> None:
        if not self._has_ended_half:
            self._has_ended_half = True
            self._add(self._farewell())

    def _add(self, data: bytes) -> None:
        self._unsent = bytes(self._unsent) + data if self._unsent else data

    def _push(self) -> bool:
        """Pass on what needs no waiting: whether that is all."""
        if self._unsent and not self._lent:
            sent = self._below.send_now(self._unsent)
            self._unsent = memoryview(self._unsent)[sent:]
            if sent:
                self.sent_at = self._below.sent_at
        if self._unsent:
            return False
        self._answers = 0
        return True

    async def _push_all(self) -> None:
        while not self._push():
            self._check_open()
            if self._below.waits_writable:
                await self._below.wait_writable()
            else:
                await self._lend()

    async def _lend(self) -> None:
        """Pass all on by waiting; where that is cancelled, nobody knows how much has left, and this was the last."""
        data, self._unsent, self._lent = bytes(self._unsent), b"", True
        try:
            await self._below.send(data)
        except BaseException:
            self._fail(anyio.BrokenResourceError())
            raise
        finally:
            self._lent = False
        self.sent_at = self._below.sent_at

    # --- in ---

    async def wait_readable(self) -> None:
        self._check_open()
        if self._needs_more:
            await self._below.wait_readable()
        else:
            await checkpoint()

    async def readable(self) -> bool:
        if not self._ahead:
            self._ahead = await self._receive(1)
        return bool(self._ahead)

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await checkpoint()
        data = await self._receive(max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data

    async def _receive(self, max_bytes: int) -> bytes:
        buffer = memoryview(bytearray(min(max_bytes, RECEIVE)))
        while (size := self.receive_now(buffer)) is None:
            await self.wait_readable()
        return bytes(buffer[:size])

    def receive_now(self, buffer: memoryview) -> int | None:
        self._check_open()
        size = min(len(self._ahead), len(buffer))
        if size:
            buffer[:size], self._ahead = self._ahead[:size], self._ahead[size:]
        if self._needs_more and size < len(buffer) and not self._fetch():
            return size or None
        while size < len(buffer) and not self._ended:
            try:
                taken = self._take(buffer[size:])
            except BROKEN as exc:
                self._fail(exc)
                if not size:
                    raise
                break  # the next call says so
            self._needs_more, self._ended = taken is None, taken == 0
            if not taken:
                break
            size += taken
        return size or (0 if self._ended else None)

    def _fetch(self) -> bool:
        """Get what has come below: whether that is anything."""
        scratch = _scratch()
        size = self._below.receive_now(scratch)
        if size is None:
            return False
        self._feed(scratch[:size])
        return True

    async def each_time_readable(self, look: Callable[[], None]) -> NoReturn:
        def look_once() -> None:
            look()
            if not self._needs_more:
                raise _MoreIsHere

        while True:
            await self.wait_readable()
            look()
            if self._needs_more:
                with suppress(_MoreIsHere):
                    await self._below.each_time_readable(look_once)

    # --- both ---

    def _check_send(self) -> None:
        self._check_open()
        if self._has_ended_half:
            raise anyio.ClosedResourceError

    def _check_open(self) -> None:
        if self._problem is not None:
            raise type(self._problem)(*self._problem.args)

    def _fail(self, problem: Exception) -> None:
        self._problem = self._problem or problem

    def close_now(self) -> bool:
        if not self._below.close_now():
            return False
        self._problem = anyio.ClosedResourceError()
        return True

    async def aclose(self) -> None:
        """Say goodbye, if there is room for that, and close the transport below."""
        if self._problem is None and not self._lent:
            with suppress(*BROKEN):
                self._end_half()
                self._push()
        self._problem = anyio.ClosedResourceError()
        await self._below.aclose()

    def peer_acknowledges(self, seconds: float) -> bool:
        return self._below.peer_acknowledges(seconds)

    def reset_when_closed(self) -> None:
        self._below.reset_when_closed()

    @property
    def extra_attributes(self) -> Any:
        return self._below.extra_attributes
