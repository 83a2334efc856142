"""Records: what remains of a handshake is a `NoiseStream`, an encrypted byte stream (protocol section 3).

It *is* an `anyio.abc.ByteStream`, as anyio's `TLSStream` is, over any other one, and everything above it sees nothing
else. Its keys, and when they are renewed, are the business of `rekey.RecordKeys`. The reader never writes: what the
renewal of keys has to say waits for the next `send`, and `wake_writer` asks for one.
"""

import logging
import time
from collections.abc import Callable
from struct import Struct
from typing import Any

import anyio
import msgpack
from anyio.abc import ByteStream

from .errors import (
    ConnectionLost,
    HandshakeError,
    RemoteProtocolError,
    SessionClosed,
    SessionError,
    UntrustedPeer,
)
from .limits import Bucket
from .openssh import PublicKey
from .rekey import REKEY, RecordKeys, Secrets

logger = logging.getLogger(__name__)

DATA, CLOSE, WELCOME = 0, 1, 3
"""Kinds of records, beside REKEY."""
LENGTH = Struct(">H")
RECEIVE = 256 * 1024
"""Bytes asked of the transport at a time: several records for one system call."""
BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError)
_EMPTY, _EMPTY_A_SECOND = 200, 20
"""Data records with nothing in them, at once and a second: no honest peer has any, and they cost as much as others."""
_MAX_ITEMS = 256
"""Of a list or map in a payload: msgpack would make room for as many as a header claims."""


def unpack(data: bytes) -> dict[str, Any]:
    """The map in a payload.  Raises `HandshakeError`."""
    try:
        value = msgpack.unpackb(data, max_array_len=_MAX_ITEMS, max_map_len=_MAX_ITEMS)
    except Exception as exc:  # msgpack raises half a dozen kinds
        raise HandshakeError("a malformed payload") from exc
    if not isinstance(value, dict):
        raise HandshakeError("a malformed payload")
    return value


def prefixed(data: bytes) -> bytes:
    return LENGTH.pack(len(data)) + data


