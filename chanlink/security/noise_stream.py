"""Records: what remains of a handshake is a `NoiseStream`, an encrypted byte stream (protocol section 3).

It *is* an `anyio.abc.ByteStream`, as anyio's `TLSStream` is, over any other one, and everything above it sees nothing
else. Its keys, and when they are renewed, are the business of `rekey.RecordKeys`. The reader never writes: what the
renewal of keys has to say waits for the next `send`, and `wake_writer` asks for one.
"""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from struct import Struct
from typing import Any, NoReturn

import anyio
import msgpack
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from chanlink import clock
from chanlink.bytes_like import as_bytes
from chanlink.errors import (
    MAX_CODE,
    ConnectionLost,
    HandshakeError,
    RemoteProtocolError,
    SessionClosed,
    SessionError,
    UntrustedPeer,
)
from chanlink.forks import forget_in_child
from chanlink.limits import MAX_RECORD, Bucket
from chanlink.printing import printable, printable_logger
from chanlink.security.keys.certificate import which_clock
from chanlink.security.keys.openssh import PublicKey
from chanlink.transport.base import BROKEN, as_transport

from .buffers import Buffers
from .payloads import CLOSED, WELCOMED, Table, read
from .rekey import FORGOTTEN, FORKED, REKEY, RecordKeys, Secrets
from .stream import Part, SecureStream

logger = printable_logger(__name__)

DATA, CLOSE, WELCOME = 0, 1, 3
"""Kinds of records, beside REKEY."""
LENGTH = Struct(">H")
_NO_WELCOME = "the server's welcome did not come"
_EMPTY, _EMPTY_A_SECOND = 200, 20
"""Data records with nothing in them, at once and a second: no honest peer has any, and they cost as much as others."""


def prefixed(data: bytes) -> bytes:
    return LENGTH.pack(len(data)) + data


