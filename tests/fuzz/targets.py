"""One function a target: takes any bytes, and raises what must not escape.

A target says how long its input may be, and how a short one becomes as long: what costs most is often more of the
same, and no fuzzer makes up a message of four megabytes. Both are tried.

Where bytes are encrypted, a fuzzer that changes the ciphertext gets no further than the tag. Such targets have a
second mode, in which a peer that knows the keys says what the fuzzer has made up.
"""

import math
import re
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import msgpack
from anyio.abc import ByteStream

from chanlink.errors import (
    AgentError,
    ConfigError,
    ConnectionLost,
    DecodeError,
    HandshakeError,
    RemoteProtocolError,
    SessionClosed,
)
from chanlink.limits import MAX_RECORD, Limits, PeerLimits
from chanlink.security import hello as secure
from chanlink.security import suites
from chanlink.security.buffers import Buffers
from chanlink.security.handshake import handshake_as_client
from chanlink.security.handshake_server import handshake_as_server
from chanlink.security.keys import known_lines, openssh, syntax, trust_lines
from chanlink.security.keys import ssh_agent as agent
from chanlink.security.keys.certificate import Role, certify
from chanlink.security.keys.identity import Identity, _SeedSigner
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.noise.state import HandshakeState
from chanlink.security.noise.x25519 import KeyPair
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.rekey import RecordKeys, Secrets, Thresholds
from chanlink.security.statics import PROTOCOL_NAME, Statics
from chanlink.wire.h2.frames import MAX_FRAME_SIZE
from chanlink.wire.messages.decode import decode
from chanlink.wire.messages.pieces import Pieces
from chanlink.wire.mux import Mux
from chanlink.wire.opening import Opening
from tests.security.wires import HELLO, prefixed
from tests.wire.muxes import Pair, Side, frames_of, overdue_at

CLIENT_KEYS = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
SERVER_KEYS = "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394"
LIMITS = Limits()


