"""The link: hello, Noise handshake, certificates, and the records after it (protocol sections 1 to 3).

    1. `handshake_as_client` and `handshake_as_server` run over any byte stream and read from it exactly what they
       need, so that a stranger can make us keep nothing.
    2. What remains of the handshake is a `NoiseStream`: two cipher states over the byte stream.  It *is* an
       `anyio.abc.ByteStream`, as anyio's `TLSStream` is, and everything above it sees nothing else.

Before the peer is authenticated every failure is a `HandshakeError` here and a closed connection there; why it
failed is for our log only.
"""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from struct import Struct
from typing import Any, NamedTuple

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
from .identity import CERTIFICATE_LIFETIME, Certificate, Identity, Role, certify
from .limits import Limits, PeerLimits
from .noise import CipherState, HandshakeState, KeyPair, generate_keypair
from .openssh import PublicKey
from .trust import Grant

PROTOCOL_NAME = "Noise_XX_25519_ChaChaPoly_BLAKE2s"
MAGIC = b"chanlink"
VERSION = 1
SUITE = "chachapoly"
MAX_OFFER = 1_024
MAX_HANDSHAKE_MESSAGE = 4_096
MAX_BODY = 65_535 - 16 - 1
"""The body of a record: less its tag and its kind byte."""
DATA, CLOSE, REKEY, WELCOME = 0, 1, 2, 3
REFUSAL = 1.0
"""Seconds that a refused client has to read why."""

Admit = Callable[[PublicKey], Grant]
"""Says what the peer with this key may do; raises `WrongPeer` or `UntrustedPeer` to end the handshake."""

_LENGTH = Struct(">H")
_RECEIVE = 256 * 1024
"""Bytes asked of the transport at a time: several records for one system call."""
_MAX_ITEMS = 256
"""Of a list or map in a payload: msgpack would make room for as many as a header claims."""
_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError)
_HUNG_UP = "the peer closed the connection during the handshake"


class Credentials:
    """The static key of this process for one role, and the identity's certificate for it.

    Both are made afresh at half of the certificate's life; sessions that exist go on.
    """

    def __init__(self, identity: Identity, role: Role) -> None:
        self.identity = identity
        self.role = role
        self._current: tuple[KeyPair, Certificate] | None = None
        self._signing = anyio.Lock()

    async def current(self) -> tuple[KeyPair, Certificate]:
        """The key pair and its certificate.  May ask whoever holds the identity to sign, and raises what that does."""
        if (current := self._valid()) is not None:
            return current
        async with self._signing:  # one signature for all who wait for it
            current = self._valid() or await self._make()
            self._current = current
        return current

    def _valid(self) -> tuple[KeyPair, Certificate] | None:
        if self._current is None:
            return None
        age = int(time.time()) - self._current[1].not_before
        # Below zero after the clock was set back: to the peers it would not be valid yet.
        return self._current if 0 <= age <= CERTIFICATE_LIFETIME // 2 else None

    async def _make(self) -> tuple[KeyPair, Certificate]:
        static = generate_keypair()
        return static, await certify(self.identity, static.public, self.role, int(time.time()))


class Secured(NamedTuple):
    """What a handshake gives."""

    stream: "NoiseStream"
    key: PublicKey
    """The peer's identity."""
    peer_limits: PeerLimits
    grant: Grant
    """What the peer may do."""
    round_trip: float


# --- 1. the handshake ---------------------------------------------------------------------------


async def handshake_as_client(
    transport: ByteStream,
    credentials: Credentials,
    admit: Admit,
    limits: Limits,
    *,
    upgrade: Callable[[], Awaitable[ByteStream]] | None = None,
    eager: bool = False,
) -> Secured:
    """Authenticate as the side that connected.

    ``admit`` is asked before this side shows its own identity. ``upgrade`` gives the stream to use once the server is
    authenticated. Raises `HandshakeError`, or `SessionClosed` when the server refuses for another reason than the
    client's key; the caller closes the transport then.
    """
    static, certificate = await credentials.current()
    hello = _hello()
    noise = HandshakeState(PROTOCOL_NAME, True, prologue=hello, s=static)
    began = time.monotonic()
    await _send(transport, hello + _prefixed(noise.write_message()))
    offer = _unpack(noise.read_message(await _receive_prefixed(transport, MAX_HANDSHAKE_MESSAGE)))
    round_trip = time.monotonic() - began
    key = _verified(offer, noise.rs, Role.SERVER)
    if offer.get("suite") != SUITE:
        raise HandshakeError("the server chose a record suite that was not offered")
    peer_limits = _peer_limits(offer)
    grant = admit(key)
    answer = {"certificate": certificate.to_map(), "peer": key.raw, "limits": _limits_map(limits)}
    await _send(transport, _prefixed(noise.write_message(msgpack.packb(answer))))
    sending, receiving = noise.split()
    stream = NoiseStream(await _upgraded(transport, upgrade), sending, receiving)
    stream.expect_welcome(credentials.identity.public_key)
    if not eager:
        await stream.receive_welcome()
    return Secured(stream, key, peer_limits, grant, round_trip)