class NoiseStream(SecureStream):
    """An encrypted and authenticated byte stream over another one.

    `receive` returns the body of one record, at most 65,518 bytes. It raises `anyio.EndOfStream` only after the
    peer's close record (what that said is in `peer_close`), `ConnectionLost` at any other end, and
    `RemoteProtocolError` for a record that is not the peer's next one; nothing after it is delivered. On a client that
    did not wait for the welcome, whatever comes in its place is a `HandshakeError`.
    """

    def __init__(self, transport: ByteStream, keys: RecordKeys, secrets: Secrets, buffers: Buffers) -> None:
        self._transport = as_transport(transport)
        self._keys = keys
        self.secrets = secrets.without_keys()
        """Of epoch 0, to derive others from."""
        self._buffers = buffers
        self._max_body = keys.suite.max_body
        self._left = b""  # the part of a record
        self._bodies: deque[bytes] = deque()  # of data records, not received yet
        self._identity: PublicKey | None = None  # the welcome must confirm it
        self._over: anyio.EndOfStream | SessionError | None = None
        self._empty = Bucket(_EMPTY, _EMPTY_A_SECOND)
        self._in_send = False
        self._unsent = b""  # of records, after `send_now`
        self._unsealed: deque[Part] = deque()  # behind them; empty between two turns
        self._closed = False
        self.wake_writer = lambda: None
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: the session is the parent's, and every use of this one is a `ConnectionLost`."""
        self._keys.forget()
        self.secrets = FORGOTTEN
        self._unsent = b""
        self._unsealed.clear()

    # --- out ---

    async def send(self, item: bytes | bytearray) -> None:
        """Send bytes in as few records as possible.  Raises `ConnectionLost`; a cancelled `send` was the last.

        What the renewal of keys has to say goes first; `send` of nothing sends just that.
        """
        data = as_bytes(item)
        await self.send_parts([data] if data else [])

    async def send_parts(self, parts: Iterable[Part]) -> None:
        """As `send`, of bytes in parts, none of them empty: they are copied into records from where they are."""
        self._check_send()
        self._in_send = True
        if self._unsent:
            await self._transmit(self._unsent)
            self._unsent = b""
        self._unsealed.extend(parts)
        while True:
            await self._transmit(self._seal_some())
            if not self._unsealed:
                break
            await checkpoint()
        self._in_send = False

    @property
    def can_send_now(self) -> bool:
        return not (self._in_send or self._closed or self._unsent)

    def send_now(self, parts: Iterable[Part]) -> bool:
        self._keys.check()
        self._unsealed.extend(parts)
        while True:
            sealed = self._seal_some()
            try:
                sent = self._transport.send_now(sealed) if sealed else 0
            except BROKEN as exc:
                raise ConnectionLost("the connection broke") from exc
            if sent < len(sealed):
                self._unsent = bytes(sealed[sent:])
                return False
            if not self._unsealed:
                return True

    @property
    def sent_at(self) -> float:
        return self._transport.sent_at

    def has_output(self) -> bool:
        """Whether there is something to say beside data, to renew keys, or a rest: `send`, if only nothing."""
        return bool(self._unsent) or self._keys.has_record(clock.now())

    async def send_record(self, kind: int, body: bytes) -> None:
        """Send one record."""
        self._check_send()
        if self._unsent:
            await self.send(b"")
        end = self._seal(self._seal_rekey(), kind, [body])
        self._in_send = True
        await self._transmit(self._buffers.sealed[:end])
        self._in_send = False

    def _check_send(self) -> None:
        if self._in_send or self._closed:
            # A send that was cancelled half-way has left a part of a record: nothing can follow it.
            raise ConnectionLost("the connection was closed on this side")
        self._keys.check()

    def _seal_some(self) -> memoryview:
        """As many records as there is room for, with a rekey record first if there is one."""
        buffer = self._buffers.sealed
        end = self._seal_rekey()
        while self._unsealed and end + LENGTH.size + MAX_RECORD <= len(buffer):
            end = self._seal(end, DATA, self._next_body())
        return buffer[:end]

    def _next_body(self) -> list[Part]:
        """The parts of the next record, as much as it has room for."""
        body: list[Part] = []
        room, unsealed = self._max_body, self._unsealed
        while unsealed and room:
            part = unsealed.popleft()
            if len(part) > room:
                view = memoryview(part)
                part = view[:room]
                unsealed.appendleft(view[room:])
            body.append(part)
            room -= len(part)
        return body

    def _seal_rekey(self) -> int:
        """Put what the renewal of keys has to say into the buffer; returns where that ends."""
        now = clock.now()
        if not self._keys.has_record(now):
            return 0
        logger.debug("keys: sends a rekey record in epoch %d", self._keys.epoch)
        return self._prefix(0, self._keys.next_record(now, self._buffers.sealed[LENGTH.size :]))

    def _seal(self, at: int, kind: int, body: Iterable[Part]) -> int:
        """Put a record into the buffer; returns where it ends."""
        return self._prefix(at, self._keys.seal(kind, body, self._buffers.sealed[at + LENGTH.size :]))

    def _prefix(self, at: int, length: int) -> int:
        LENGTH.pack_into(self._buffers.sealed, at, length)
        return at + LENGTH.size + length

    async def _transmit(self, sealed: bytes | memoryview) -> None:
        """Send records.  The buffer that they are in is others' as soon as this task waits."""
        try:
            sent = self._transport.send_now(sealed) if sealed else 0
            if sent < len(sealed):
                await self._transport.send(bytes(sealed[sent:]))
        except BROKEN as exc:
            raise ConnectionLost("the connection broke") from exc

    async def send_close(self, code: str, text: str = "") -> None:
        """Send the close record and end this half of the connection."""
        await self.send_record(CLOSE, msgpack.packb({"code": code[:MAX_CODE], "text": text[:256]}))
        self._closed = True
        try:
            await self._transport.send_eof()
        except (*BROKEN, OSError, RuntimeError) as exc:  # uvloop's transports raise RuntimeError after a reset
            raise ConnectionLost("the connection broke") from exc

    async def send_eof(self) -> None:
        """The ordinary close of what this side sends."""
        if not self._closed:
            await self.send_close("")

    async def aclose(self) -> None:
        """Say goodbye if that was not done, and close the connection."""
        try:
            if not self._closed and not self._in_send:
                await checkpoint_if_cancelled()  # who is closed forcefully says nothing
                await self.send_close("")
        except ConnectionLost:
            pass  # nobody is there to hear it
        finally:
            await self._transport.aclose()

    # --- in ---

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        if max_bytes < 1:
            raise ValueError("max_bytes is at least 1")
        while not self._bodies:
            await self._receive_more()
        body = self._bodies.popleft()
        if len(body) > max_bytes:
            self._bodies.appendleft(body[max_bytes:])
            return body[:max_bytes]
        return body

    async def receive_all(self, take: Callable[[Iterable[bytes]], None]) -> NoReturn:
        while self._bodies:
            take([await self.receive()])

        def look() -> None:
            self._read()
            if self._bodies:
                bodies, self._bodies = self._bodies, deque()
                take(bodies)
            self._check_receive()

        self._check_receive()
        try:
            await self._transport.each_time_readable(look)
        except BROKEN as exc:  # it was closed
            raise self._broken() from exc

    async def _receive_more(self) -> None:
        """Wait for something, and open all records that are whole then."""
        self._check_receive()
        try:
            await self._transport.wait_readable()
        except BROKEN as exc:
            raise self._broken() from exc
        self._read()

    def _check_receive(self) -> None:
        if self._over is not None:
            raise type(self._over)(*self._over.args) from self._over.__cause__
        self._look_at_keys(clock.now())

    def _read(self) -> None:
        """Open all records that have arrived whole. What was not opened yet is in the buffer of all meanwhile."""
        arrived, begin = self._buffers.arrived, len(self._left)
        try:
            size = self._transport.receive_now(arrived[begin:])
        except BROKEN as exc:
            raise self._broken() from exc
        if size is None:
            return
        if size == 0:
            raise self._broken()
        arrived[:begin] = self._left
        with suppress(anyio.EndOfStream, SessionError):  # `_over` has it; what was before it is received first
            self._open_records(arrived[: begin + size])

    def _broken(self) -> SessionError:
        if self._keys.forgotten:
            return self._fail(ConnectionLost(FORKED))
        if self._identity is not None:
            text = f"{_NO_WELCOME}: it closed the connection when it had our certificate; {which_clock()}"
            return self._fail(HandshakeError(text, code="clock"))
        return self._fail(ConnectionLost("the connection ended without a farewell"))

    def _open_records(self, data: memoryview) -> None:
        at, size = 0, len(data)
        self._left = b""
        while size - at >= LENGTH.size:
            begin = at + LENGTH.size
            end = begin + LENGTH.unpack_from(data, at)[0]
            if end > size:
                break
            at = end
            try:
                plaintext = self._keys.open(data[begin:end])
            except RemoteProtocolError as exc:
                raise self._fail(exc) from None
            if not plaintext:
                raise self._fail(RemoteProtocolError("an empty record"))
            self._opened(plaintext[0], bytes(plaintext[1:]))
        self._left = bytes(data[at:])

    def _opened(self, kind: int, body: bytes) -> None:
        if self._identity is not None and kind != WELCOME:
            raise self._fail(RemoteProtocolError("no welcome"))
        if kind == DATA:  # the common case
            if body:
                self._bodies.append(body)
            elif not self._empty.take(clock.now()):
                raise self._fail(RemoteProtocolError("too many empty records"))
        elif kind == CLOSE:
            said = self._said(body, CLOSED)
            self.peer_close = _word(said["code"]), _word(said.get("text", ""))
            self._over = anyio.EndOfStream()
            raise self._over
        elif kind == REKEY:
            self._rekey(body)
        elif kind == WELCOME and self._identity is not None:
            self._welcomed(body)
        else:
            raise self._fail(RemoteProtocolError(f"a record of kind {kind}"))

    def _rekey(self, body: bytes) -> None:
        now = clock.now()
        try:
            self._keys.receive(body, now)
        except RemoteProtocolError as exc:
            raise self._fail(exc) from exc.__cause__
        self._look_at_keys(now)

    def _look_at_keys(self, now: float) -> None:
        """This side may have to answer or to begin, though it has nothing else to send."""
        try:
            self._keys.check()
        except ConnectionLost as exc:
            raise self._fail(exc) from None
        if self._keys.has_record(now) and not self._closed:
            self.wake_writer()

    def check_time(self, overdue: Callable[[float, float], bool]) -> None:
        """Raises `ConnectionLost` when the peer owes new keys for too long; ``overdue`` says whether that is its
        fault."""
        try:
            self._keys.check_time(overdue)
        except ConnectionLost as exc:
            raise self._fail(exc) from None

    def peer_acknowledges(self, seconds: float) -> bool:
        return self._transport.peer_acknowledges(seconds)

    def _fail(self, exc: SessionError) -> SessionError:
        """Every later `receive` raises the same."""
        if self._identity is not None and not isinstance(exc, HandshakeError):
            exc = HandshakeError(f"{_NO_WELCOME}: {exc}")
        self._over = exc
        return exc

    def _said(self, body: bytes, table: Table) -> dict[str, Any]:
        """The map in a record."""
        try:
            return read(body, table)
        except HandshakeError as exc:
            raise self._fail(RemoteProtocolError(f"a malformed record: {exc}")) from exc

    # --- the server's first record ---

    def expect_welcome(self, identity: PublicKey) -> None:
        """The first record must be the server's welcome of this identity."""
        self._identity = identity

    async def receive_welcome(self) -> None:
        """Wait for the welcome.  Raises `UntrustedPeer` or `SessionClosed` when it is a refusal."""
        while self._identity is not None:
            await self._receive_more()
        if isinstance(self._over, SessionError):
            self._check_receive()

    def _welcomed(self, body: bytes) -> None:
        said, identity = self._said(body, WELCOMED), self._identity
        assert identity is not None
        if said["you"] != identity.raw:
            raise self._fail(HandshakeError("the server takes this client for another one"))
        self._identity = None
        code = _word(said["code"])
        if code == "untrusted":
            advice = f"it has to add this line to its trust file: {identity}"
            raise self._fail(UntrustedPeer(identity.fingerprint, advice, remote=True))
        if code:
            raise self._fail(SessionClosed(code, _word(said.get("text", ""))))

    def export(self, label: str, length: int) -> bytes:
        return self.secrets.export(label, length)

    @property
    def suite(self) -> str:
        """The name of the record suite."""
        return self._keys.suite.name

    @property
    def volume(self) -> int:
        """Bytes of records of both directions until now."""
        return self._keys.volume

    @property
    def extra_attributes(self) -> Any:
        return self._transport.extra_attributes


def _word(word: str) -> str:
    """One of the peer's words, as it may stand in a log."""
    return printable(word[:256])[:256]