class Bytes(ByteStream):
    """A connection that never waits: it has what it has, and then it is over."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        if not self.data:
            raise anyio.EndOfStream
        data, self.data = self.data[:max_bytes], self.data[max_bytes:]
        return data

    async def send(self, item: bytes) -> None:
        pass

    async def send_eof(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run what never waits, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    finally:
        coroutine.close()
    raise AssertionError("it waits for something that is not there")


Grow = Callable[[bytes, int], bytes]


class Target(NamedTuple):
    """Something that takes what others send."""

    run: Callable[[bytes], None]
    longest: int
    """How many bytes an input may have: what the limits, or the reader of a file, allow."""
    grow: Grow
    """Makes an input of this many bytes of a short one."""
    seconds: float
    """What an input may cost in processor time, however long it is."""


TARGETS: dict[str, Target] = {}
"""By their names; tests/fuzz/corpus has a folder for each, with three inputs or more to begin with."""


def repeated(data: bytes, longest: int) -> bytes:
    """The whole, the second half, or the last byte again and again: its length says which."""
    begin = (0, len(data) // 2, len(data) - 1)[len(data) % 3]
    part = data[begin:] or b"x"
    return (data + part * (longest // len(part)))[:longest]


def target(longest: int, *, grow: Grow = repeated, seconds: float = 0.1) -> Callable[[Callable[[bytes], None]], Any]:
    """Makes a target of a function."""

    def add(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
        TARGETS[run.__name__] = Target(run, longest, grow, seconds)
        return run

    return add


# --- hello and handshake --------------------------------------------------------------------------------


@target(secure.MAX_OFFER + 11)
def hello(data: bytes) -> None:
    """Raw bytes, or an offer made up behind the fixed bytes."""
    if data[:1] == b"\0":
        data = b"chanlink\1" + prefixed(data[1:])
    for psk in (None, bytes(32)):
        with suppress(HandshakeError):
            run(secure.receive_hello(Bytes(data), Statics(certified()[Role.SERVER].identity, Role.SERVER, psk)))


def anybody(presented: Presented) -> Grant:
    return Grant("somebody", None)


def _identity(key: str, seed: int) -> Identity:
    return Identity(PublicKey(bytes.fromhex(key)), _SeedSigner(bytes([seed]) * 32))


class _Certified:
    """Keys and certificates of both sides, made when first needed."""

    def __init__(self) -> None:
        self.sides: dict[Role, Statics] = {}
        for role, identity in ((Role.CLIENT, _identity(CLIENT_KEYS, 1)), (Role.SERVER, _identity(SERVER_KEYS, 2))):
            self.sides[role] = Statics(identity, role)
            self.sides[role]._look_at = math.inf  # nothing lies beside these keys, and to look would be to wait
            static = KeyPair(bytes([0x11 + role]) * 32)
            self.sides[role]._current = static, run(certify(identity, static.public, role, int(time.time())))


_certified: list[_Certified] = []


def certified() -> dict[Role, Statics]:
    if not _certified:
        _certified.append(_Certified())
    return _certified[0].sides


class Answering(Bytes):
    """A peer that does its part of the handshake, and says ``payload`` in it."""

    def __init__(self, role: Role, payload: bytes) -> None:
        super().__init__(b"")
        self.payload = payload
        static = KeyPair(bytes([0x11 + role]) * 32)
        self.role = role
        self.static = static
        if role is Role.CLIENT:
            self.noise = HandshakeState(PROTOCOL_NAME.format("XX"), True, prologue=HELLO, s=static)
            self.data = HELLO + prefixed(self.noise.write_message())

    async def send(self, item: bytes) -> None:
        if self.role is Role.SERVER:
            length = 11 + int.from_bytes(item[9:11], "big")
            if item[:8] != b"chanlink":
                return  # message 3
            prologue, item = item[:length], item[length:]
            name = PROTOCOL_NAME.format("XX")
            self.noise = HandshakeState(name, False, prologue=prologue, s=self.static)
        if self.noise.finished:
            return
        self.noise.read_message(item[2:])
        self.data += prefixed(self.noise.write_message(self.payload))


def edited(payload: bytes, edits: bytes) -> bytes:
    """A good payload with some bytes replaced: three bytes an edit, the place and the new one."""
    changed = bytearray(payload)
    for at in range(0, len(edits) - 2, 3):
        changed[int.from_bytes(edits[at : at + 2], "big") % len(changed)] = edits[at + 2]
    return bytes(changed)


def good_payload(role: Role) -> bytes:
    statics = certified()
    current = statics[role]._current
    assert current is not None
    said = {"certificate": current[1].to_map(), "suite": "chachapoly", "limits": {"message_size": 1_000}}
    said |= {"service": "ping"} if role is Role.CLIENT else {}
    packed: bytes = msgpack.packb(said | {"peer": statics[Role.SERVER].identity.public_key.raw})
    return packed


@target(2 * secure.MAX_HANDSHAKE_MESSAGE)
def handshake(data: bytes) -> None:
    """Raw messages to a server; or the payload of a peer that does the rest as it should, made up or a good one with
    changes."""
    mode, data = data[0] % 5 if data else 0, data[1:]
    sides = certified()
    with suppress(HandshakeError):
        if mode == 4:
            run(handshake_as_server(Bytes(HELLO + data), sides[Role.SERVER], anybody, LIMITS))
        elif mode % 2:
            payload = data[:3_900] if mode == 1 else edited(good_payload(Role.SERVER), data)
            run(handshake_as_client(Answering(Role.SERVER, payload), sides[Role.CLIENT], anybody, LIMITS))
        else:
            payload = data[:3_900] if mode == 0 else edited(good_payload(Role.CLIENT), data)
            run(handshake_as_server(Answering(Role.CLIENT, payload), sides[Role.SERVER], anybody, LIMITS))


# --- records --------------------------------------------------------------------------------------------

BUFFERS = Buffers()
SECRETS = Secrets(*(bytes([number]) * 32 for number in range(4)))


def _keys(client_side: bool) -> RecordKeys:
    thresholds = Thresholds(burst=1_000, server_seconds=1e18, seconds=1e18)
    return RecordKeys(
        SECRETS,
        suites.suite("chachapoly"),
        client_side=client_side,
        now=0.0,
        plain=BUFFERS.plain,
        thresholds=thresholds,
    )


def pieces(data: bytes) -> Iterator[bytes]:
    """The parts of the input, each behind its length in one byte."""
    while data:
        length = data[0]
        yield data[1 : 1 + length]
        data = data[1 + length :]


def one_record(data: bytes, longest: int) -> bytes:
    """The beginning of a record, and more of the same."""
    return b"\3" + repeated(data[1:], longest - 1)


@target(MAX_RECORD - 15, grow=one_record)
def record(data: bytes) -> None:
    """Raw records; or the plaintext of records that are well encrypted, or of one, to a client that waits for its
    welcome or to a server. Rekey records go on with keys that nobody has renewed, and fail where they must."""
    mode, data = data[:1], data[1:]
    if mode == b"\2":
        client_side, sent = False, data
    else:
        client_side = mode == b"\0"
        sealing = _keys(not client_side)
        plain = [data] if mode == b"\3" else pieces(data)
        sent = b"".join(prefixed(sealing._sending.encrypt_with_ad(b"", piece)) for piece in plain)
    stream = NoiseStream(Bytes(sent), _keys(client_side), SECRETS, BUFFERS)
    if client_side:
        stream.expect_welcome(PublicKey(bytes.fromhex(CLIENT_KEYS)))
    try:
        while True:
            run(stream.receive())
            if stream.has_output():
                run(stream.send(b"x"))
    except (RemoteProtocolError, ConnectionLost, HandshakeError, SessionClosed, anyio.EndOfStream):
        pass


# --- frames and messages --------------------------------------------------------------------------------


class Talk:
    """What the other side of a connection says at its beginning; some streams are open in both directions."""

    def __init__(self) -> None:
        pair = Pair(start=False)
        self.said: dict[bool, bytes] = {}
        for side, client_side in ((pair.client, True), (pair.server, False)):
            open_some(side.mux)
            self.said[not client_side] = frames_of(side.mux, 0.0)


def open_some(mux: Mux) -> None:
    mux.open(Opening("receiver", service="one"))
    mux.open(Opening("bytes", service="two"))


def one_piece(data: bytes, longest: int) -> bytes:
    """The same frames again and again; or one, with a payload that is as long as it may be."""
    side, said = data[:1], b"".join(pieces(data[1:]))
    if len(data) % 2:
        payload = repeated(said[9:], MAX_FRAME_SIZE)
        said = MAX_FRAME_SIZE.to_bytes(3, "big") + said[3:9].ljust(6, b"\0") + payload
    return side + b"\0\0" + repeated(said, longest)


@target(MAX_RECORD - 17 + 3, grow=one_piece)
def frames(data: bytes) -> None:
    """HTTP/2 frames to either side of a connection that has begun: in pieces, or in one behind two zero bytes."""
    client_side = data[:1] < b"\x80"
    side = Side(client_side=client_side, limits=LIMITS, peer=PeerLimits())
    mux = side.mux
    open_some(mux)
    mux.receive_data(TALK.said[client_side], 0.0)
    mux.data_to_send(0.0)
    try:
        said = [data[3:]] if data[1:3] == b"\0\0" else pieces(data[1:])
        for number, piece in enumerate(said):
            mux.receive_data(piece, number / 10)
            mux.data_to_send(number / 10)
            mux.tick(overdue_at(number / 10))
    except (RemoteProtocolError, SessionClosed):
        pass


TALK = Talk()


LONG_BIN = b"\x92\xc5\x20\0" + bytes(8_192)


def list_of_values(data: bytes, longest: int) -> bytes:
    """A list of the same value again and again, behind the same table."""
    has_table = data[:1] >= b"\x80"
    table = data[4 : 5 + 5 * data[4]] if has_table and len(data) > 4 else b""
    item = data[4 + len(table) :] or b"\xc0"
    count = (longest - 5 - len(table)) // len(item)
    payload = table + b"\xdd" + count.to_bytes(4, "big") + item * count
    return (len(payload) | has_table << 31).to_bytes(4, "big") + payload


@target(LIMITS.message_size, grow=list_of_values)
def message(data: bytes) -> None:
    """A message with or without a table; any end in it may be claimed. In pieces it is what it is joined."""

    class Mentioned:
        pass

    def decoded(payload: bytes | Pieces) -> object:
        try:
            return decode(head, payload, LIMITS, lambda kind, stream_id: Mentioned)  # type: ignore[arg-type, return-value]
        except DecodeError as exc:
            return str(exc)

    def as_text(value: object) -> str:
        return re.sub(r"<.*?Mentioned object at .*?>", "an end", repr(value))

    head = int.from_bytes(data[:4], "big")
    decoded(data[4:])
    if data[4:5] == b"\x92":  # two values: the first one shall be a long bin, in pieces
        beside = LONG_BIN + data[5:]
        in_pieces = Pieces([beside[:5_000], memoryview(beside)[5_000:]])
        assert as_text(decoded(in_pieces)) == as_text(decoded(beside))


# --- files and agents -----------------------------------------------------------------------------------


@target(openssh.KEY_FILE_MAX)
def key_file(data: bytes) -> None:
    """A private key file, armoured or not yet; a public key; a signature."""
    calls: list[Callable[[], object]] = [
        lambda: openssh.parse_private_key(data),
        lambda: PublicKey.parse(data.decode("latin-1")),
        lambda: PublicKey.from_blob(data),
        lambda: openssh.parse_sshsig(data, b"chanlink-static-v1"),
    ]
    for call in calls:
        with suppress(ConfigError):
            call()


@target(syntax.FILE_MAX, seconds=2.0)  # it is our own, and is read in a thread: thirty thousand lines
def trust_file(data: bytes) -> None:
    """A file in the syntax of authorized_keys, and one in that of known_hosts."""
    with suppress(ConfigError):
        trust_lines.parse("file", syntax.decode_lines("file", data))
    with suppress(ConfigError):
        known_lines.parse(Path("file"), data)


def parse_credentials(data: bytes) -> object:
    return agent.parse_credentials(data, _identity(CLIENT_KEYS, 0).public_key)


@target(agent.REPLY_MAX)
def agent_reply(data: bytes) -> None:
    """What an ssh-agent answers to either request; of the list of keys, the credentials of one of them as well."""
    for parse in (agent.parse_identities, agent.parse_sign_response, parse_credentials):
        with suppress(AgentError, ConfigError):
            parse(data)