async def handshake_as_server(
    transport: ByteStream,
    credentials: Credentials,
    admit: Admit,
    limits: Limits,
    *,
    upgrade: Callable[[], Awaitable[ByteStream]] | None = None,
) -> Secured:
    """Authenticate as the side that accepted the connection.

    Raises `UntrustedPeer` after having told the client so, `HandshakeError` without a word to anybody.
    """
    hello = await _receive_hello(transport)
    static, certificate = await credentials.current()
    noise = HandshakeState(PROTOCOL_NAME, False, prologue=hello, s=static)
    if noise.read_message(await _receive_prefixed(transport, MAX_HANDSHAKE_MESSAGE)):
        raise HandshakeError("the first message has a payload")
    began = time.monotonic()
    offer = {"certificate": certificate.to_map(), "suite": SUITE, "limits": _limits_map(limits)}
    await _send(transport, _prefixed(noise.write_message(msgpack.packb(offer))))
    answer = _unpack(noise.read_message(await _receive_prefixed(transport, MAX_HANDSHAKE_MESSAGE)))
    round_trip = time.monotonic() - began
    key = _verified(answer, noise.rs, Role.CLIENT)
    peer_limits = _peer_limits(answer)
    if answer.get("peer") != credentials.identity.public_key.raw:
        raise HandshakeError("the client believes that it talks to another server")
    receiving, sending = noise.split()
    try:
        grant = admit(key)
    except UntrustedPeer:
        await _refuse(transport, NoiseStream(transport, sending, receiving), key)
        raise
    stream = NoiseStream(await _upgraded(transport, upgrade), sending, receiving)
    await _send_welcome(stream, "", key)
    return Secured(stream, key, peer_limits, grant, round_trip)


async def _upgraded(transport: ByteStream, upgrade: Callable[[], Awaitable[ByteStream]] | None) -> ByteStream:
    try:
        return transport if upgrade is None else await upgrade()
    except _BROKEN as exc:
        raise HandshakeError(_HUNG_UP) from exc


async def _send_welcome(stream: "NoiseStream", code: str, key: PublicKey) -> None:
    try:
        await stream.send_record(WELCOME, msgpack.packb({"code": code, "you": key.raw}))
    except ConnectionLost as exc:
        raise HandshakeError(_HUNG_UP) from exc


async def _refuse(transport: ByteStream, stream: "NoiseStream", key: PublicKey) -> None:
    """Tell an authenticated client that it is not trusted, so that the reason arrives (protocol section 3.2)."""
    # It may have hung up: it is refused in any case.
    with suppress(SessionError, anyio.EndOfStream, *_BROKEN), anyio.move_on_after(REFUSAL):
        await _send_welcome(stream, "untrusted", key)
        await stream.send_close("untrusted")
        while True:  # a reset because of what was not read would overtake the reason
            await transport.receive(_RECEIVE)


def _hello() -> bytes:
    offer = msgpack.packb({"pattern": "XX", "suites": [SUITE]})
    return MAGIC + bytes([VERSION]) + _prefixed(offer)


async def _receive_hello(transport: ByteStream) -> bytes:
    """Read the client's hello; returns all of its bytes, the prologue.  Nine of them tell who speaks something else."""
    start = await _receive_exactly(transport, len(MAGIC) + 1)
    if start[:-1] != MAGIC:
        raise HandshakeError("the client does not speak chanlink")
    if start[-1] != VERSION:
        raise HandshakeError(f"the client speaks version {start[-1]}")
    packed = await _receive_prefixed(transport, MAX_OFFER)
    offer = _unpack(packed)
    suites = offer.get("suites")
    if offer.get("pattern") != "XX" or not isinstance(suites, list) or SUITE not in suites:
        raise HandshakeError("the client offers nothing that this side can use")
    return start + _prefixed(packed)


def _verified(payload: dict[str, Any], static: bytes, role: Role) -> PublicKey:
    certificate = Certificate.from_map(payload.get("certificate"))
    return certificate.verify(static, role, int(time.time()))


def _limits_map(limits: Limits) -> dict[str, int]:
    return {name: getattr(limits, name) for name in PeerLimits.__slots__}


def _peer_limits(payload: dict[str, Any]) -> PeerLimits:
    said = payload.get("limits", {})
    if not isinstance(said, dict):
        raise HandshakeError("malformed limits")
    values = {name: said[name] for name in PeerLimits.__slots__ if name in said}
    if not all(type(value) is int and 0 < value < 2**31 for value in values.values()):
        raise HandshakeError("malformed limits")
    peer_limits = PeerLimits(**values)
    if peer_limits.stream_window < 1_024:
        raise HandshakeError("malformed limits")
    return peer_limits


def _unpack(data: bytes) -> dict[str, Any]:
    try:
        value = msgpack.unpackb(data, max_array_len=_MAX_ITEMS, max_map_len=_MAX_ITEMS)
    except Exception as exc:  # msgpack raises half a dozen kinds
        raise HandshakeError("a malformed payload") from exc
    if not isinstance(value, dict):
        raise HandshakeError("a malformed payload")
    return value