class NoiseStream(ByteStream):
    """An encrypted and authenticated byte stream over another one.

    `receive` returns the body of one record, at most 65,518 bytes. It raises `anyio.EndOfStream` only after the
    peer's close record (what that said is in `peer_close`), `ConnectionLost` at any other end, and
    `RemoteProtocolError` for a record that is not the peer's next one; nothing after it is delivered. On a client that
    did not wait for the welcome, whatever comes in its place is a `HandshakeError`.
    """

    peer_close: tuple[str, str] = ("", "")
    """Code and text of the peer's close record."""

    def __init__(self, transport: ByteStream, keys: RecordKeys, secrets: Secrets) -> None:
        self._transport = transport
        self._keys = keys
        self.secrets = secrets.without_keys()
        """Of epoch 0, to derive others from."""
        self._max_body = keys.suite.max_body
        self._data = b""
        self._offset = 0
        self._rest = b""  # of a record of which the caller wanted less
        self._identity: PublicKey | None = None  # the welcome must confirm it
        self._over: anyio.EndOfStream | SessionError | None = None
        self._empty = Bucket(_EMPTY, _EMPTY_A_SECOND)
        self._in_send = False
        self._closed = False
        self.wake_writer: Callable[[], None] = lambda: None
        """Called when a rekey record waits to be sent, also while nothing else does: `send` must be called then."""

    # --- out ---

    async def send(self, item: bytes) -> None:
        """Send bytes in as few records as possible.  Raises `ConnectionLost`; a cancelled `send` was the last.

        What the renewal of keys has to say goes first; `send` of nothing sends just that.
        """
        size = self._max_body
        await self._send_records([(DATA, item[at : at + size]) for at in range(0, len(item), size)])

    def has_output(self) -> bool:
        """Whether the renewal of keys has something to say: `send`, if only of nothing."""
        return self._keys.has_record(time.monotonic())

    async def send_record(self, kind: int, body: bytes) -> None:
        """Send one record of another kind than data."""
        await self._send_records([(kind, body)])

    async def _send_records(self, records: list[tuple[int, bytes]]) -> None:
        if self._in_send or self._closed:
            # A send that was cancelled half-way has left a part of a record: nothing can follow it.
            raise ConnectionLost("the connection was closed on this side")
        now = time.monotonic()
        self._keys.check(now)
        parts = []
        if self._keys.has_record(now):
            parts.append(prefixed(self._keys.next_record(now)))
            logger.debug("keys: sent a rekey record in epoch %d", self._keys.epoch)
        for kind, body in records:
            ciphertext = self._keys.seal(kind, body)
            parts += [LENGTH.pack(len(ciphertext)), ciphertext]
        if not parts:
            return
        self._in_send = True
        try:
            await self._transport.send(b"".join(parts))
        except BROKEN as exc:
            raise ConnectionLost("the connection broke") from exc
        self._in_send = False

    async def send_close(self, code: str, text: str = "") -> None:
        """Send the close record and end this half of the connection."""
        await self.send_record(CLOSE, msgpack.packb({"code": code[:64], "text": text[:256]}))
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
                await self.send_close("")
        except ConnectionLost:
            pass  # nobody is there to hear it
        finally:
            await self._transport.aclose()

    # --- in ---

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        if max_bytes < 1:
            raise ValueError("max_bytes is at least 1")
        data = self._rest or await self._receive_data()
        self._rest = data[max_bytes:]
        return data[:max_bytes] if self._rest else data

    async def _receive_data(self) -> bytes:
        while True:
            kind, body = await self._receive_record()
            if kind == DATA:  # the common case
                if body:
                    return body
                if not self._empty.take(time.monotonic()):
                    raise self._fail(RemoteProtocolError("too many empty records"))
            elif kind == CLOSE:
                said = self._said(body)
                self.peer_close = _word(said, "code"), _word(said, "text")
                self._over = anyio.EndOfStream()
                raise anyio.EndOfStream
            elif kind == REKEY:
                self._rekey(body)
            elif kind == WELCOME and self._identity is not None:
                self._welcomed(body)
            else:
                raise self._fail(RemoteProtocolError(f"a record of kind {kind}"))

    async def _receive_record(self) -> tuple[int, bytes]:
        if self._over is not None:
            raise type(self._over)(*self._over.args)
        while (record := self._cut()) is None:
            await self._receive_more()
        try:
            plaintext = self._keys.open(record)
        except RemoteProtocolError as exc:
            raise self._fail(exc) from None
        if not plaintext:
            raise self._fail(RemoteProtocolError("an empty record"))
        if self._identity is not None and plaintext[0] != WELCOME:
            raise self._fail(RemoteProtocolError("no welcome"))
        return plaintext[0], plaintext[1:]

    def _cut(self) -> bytes | None:
        begin = self._offset + LENGTH.size
        if len(self._data) < begin:
            return None
        end = begin + LENGTH.unpack_from(self._data, self._offset)[0]
        if len(self._data) < end:
            return None
        self._offset = end
        return self._data[begin:end]

    async def _receive_more(self) -> None:
        self._look_at_keys(time.monotonic())
        try:
            data = await self._transport.receive(RECEIVE)
        except (anyio.EndOfStream, *BROKEN) as exc:
            raise self._fail(ConnectionLost("the connection ended without a farewell")) from exc
        self._data = self._data[self._offset :] + data if self._offset < len(self._data) else data
        self._offset = 0

    def _rekey(self, body: bytes) -> None:
        now = time.monotonic()
        try:
            self._keys.receive(body, now)
        except RemoteProtocolError as exc:
            raise self._fail(exc) from exc.__cause__
        self._look_at_keys(now)

    def _look_at_keys(self, now: float) -> None:
        """This side may have to answer or to begin, though it has nothing else to send."""
        try:
            self._keys.check(now)
        except ConnectionLost as exc:
            raise self._fail(exc) from None
        if self._keys.has_record(now) and not self._closed:
            self.wake_writer()

    def _fail(self, exc: SessionError) -> SessionError:
        """Every later `receive` raises the same."""
        if self._identity is not None and not isinstance(exc, HandshakeError):
            exc = HandshakeError(f"the server's welcome did not come: {exc}")
        self._over = exc
        self._data, self._offset = b"", 0
        return exc

    def _said(self, body: bytes) -> dict[str, Any]:
        """The map in a record."""
        try:
            return unpack(body)
        except HandshakeError as exc:
            raise self._fail(RemoteProtocolError("a malformed record")) from exc

    # --- the server's first record ---

    def expect_welcome(self, identity: PublicKey) -> None:
        """The first record must be the server's welcome of this identity."""
        self._identity = identity

    async def receive_welcome(self) -> None:
        """Wait for the welcome.  Raises `UntrustedPeer` or `SessionClosed` when it is a refusal."""
        _, body = await self._receive_record()
        self._welcomed(body)

    def _welcomed(self, body: bytes) -> None:
        said, identity = self._said(body), self._identity
        assert identity is not None
        if not isinstance(said.get("code"), str):  # an empty one lets this side go on: it must have been said
            raise self._fail(RemoteProtocolError("a malformed record"))
        if said.get("you") != identity.raw:
            raise self._fail(HandshakeError("the server takes this client for another one"))
        self._identity = None
        code = _word(said, "code")
        if code == "untrusted":
            raise self._fail(UntrustedPeer(identity.fingerprint))
        if code:
            raise self._fail(SessionClosed(code))

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


def attach(stream: ByteStream, wake_writer: Callable[[], None]) -> Callable[[], bool]:
    """Who writes to a stream says how to wake it, and learns how to ask whether `send` must be called, if only with
    nothing."""
    if not isinstance(stream, NoiseStream):
        return lambda: False
    stream.wake_writer = wake_writer
    return stream.has_output


def export(stream: ByteStream, label: str, length: int) -> bytes:
    """A secret of the two sides of a `NoiseStream` for a purpose of theirs (protocol section 3.6)."""
    if not isinstance(stream, NoiseStream):
        raise ValueError("a byte stream without a handshake has no secrets")
    return stream.secrets.export(label, length)


def _word(said: dict[str, Any], name: str) -> str:
    """One of the peer's words, as it may stand in a log."""
    word = said.get(name, "")
    return "".join(char if char.isprintable() else "?" for char in word[:256]) if isinstance(word, str) else ""