def _prefixed(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


async def _receive_prefixed(transport: ByteStream, limit: int) -> bytes:
    (length,) = _LENGTH.unpack(await _receive_exactly(transport, _LENGTH.size))
    if length > limit:
        raise HandshakeError("a handshake message is too long")
    return await _receive_exactly(transport, length)


async def _receive_exactly(transport: ByteStream, length: int) -> bytes:
    data = b""
    try:
        while len(data) < length:
            data += await transport.receive(length - len(data))
    except (anyio.EndOfStream, *_BROKEN) as exc:
        raise HandshakeError(_HUNG_UP) from exc
    return data


async def _send(transport: ByteStream, data: bytes) -> None:
    try:
        await transport.send(data)
    except _BROKEN as exc:
        raise HandshakeError(_HUNG_UP) from exc


# --- 2. records ---------------------------------------------------------------------------------


class NoiseStream(ByteStream):
    """An encrypted and authenticated byte stream over another one.

    `receive` returns the body of one record, at most 65,518 bytes. It raises `anyio.EndOfStream` only after the
    peer's close record (what that said is in `peer_close`), `ConnectionLost` at any other end, and
    `RemoteProtocolError` for a record that is not the peer's next one; nothing after it is delivered. On a client that
    did not wait for the welcome, whatever comes in its place is a `HandshakeError`.
    """

    peer_close: tuple[str, str] = ("", "")
    """Code and text of the peer's close record."""

    def __init__(self, transport: ByteStream, sending: CipherState, receiving: CipherState) -> None:
        self._transport = transport
        self._sending = sending
        self._receiving = receiving
        self._data = b""
        self._offset = 0
        self._rest = b""  # of a record of which the caller wanted less
        self._identity: PublicKey | None = None  # the welcome must confirm it
        self._over: anyio.EndOfStream | SessionError | None = None
        self._in_send = False
        self._closed = False

    # --- out ---

    async def send(self, item: bytes) -> None:
        """Send bytes in as few records as possible.  Raises `ConnectionLost`; a cancelled `send` was the last."""
        await self._send_records([(DATA, item[at : at + MAX_BODY]) for at in range(0, len(item), MAX_BODY)])

    async def send_record(self, kind: int, body: bytes) -> None:
        """Send one record of another kind than data."""
        await self._send_records([(kind, body)])

    async def _send_records(self, records: list[tuple[int, bytes]]) -> None:
        if self._in_send or self._closed:
            # A send that was cancelled half-way has left a part of a record: nothing can follow it.
            raise ConnectionLost("the connection was closed on this side")
        parts = []
        for kind, body in records:
            ciphertext = self._sending.encrypt_with_ad(b"", bytes([kind]) + body)
            parts += [_LENGTH.pack(len(ciphertext)), ciphertext]
        self._in_send = True
        try:
            await self._transport.send(b"".join(parts))
        except _BROKEN as exc:
            raise ConnectionLost("the connection broke") from exc
        self._in_send = False

    async def send_close(self, code: str, text: str = "") -> None:
        """Send the close record and end this half of the connection."""
        await self.send_record(CLOSE, msgpack.packb({"code": code[:64], "text": text[:256]}))
        self._closed = True
        try:
            await self._transport.send_eof()
        except (*_BROKEN, OSError, RuntimeError) as exc:  # uvloop's transports raise RuntimeError after a reset
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
            elif kind == CLOSE:
                said = self._said(body)
                self.peer_close = _word(said, "code"), _word(said, "text")
                self._over = anyio.EndOfStream()
                raise anyio.EndOfStream
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
            plaintext = self._receiving.decrypt_with_ad(b"", record)
        except RemoteProtocolError as exc:
            raise self._fail(exc) from None
        if not plaintext:
            raise self._fail(RemoteProtocolError("an empty record"))
        if self._identity is not None and plaintext[0] != WELCOME:
            raise self._fail(RemoteProtocolError("no welcome"))
        return plaintext[0], plaintext[1:]

    def _cut(self) -> bytes | None:
        begin = self._offset + _LENGTH.size
        if len(self._data) < begin:
            return None
        end = begin + _LENGTH.unpack_from(self._data, self._offset)[0]
        if len(self._data) < end:
            return None
        self._offset = end
        return self._data[begin:end]

    async def _receive_more(self) -> None:
        try:
            data = await self._transport.receive(_RECEIVE)
        except (anyio.EndOfStream, *_BROKEN) as exc:
            raise self._fail(ConnectionLost("the connection ended without a farewell")) from exc
        self._data = self._data[self._offset :] + data if self._offset < len(self._data) else data
        self._offset = 0

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
            return _unpack(body)
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
    def extra_attributes(self) -> Any:
        return self._transport.extra_attributes


def _word(said: dict[str, Any], name: str) -> str:
    """One of the peer's words, as it may stand in a log."""
    word = said.get(name, "")
    return "".join(char if char.isprintable() else "?" for char in word[:256]) if isinstance(word, str) else ""
