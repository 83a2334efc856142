"""The link: who may pass the handshake, and what a record stream makes of a network that lies (protocol 1 to 3)."""

import dataclasses
import os
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import anyio
import msgpack
import pytest
from anyio.abc import ByteStream

from chanlink import (
    ConnectionLost,
    HandshakeError,
    Identity,
    Limits,
    PublicKey,
    RemoteProtocolError,
    SessionClosed,
    UntrustedPeer,
    WrongPeer,
    clock,
)
from chanlink.limits import PEER_RANGES, PeerLimits
from chanlink.security import handshake as secure
from chanlink.security import suites
from chanlink.security.buffers import loop_buffers
from chanlink.security.handshake import Admit, Credentials, Secured, handshake_as_client, handshake_as_server
from chanlink.security.keys.certificate import Certificate, Role, certify
from chanlink.security.keys.trust import Grant
from chanlink.security.noise.x25519 import KeyPair, generate_keypair
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.rekey import RecordKeys, Secrets
from chanlink.transport.address import parse_address
from chanlink.transport.dial import connect_socket
from chanlink.transport.listen import listening_sockets
from chanlink.transport.sockets import SocketTransport
from tests.patience import PATIENCE

from .wires import (
    CLOSE,
    DATA,
    HELLO,
    REKEY,
    WELCOME,
    Edit,
    Scripted,
    Wire,
    flipped,
    inserted,
    make_hello,
    prefixed,
    removed,
    speak_as_client,
    speak_as_server,
    wires,
)

pytestmark = pytest.mark.anyio
# Where nothing depends on the event loop.
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])

ALICE = Identity.generate("alice@laptop")
SERVER = Identity.generate("server")
MALLORY = Identity.generate("mallory")
FULL_BODY = 65_518
TO_MESSAGE_3 = len(HELLO) + 2 + 32
"""What a client sends before it shows who it is: the hello, and an ephemeral key."""
Outcome = Secured | Exception


@pytest.fixture(autouse=True)
def _one_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the hello is the same everywhere; test_suites.py has the others."""
    monkeypatch.setenv("CHANLINK_SUITES", "chachapoly")


def anybody(key: PublicKey) -> Grant:
    return Grant("somebody", None)


def nobody(key: PublicKey) -> Grant:
    raise UntrustedPeer(key.fingerprint)


def wrong(key: PublicKey) -> Grant:
    raise WrongPeer(MALLORY.public_key.fingerprint, key.fingerprint)


class Pair:
    """Both sides of a handshake, with the credentials of their processes."""

    def __init__(self) -> None:
        self.client = Credentials(ALICE, Role.CLIENT)
        self.server = Credentials(SERVER, Role.SERVER)

    async def handshake(
        self,
        client_end: ByteStream,
        server_end: ByteStream,
        *,
        client_admit: Admit = anybody,
        server_admit: Admit = anybody,
        limits: tuple[Limits, Limits] = (Limits(), Limits()),
        eager: bool = False,
    ) -> tuple[Outcome, Outcome]:
        """What each side got.  A side that fails closes its end, as endpoints do."""
        outcomes: dict[ByteStream, Outcome] = {}

        async def run(end: ByteStream, handshake: Awaitable[Secured]) -> None:
            try:
                outcomes[end] = await handshake
            except Exception as exc:
                outcomes[end] = exc
                await end.aclose()

        async with anyio.create_task_group() as tasks:
            client = handshake_as_client(client_end, self.client, client_admit, limits[0], eager=eager)
            server = handshake_as_server(server_end, self.server, server_admit, limits[1])
            tasks.start_soon(run, client_end, client)
            tasks.start_soon(run, server_end, server)
        return outcomes[client_end], outcomes[server_end]


def secured(outcome: Outcome) -> Secured:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@asynccontextmanager
async def memory() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    yield wires()


@asynccontextmanager
async def byte_by_byte() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    yield wires(piece=1)


@asynccontextmanager
async def over_sockets(address: str) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    listening = await listening_sockets(parse_address(address))
    try:
        client = await connect_socket(parse_address(listening.addresses[0]))
        await anyio.wait_readable(listening.sockets[0])
        server = SocketTransport(listening.sockets[0].accept()[0])
    finally:
        listening.close()
    try:
        yield client, server
    finally:
        await client.aclose()
        await server.aclose()


@pytest.fixture(params=["memory", "byte by byte", "tcp", "unix"])
async def ends(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    made: dict[str, Callable[[], AbstractAsyncContextManager[tuple[ByteStream, ByteStream]]]] = {
        "memory": memory,
        "byte by byte": byte_by_byte,
        "tcp": lambda: over_sockets("tcp://127.0.0.1:0"),
        "unix": lambda: over_sockets(f"unix:{tmp_path}/s"),
    }
    async with made[request.param]() as pair:
        yield pair


# --- the handshake: who is who --------------------------------------------------------------------------


async def test_both_sides_learn_who_the_other_is_and_what_it_accepts(ends: tuple[ByteStream, ByteStream]) -> None:
    limits = Limits(message_size=1_000, message_depth=3), Limits(open_channels=7, stream_window=2_048, message_ends=2)
    client, server = map(secured, await Pair().handshake(*ends, limits=limits))
    assert (client.key, server.key) == (SERVER.public_key, ALICE.public_key)
    assert server.peer_limits == PeerLimits(message_size=1_000, message_depth=3)
    assert client.peer_limits == PeerLimits(open_channels=7, stream_window=2_048, message_ends=2)
    assert client.grant == server.grant == Grant("somebody", None)
    assert 0 < client.round_trip < 10
    assert 0 < server.round_trip < 10


async def test_bytes_pass_both_ways_after_it_and_end_in_order(ends: tuple[ByteStream, ByteStream]) -> None:
    client, server = [secured(outcome).stream for outcome in await Pair().handshake(*ends)]
    await client.send(b"question")
    assert await server.receive() == b"question"
    await server.send(b"answer")
    assert await client.receive() == b"answer"
    await client.send_close("why", "because")
    with pytest.raises(anyio.EndOfStream):
        await server.receive()
    assert server.peer_close == ("why", "because")
    await server.aclose()
    with pytest.raises(anyio.EndOfStream):
        await client.receive()
    assert client.peer_close == ("", "")
    await client.aclose()


async def test_an_eager_client_sends_before_the_welcome(ends: tuple[ByteStream, ByteStream]) -> None:
    client, server = [secured(outcome).stream for outcome in await Pair().handshake(*ends, eager=True)]
    await client.send(b"early")
    assert await server.receive() == b"early"
    await server.send(b"reply")
    assert await client.receive() == b"reply"
    await client.aclose()
    await server.aclose()


@one_backend
async def test_the_server_reads_nothing_beyond_the_handshake() -> None:
    client_end, server_end = wires()
    client_end.edit = lambda at, data: data + bytes(100_000) if at == TO_MESSAGE_3 else data
    _, server = await Pair().handshake(client_end, server_end)
    assert secured(server).key == ALICE.public_key
    assert len(server_end.buffer) == 100_000


# --- the handshake: a network that lies -----------------------------------------------------------------


async def lengths_of_a_handshake(pair: Pair) -> tuple[int, int]:
    """How many bytes each side sends for a good handshake, its records not counted."""
    client_end, server_end = wires()
    client, _ = map(secured, await pair.handshake(client_end, server_end))
    assert client.key == SERVER.public_key
    welcome = 2 + 1 + len(msgpack.packb({"code": "", "you": bytes(32)})) + 16
    return len(client_end.sent), len(server_end.sent) - welcome


@one_backend
@pytest.mark.parametrize("change", [flipped, removed, inserted])
@pytest.mark.parametrize("side", ["client", "server"])
async def test_both_sides_fail_whichever_byte_of_the_handshake_is_changed(
    side: str, change: Callable[[int], Edit]
) -> None:
    pair = Pair()
    client_length, server_length = await lengths_of_a_handshake(pair)
    for at in range(client_length if side == "client" else server_length):
        client_end, server_end = wires()
        (client_end if side == "client" else server_end).edit = change(at)
        for outcome in await pair.handshake(client_end, server_end):
            assert type(outcome) is HandshakeError, f"byte {at}: {outcome!r}"


@one_backend
@pytest.mark.parametrize("bit", range(8))
async def test_no_bit_of_the_hello_goes_unnoticed(bit: int) -> None:
    pair = Pair()
    for at in range(len(HELLO)):
        client_end, server_end = wires()
        client_end.edit = flipped(at, 1 << bit)
        for outcome in await pair.handshake(client_end, server_end):
            assert type(outcome) is HandshakeError, f"byte {at}: {outcome!r}"


@one_backend
async def test_an_eager_client_learns_from_its_stream_that_its_last_message_was_changed() -> None:
    pair = Pair()
    client_length, _ = await lengths_of_a_handshake(pair)
    client_end, server_end = wires()
    client_end.edit = flipped(client_length - 1)
    client, server = await pair.handshake(client_end, server_end, eager=True)
    assert type(server) is HandshakeError
    for _ in range(2):
        with pytest.raises(HandshakeError):
            await secured(client).stream.receive()


@one_backend
async def test_a_recorded_client_is_not_let_in_again() -> None:
    pair = Pair()
    client_end, server_end = wires()
    secured((await pair.handshake(client_end, server_end))[1])
    _, fresh = wires()
    fresh.feed(bytes(client_end.sent))
    with pytest.raises(HandshakeError, match="authentication"):
        await handshake_as_server(fresh, pair.server, anybody, Limits())


@one_backend
async def test_a_recorded_server_is_not_believed() -> None:
    pair = Pair()
    client_end, server_end = wires()
    secured((await pair.handshake(client_end, server_end))[0])
    _, fresh = wires()
    fresh.feed(bytes(server_end.sent))
    with pytest.raises(HandshakeError, match="authentication"):
        await handshake_as_client(fresh, pair.client, anybody, Limits())
    assert len(fresh.sent) == TO_MESSAGE_3


@one_backend
async def test_reflected_messages_are_not_believed() -> None:
    client_end = mirror(after=len(HELLO))
    with pytest.raises(HandshakeError):
        await handshake_as_client(client_end, Credentials(ALICE, Role.CLIENT), anybody, Limits())
    server_end = mirror()
    server_end.feed(HELLO + prefixed(generate_keypair().public))
    with pytest.raises(HandshakeError):
        await handshake_as_server(server_end, Credentials(SERVER, Role.SERVER), anybody, Limits())


def mirror(after: int = 0) -> Wire:
    """A connection that sends back what comes, but for its first bytes."""
    end, _ = wires()

    def reflect(at: int, data: bytes) -> bytes:
        end.feed(data[max(after - at, 0) :])
        return b""

    end.edit = reflect
    end.other.waiting = True  # for what it will never get: when our side waits too, it is over
    return end


# --- the hello ------------------------------------------------------------------------------------------

BAD_HELLOS = {
    "other magic": make_hello(magic=b"chanlimk"),
    "version 0": make_hello(version=0),
    "version 2": make_hello(version=2),
    "other pattern": make_hello(offer={"pattern": "IK", "suites": ["chachapoly"]}),
    "no pattern": make_hello(offer={"suites": ["chachapoly"]}),
    "other suites only": make_hello(offer={"pattern": "XX", "suites": ["aegis256", "null"]}),
    "no suites": make_hello(offer={"pattern": "XX", "suites": []}),
    "suites not a list": make_hello(offer={"pattern": "XX", "suites": "chachapoly"}),
    "an offer that is no map": make_hello(offer=["XX", "chachapoly"]),
    "an offer that is no msgpack": make_hello(offer=b"\xc1"),
    "an empty offer": make_hello(offer=b"")[:-2] + b"\0\0",
    "bytes after the offer": make_hello(offer=msgpack.packb({"pattern": "XX", "suites": ["chachapoly"]}) + b"\0"),
    "lists in lists": make_hello(offer=b"\x91" * 1_024),
    "lists that claim to be long": make_hello(offer=b"\xdc\x03\xff" * 341),
    "an integer as a key": make_hello(offer={1: "XX"}),
}


@one_backend
@pytest.mark.parametrize("hello", BAD_HELLOS.values(), ids=BAD_HELLOS.keys())
async def test_a_hello_of_no_use_is_answered_by_nothing(hello: bytes) -> None:
    _, server_end = wires()
    server_end.feed(hello + prefixed(generate_keypair().public))
    with pytest.raises(HandshakeError):
        await handshake_as_server(server_end, Credentials(SERVER, Role.SERVER), anybody, Limits())
    assert not server_end.sent


@one_backend
async def test_offers_have_room_for_more() -> None:
    hello = make_hello(offer={"pattern": "XX", "suites": ["later", "chachapoly"], "more": {"x": [1, None]}})
    static = generate_keypair()
    _, outcome = await with_scripted_client(static, await good_answer(static), hello=hello)
    assert secured(outcome).key == ALICE.public_key


@one_backend
@pytest.mark.parametrize(
    ("start", "taken"),
    [
        (HELLO[:9] + (1_025).to_bytes(2, "big"), 11),
        (HELLO + (4_097).to_bytes(2, "big"), len(HELLO) + 2),
        (HELLO + (65_535).to_bytes(2, "big"), len(HELLO) + 2),
        (b"GET / HTTP/1.1\r\n", 9),
    ],
)
async def test_what_is_too_long_is_not_even_read(start: bytes, taken: int) -> None:
    _, server_end = wires()
    server_end.feed(start + bytes(100_000))
    with pytest.raises(HandshakeError):
        await handshake_as_server(server_end, Credentials(SERVER, Role.SERVER), anybody, Limits())
    assert len(server_end.buffer) == len(start) + 100_000 - taken


@one_backend
@pytest.mark.parametrize("message", [b"", bytes(31), bytes(32), b"\xff" * 32, bytes([1]) + bytes(31)])
async def test_a_first_message_without_a_good_key_is_refused(message: bytes) -> None:
    _, server_end = wires()
    server_end.feed(HELLO + prefixed(message))
    with pytest.raises(HandshakeError):
        await handshake_as_server(server_end, Credentials(SERVER, Role.SERVER), anybody, Limits())
    assert not server_end.sent


@one_backend
async def test_a_first_message_with_a_payload_is_refused() -> None:
    static = generate_keypair()
    _, outcome = await with_scripted_client(static, await good_answer(static), first=b"more")
    assert type(outcome) is HandshakeError


# --- payloads -------------------------------------------------------------------------------------------


async def good_answer(static: KeyPair, **changes: object) -> bytes:
    """The client's payload (protocol section 2), with some entries changed; None leaves one out."""
    certificate = await certify(ALICE, static.public, Role.CLIENT, int(time.time()))
    answer = {"certificate": certificate.to_map(), "peer": SERVER.public_key.raw, "limits": {}} | changes
    return packed({name: value for name, value in answer.items() if value is not None})


async def good_offer(static: KeyPair, **changes: object) -> bytes:
    """The server's."""
    certificate = await certify(SERVER, static.public, Role.SERVER, int(time.time()))
    offer = {"certificate": certificate.to_map(), "suite": "chachapoly", "limits": {}} | changes
    return packed({name: value for name, value in offer.items() if value is not None})


def packed(value: object) -> bytes:
    data: bytes = msgpack.packb(value)
    return data


async def with_scripted_client(
    static: KeyPair, payload: bytes, *, admit: Admit = anybody, after: bytes = b"", **script: Any
) -> tuple[Scripted | None, Outcome]:
    """What a server makes of a client that says ``payload``."""
    client_end, server_end = wires()
    said: list[Scripted] = []
    outcome: list[Outcome] = []

    async def client() -> None:
        try:
            said.append(await speak_as_client(client_end, static, payload, **script))
            await client_end.send(after)
            await client_end.send_eof()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass  # the server has hung up

    async def server() -> None:
        try:
            credentials = Credentials(SERVER, Role.SERVER)
            outcome.append(await handshake_as_server(server_end, credentials, admit, Limits()))
        except Exception as exc:
            outcome.append(exc)
            await server_end.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client)
        tasks.start_soon(server)
    return (said[0] if said else None), outcome[0]


async def with_scripted_server(
    static: KeyPair,
    payload: bytes,
    play: Callable[[Scripted], Awaitable[None]] | None = None,
    *,
    eager: bool = False,
    admit: Admit = anybody,
) -> tuple[Scripted | None, Outcome]:
    """What a client makes of a server that says ``payload`` and then does ``play``."""
    client_end, server_end = wires()
    said: list[Scripted] = []
    outcome: list[Outcome] = []

    async def server() -> None:
        try:
            said.append(await speak_as_server(server_end, static, payload))
        except anyio.EndOfStream:
            return  # the client has hung up
        with suppress(anyio.BrokenResourceError):  # the client may have enough
            if play is not None:
                await play(said[0])
            await server_end.send_eof()

    async def client() -> None:
        try:
            credentials = Credentials(ALICE, Role.CLIENT)
            outcome.append(await handshake_as_client(client_end, credentials, admit, Limits(), eager=eager))
        except Exception as exc:
            outcome.append(exc)
            await client_end.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server)
        tasks.start_soon(client)
    return (said[0] if said else None), outcome[0]


async def welcome(server: Scripted) -> None:
    await server.send(WELCOME, {"code": "", "you": ALICE.public_key.raw})


@one_backend
async def test_the_scripted_peers_of_these_tests_are_let_in() -> None:
    static = generate_keypair()
    client, outcome = await with_scripted_client(static, await good_answer(static, more=[{"x": 1}]))
    assert secured(outcome).key == ALICE.public_key
    assert client is not None
    assert await client.receive() == (WELCOME, {"code": "", "you": ALICE.public_key.raw})
    assert set(msgpack.unpackb(client.payload)) == {"certificate", "suite", "limits"}
    server, outcome = await with_scripted_server(static, await good_offer(static, more=[{"x": 1}]), welcome)
    assert secured(outcome).key == SERVER.public_key
    assert server is not None
    assert set(msgpack.unpackb(server.payload)) == {"certificate", "peer", "limits"}


MakeCertificate = Callable[[Identity, bytes, Role, int], Awaitable[object]]


async def expired(identity: Identity, static: bytes, role: Role, now: int) -> object:
    return (await certify(identity, static, role, now - 86_400 + 298)).to_map()


async def early(identity: Identity, static: bytes, role: Role, now: int) -> object:
    return (await certify(identity, static, role, now + 360)).to_map()


async def of_the_other_role(identity: Identity, static: bytes, role: Role, now: int) -> object:
    return (await certify(identity, static, Role(1 - role), now)).to_map()


async def of_another_static(identity: Identity, static: bytes, role: Role, now: int) -> object:
    return (await certify(identity, generate_keypair().public, role, now)).to_map()


async def with_a_wrong_signature(identity: Identity, static: bytes, role: Role, now: int) -> object:
    certificate = await certify(identity, static, role, now)
    sshsig = certificate.sshsig[:-1] + bytes([certificate.sshsig[-1] ^ 1])
    return dataclasses.replace(certificate, sshsig=sshsig).to_map()


async def with_longer_times_than_signed(identity: Identity, static: bytes, role: Role, now: int) -> object:
    certificate = await certify(identity, static, role, now, 3_600)
    return dataclasses.replace(certificate, not_after=certificate.not_after + 1).to_map()


async def valid_too_long(identity: Identity, static: bytes, role: Role, now: int) -> object:
    certificate = await certify(identity, static, role, now)
    return dataclasses.replace(certificate, not_after=certificate.not_after + 1).to_map()


async def signed_by_another(identity: Identity, static: bytes, role: Role, now: int) -> object:
    """The blob names one key, and another one has signed."""
    mine, others = await certify(identity, static, role, now), await certify(MALLORY, static, role, now)
    sshsig = mine.sshsig.replace(identity.public_key.raw, MALLORY.public_key.raw)
    return dataclasses.replace(others, sshsig=sshsig).to_map()


def with_entry(name: str, value: object) -> MakeCertificate:
    async def make(identity: Identity, static: bytes, role: Role, now: int) -> object:
        return (await certify(identity, static, role, now)).to_map() | {name: value}

    make.__name__ = f"with_{name}_{value!r:.12}"
    return make


def without_entry(name: str) -> MakeCertificate:
    async def make(identity: Identity, static: bytes, role: Role, now: int) -> object:
        entries = (await certify(identity, static, role, now)).to_map()
        del entries[name]
        return entries

    make.__name__ = f"without_{name}"
    return make


def just(value: object) -> MakeCertificate:
    async def make(identity: Identity, static: bytes, role: Role, now: int) -> object:
        return value

    make.__name__ = f"just_{value!r:.12}"
    return make


NO_MAPS: list[object] = [None, {}, [], "text", 5, b"bytes"]
BAD_CERTIFICATES: list[MakeCertificate] = [
    expired,
    early,
    of_the_other_role,
    of_another_static,
    with_a_wrong_signature,
    with_longer_times_than_signed,
    valid_too_long,
    signed_by_another,
    *[with_entry(name, value) for name in ("not_before", "not_after") for value in (None, "1", 1.5, True, -1)],
    *[with_entry("sshsig", value) for value in (None, "text", b"", b"SSHSIG", bytes(1_024), bytes(1_025), [1])],
    *[without_entry(name) for name in ("not_before", "not_after", "sshsig")],
    *[just(value) for value in NO_MAPS],
]


@one_backend
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("make", BAD_CERTIFICATES, ids=lambda make: make.__name__)
async def test_a_certificate_that_does_not_certify_is_refused(make: MakeCertificate, role: Role) -> None:
    static = generate_keypair()
    identity = ALICE if role is Role.CLIENT else SERVER
    certificate = await make(identity, static.public, role, int(time.time()))
    if role is Role.CLIENT:
        peer, outcome = await with_scripted_client(static, await good_answer(static, certificate=certificate))
    else:
        peer, outcome = await with_scripted_server(static, await good_offer(static, certificate=certificate), welcome)
        assert peer is None, "the server learned who the client is"
    assert type(outcome) is HandshakeError


@one_backend
async def test_a_certificate_is_good_to_its_last_minutes() -> None:
    static = generate_keypair()
    certificate = await certify(ALICE, static.public, Role.CLIENT, int(time.time()) - 86_400 + 360)
    _, outcome = await with_scripted_client(static, await good_answer(static, certificate=certificate.to_map()))
    assert secured(outcome).key == ALICE.public_key


BAD_LIMITS: list[object] = [
    *[{name: value} for name, (least, most) in PEER_RANGES.items() for value in (least - 1, most + 1)],
    *[{"message_ends": value} for value in (0, -1, 1_000, 2**63, 1.0, "1", True, None, [1], b"\1")],
    [],
    "text",
    7,
    b"",
]


@one_backend
@pytest.mark.parametrize("limits", BAD_LIMITS, ids=lambda limits: f"{limits!r:.32}")
async def test_limits_that_are_none_are_refused(limits: object) -> None:
    static = generate_keypair()
    _, outcome = await with_scripted_client(static, await good_answer(static, limits=limits))
    assert type(outcome) is HandshakeError
    peer, outcome = await with_scripted_server(static, await good_offer(static, limits=limits), welcome)
    assert type(outcome) is HandshakeError
    assert peer is None


@one_backend
async def test_limits_that_are_not_said_are_the_defaults_and_unknown_ones_are_ignored() -> None:
    static = generate_keypair()
    for limits, expected in [
        (None, PeerLimits()),
        ({}, PeerLimits()),
        ({"later": "x"}, PeerLimits()),
        ({"stream_window": 1_024, "message_size": 1}, PeerLimits(stream_window=1_024, message_size=1)),
        ({"open_channels": 2**31 - 1}, PeerLimits(open_channels=2**31 - 1)),
        *[({name: end}, PeerLimits(**{name: end})) for name, ends in PEER_RANGES.items() for end in ends],
    ]:
        _, outcome = await with_scripted_client(static, await good_answer(static, limits=limits))
        assert secured(outcome).peer_limits == expected
        _, outcome = await with_scripted_server(static, await good_offer(static, limits=limits), welcome)
        assert secured(outcome).peer_limits == expected


BAD_PAYLOADS = {
    "empty": b"",
    "no map": packed([1]),
    "no msgpack": b"\xc1",
    "cut short": packed({"certificate": {}})[:-1],
    "followed by something": packed({}) + b"\0",
    "an empty map": packed({}),
    "lists in lists": b"\x91" * 3_000,
    "lists that claim to be long": b"\xdc\xff\xff" * 1_000,
    "a map that claims to be long": b"\xdf\xff\xff\xff\xff",
    "an unknown extension": packed(msgpack.ExtType(5, b"")),
    "keys of wrong types": packed({1: 2}),
}


@one_backend
@pytest.mark.parametrize("payload", BAD_PAYLOADS.values(), ids=BAD_PAYLOADS.keys())
async def test_a_payload_that_is_none_is_refused(payload: bytes) -> None:
    static = generate_keypair()
    _, outcome = await with_scripted_client(static, payload)
    assert type(outcome) is HandshakeError
    peer, outcome = await with_scripted_server(static, payload, welcome)
    assert type(outcome) is HandshakeError
    assert peer is None


@one_backend
async def test_a_message_over_4096_bytes_is_refused_though_its_payload_is_good() -> None:
    static = generate_keypair()
    answer, offer = await good_answer(static, more=bytes(4_096)), await good_offer(static, more=bytes(4_096))
    assert type((await with_scripted_client(static, answer))[1]) is HandshakeError
    assert type((await with_scripted_server(static, offer, welcome))[1]) is HandshakeError
    room = 4_096 - 64 - (len(answer) - 4_096) - 48
    answer = await good_answer(static, more=bytes(room))
    assert secured((await with_scripted_client(static, answer))[1]).key == ALICE.public_key


@one_backend
@pytest.mark.parametrize("suite", ["aegis256", None, "", 1, ["chachapoly"], b"chachapoly"])
async def test_a_suite_that_was_not_offered_is_refused(suite: object) -> None:
    static = generate_keypair()
    peer, outcome = await with_scripted_server(static, await good_offer(static, suite=suite), welcome)
    assert type(outcome) is HandshakeError
    assert peer is None


@one_backend
@pytest.mark.parametrize(
    "peer", [MALLORY.public_key.raw, None, b"", SERVER.public_key.raw[:-1], str(SERVER.public_key), 7]
)
async def test_a_client_that_believes_in_another_server_is_refused_before_it_is_looked_up(peer: object) -> None:
    static = generate_keypair()
    _, outcome = await with_scripted_client(static, await good_answer(static, peer=peer), admit=nobody)
    assert type(outcome) is HandshakeError


@one_backend
@pytest.mark.parametrize("header", [b"\xdc\x03\xff", b"\xdd\x00\x00\x03\xff"])
async def test_a_payload_that_claims_to_be_large_costs_no_memory(header: bytes) -> None:
    _, server_end = wires()
    server_end.feed(make_hello(offer=(header * 341)[:1_024]))
    credentials = Credentials(SERVER, Role.SERVER)
    tracemalloc.start()
    try:
        with pytest.raises(HandshakeError):
            await handshake_as_server(server_end, credentials, anybody, Limits())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 300_000  # it would be 341 lists of 1,023


# --- trust ----------------------------------------------------------------------------------------------


@one_backend
@pytest.mark.parametrize(("admit", "error"), [(wrong, WrongPeer), (nobody, UntrustedPeer)])
async def test_a_server_that_is_not_the_expected_one_learns_nothing_of_the_client(
    admit: Admit, error: type[Exception]
) -> None:
    client_end, server_end = wires()
    client, server = await Pair().handshake(client_end, server_end, client_admit=admit)
    assert type(client) is error
    assert type(server) is HandshakeError
    assert len(client_end.sent) == TO_MESSAGE_3


async def test_a_client_that_is_not_trusted_learns_it_from_a_server_that_is_authenticated(
    ends: tuple[ByteStream, ByteStream],
) -> None:
    client, server = await Pair().handshake(*ends, server_admit=nobody)
    for outcome in client, server:
        assert isinstance(outcome, UntrustedPeer)
        assert outcome.fingerprint == ALICE.public_key.fingerprint
        assert outcome.remote == (outcome is client)


@one_backend
async def test_a_refusal_is_a_refusal_and_a_close_record_and_an_end() -> None:
    static = generate_keypair()
    client, outcome = await with_scripted_client(static, await good_answer(static), admit=nobody)
    assert isinstance(outcome, UntrustedPeer)
    assert client is not None
    assert await client.receive() == (WELCOME, {"code": "untrusted", "you": ALICE.public_key.raw})
    assert await client.receive() == (CLOSE, {"code": "untrusted", "text": ""})
    with pytest.raises(anyio.EndOfStream):
        await client.receive()


@one_backend
async def test_a_refusing_server_reads_and_drops_whatever_the_client_has_sent() -> None:
    static = generate_keypair()
    after = os.urandom(500_000)
    client, outcome = await with_scripted_client(static, await good_answer(static), admit=nobody, after=after)
    assert isinstance(outcome, UntrustedPeer)
    assert client is not None
    assert isinstance(client.transport, Wire)
    assert not client.transport.other.buffer


async def test_a_refusing_server_waits_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secure, "REFUSAL", 0.05)
    static = generate_keypair()
    client_end, server_end = wires()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(speak_as_client, client_end, static, await good_answer(static))
        with pytest.raises(UntrustedPeer), anyio.fail_after(PATIENCE):
            await handshake_as_server(server_end, Credentials(SERVER, Role.SERVER), nobody, Limits())


async def test_an_eager_client_that_is_refused_finds_it_in_its_stream(ends: tuple[ByteStream, ByteStream]) -> None:
    client_end, server_end = ends
    pair = Pair()
    server_outcome: list[BaseException] = []

    async def server() -> None:
        try:
            await handshake_as_server(server_end, pair.server, nobody, Limits())
        except UntrustedPeer as exc:
            server_outcome.append(exc)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server)
        client = await handshake_as_client(client_end, pair.client, anybody, Limits(), eager=True)
        await client.stream.send(bytes(100_000))  # it crosses the refusal
        for _ in range(2):
            with pytest.raises(UntrustedPeer) as caught:
                await client.stream.receive()
            assert caught.value.fingerprint == ALICE.public_key.fingerprint
        await client.stream.aclose()
    assert len(server_outcome) == 1


# --- the welcome ----------------------------------------------------------------------------------------

YOU = ALICE.public_key.raw
BAD_WELCOMES: dict[str, tuple[int, object]] = {
    "another client": (WELCOME, {"code": "", "you": MALLORY.public_key.raw}),
    "no client": (WELCOME, {"code": ""}),
    "a client of another type": (WELCOME, {"code": "", "you": str(ALICE.public_key)}),
    "another client is refused": (WELCOME, {"code": "untrusted", "you": MALLORY.public_key.raw}),
    "no code": (WELCOME, {"you": YOU}),
    "a code that is no text": (WELCOME, {"code": 0, "you": YOU}),
    "a code that is nil": (WELCOME, {"code": None, "you": YOU}),
    "no map": (WELCOME, [1]),
    "no msgpack": (WELCOME, b"\xc1"),
    "empty": (WELCOME, b""),
    "data": (DATA, b"data"),
    "empty data": (DATA, b""),
    "close": (CLOSE, {"code": "", "text": ""}),
    "rekey": (REKEY, b""),
    "unknown": (77, b""),
}


@one_backend
@pytest.mark.parametrize("eager", [False, True], ids=["waiting", "eager"])
@pytest.mark.parametrize(("kind", "body"), BAD_WELCOMES.values(), ids=BAD_WELCOMES.keys())
async def test_a_first_record_that_is_no_welcome_ends_it_for_good(kind: int, body: object, eager: bool) -> None:
    async def play(server: Scripted) -> None:
        await server.send(kind, body)
        await welcome(server)  # too late
        await server.send(DATA, b"nothing of this is delivered")

    static = generate_keypair()
    _, outcome = await with_scripted_server(static, await good_offer(static), play, eager=eager)
    if not eager:
        assert type(outcome) is HandshakeError
        return
    for _ in range(3):
        with pytest.raises(HandshakeError) as caught:
            await secured(outcome).stream.receive()
        assert type(caught.value) is HandshakeError


@one_backend
@pytest.mark.parametrize("eager", [False, True], ids=["waiting", "eager"])
async def test_a_server_that_goes_instead_of_a_welcome_fails_the_handshake(eager: bool) -> None:
    static = generate_keypair()
    _, outcome = await with_scripted_server(static, await good_offer(static), eager=eager)
    if eager:
        with pytest.raises(HandshakeError):
            await secured(outcome).stream.receive()
    else:
        assert type(outcome) is HandshakeError


@one_backend
@pytest.mark.parametrize("eager", [False, True], ids=["waiting", "eager"])
async def test_a_busy_server_says_so(eager: bool) -> None:
    async def busy(server: Scripted) -> None:
        await server.send(WELCOME, {"code": "busy\n\x1b[2J", "you": YOU})

    static = generate_keypair()
    _, outcome = await with_scripted_server(static, await good_offer(static), busy, eager=eager)
    if eager:
        with pytest.raises(SessionClosed) as caught:
            await secured(outcome).stream.receive()
        outcome = caught.value
    assert isinstance(outcome, SessionClosed)
    assert outcome.code == r"busy\n\x1b[2J"  # as it may stand in a log


@one_backend
async def test_there_is_one_welcome_and_from_the_server() -> None:
    async def twice(server: Scripted) -> None:
        await welcome(server)
        await server.send(DATA, b"good")
        await welcome(server)
        await server.send(DATA, b"bad")

    static = generate_keypair()
    _, outcome = await with_scripted_server(static, await good_offer(static), twice)
    stream = secured(outcome).stream
    assert await stream.receive() == b"good"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            await stream.receive()
    client, outcome = await with_scripted_client(static, await good_answer(static))
    assert client is not None
    await client.send(WELCOME, {"code": "", "you": SERVER.public_key.raw})
    with pytest.raises(RemoteProtocolError):
        await secured(outcome).stream.receive()


# --- credentials ----------------------------------------------------------------------------------------


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        monkeypatch.setattr(secure, "time", self)

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@one_backend
async def test_static_key_and_certificate_are_made_afresh_at_half_of_its_life(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    credentials = Credentials(ALICE, Role.CLIENT)
    first = await credentials.current()
    clock.now += 12 * 3600 - 301
    assert await credentials.current() is first
    clock.now += 2
    second = await credentials.current()
    assert second[0].public != first[0].public
    assert second[1].verify(second[0].public, Role.CLIENT, int(clock.now)) == ALICE.public_key


@one_backend
async def test_they_are_made_afresh_when_the_clock_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    credentials = Credentials(ALICE, Role.CLIENT)
    first = await credentials.current()
    clock.now -= 299
    assert await credentials.current() is first
    clock.now -= 2
    second = await credentials.current()
    assert second[1].verify(second[0].public, Role.CLIENT, int(clock.now)) == ALICE.public_key


class SlowSigner:
    """An identity whose holder takes its time."""

    def __init__(self) -> None:
        self.asked = 0
        self.asked_event = anyio.Event()
        self.go = anyio.Event()
        self.identity = Identity(ALICE.public_key, self.sign)

    async def sign(self, data: bytes) -> bytes:
        self.asked += 1
        self.asked_event.set()
        await self.go.wait()
        return await ALICE.sign(data)


async def test_many_who_wait_for_a_signature_cause_one() -> None:
    signer = SlowSigner()
    credentials = Credentials(signer.identity, Role.SERVER)
    got: list[tuple[KeyPair, Certificate]] = []

    async def ask() -> None:
        got.append(await credentials.current())

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)
        await signer.asked_event.wait()
        signer.go.set()
    assert signer.asked == 1
    assert len(got) == 10
    assert all(each is got[0] for each in got)


async def test_one_who_gives_up_waiting_for_a_signature_leaves_it_to_the_next() -> None:
    signer = SlowSigner()
    credentials = Credentials(signer.identity, Role.SERVER)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(credentials.current)
        await signer.asked_event.wait()
        tasks.cancel_scope.cancel()
    signer.go.set()
    assert (await credentials.current())[1].sshsig
    assert signer.asked == 2


async def test_what_a_signer_raises_is_raised_and_forgotten() -> None:
    problems: list[Exception] = [RuntimeError("the agent is locked")]

    async def sign(data: bytes) -> bytes:
        if problems:
            raise problems.pop()
        return await ALICE.sign(data)

    credentials = Credentials(Identity(ALICE.public_key, sign), Role.CLIENT)
    with pytest.raises(RuntimeError, match="locked"):
        await credentials.current()
    assert (await credentials.current())[1].sshsig


@one_backend
async def test_no_secret_stands_in_any_representation() -> None:
    pair = Pair()
    client_end, server_end = wires()
    client, server = map(secured, await pair.handshake(client_end, server_end))
    static, certificate = await pair.client.current()
    secrets: list[bytes | None] = [static.private]
    keys = [side.stream._keys for side in (client, server)]
    secrets += [state.k for each in keys for state in (each._sending, each._receiving)]
    secrets += [side.stream.secrets.exporter_secret for side in (client, server)]
    shown = " ".join(map(repr, [pair.client, static, certificate, client, server, client.stream, ALICE]))
    shown += " ".join(map(str, [client, server]))
    for secret in secrets:
        assert secret is not None
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


# --- records --------------------------------------------------------------------------------------------


def link(piece: int = 65_536) -> tuple[NoiseStream, NoiseStream, Wire, Wire]:
    """Two joined `NoiseStream` objects, and the wires under them."""
    one, two = wires(piece)
    secrets = Secrets(*(os.urandom(32) for _ in range(4)))
    return stream_over(one, secrets, True), stream_over(two, secrets, False), one, two


def stream_over(transport: ByteStream, secrets: Secrets | None = None, client_side: bool = True) -> NoiseStream:
    secrets = secrets or Secrets(*(os.urandom(32) for _ in range(4)))
    buffers = loop_buffers()
    keys = RecordKeys(
        secrets, suites.suite("chachapoly"), client_side=client_side, now=clock.now(), plain=buffers.plain
    )
    return NoiseStream(transport, keys, secrets, buffers)


async def received(stream: NoiseStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive()
    return data


SIZES = [0, 1, 2, *range(65_517, 65_521), 2 * FULL_BODY, 2 * FULL_BODY + 1, 1_048_576]


@pytest.mark.parametrize("piece", [7_919, 300_000])
@pytest.mark.parametrize("size", SIZES)
async def test_data_passes_byte_exact_in_as_few_records_as_possible(size: int, piece: int) -> None:
    left, right, wire, _ = link(piece)
    data = os.urandom(size)
    await left.send(data)
    assert await received(right, size) == data
    assert len(wire.sent) == size + -(-size // FULL_BODY) * 19
    await left.send(b"next")
    assert await right.receive() == b"next"


@one_backend
@pytest.mark.parametrize("size", [1, 1_000, FULL_BODY + 1])
async def test_data_passes_a_transport_that_delivers_single_bytes(size: int) -> None:
    left, right, *_ = link(piece=1)
    data = os.urandom(size)
    await left.send(data)
    assert await received(right, size) == data


@one_backend
async def test_many_small_records_in_one_piece_are_received_one_by_one() -> None:
    left, right, _, wire = link(piece=1_000_000)
    bodies = [os.urandom(n % 7) for n in range(1_000)]
    for body in bodies:
        await left.send(body)
    assert [await right.receive() for body in bodies if body] == [body for body in bodies if body]
    assert not wire.buffer


@one_backend
async def test_empty_data_records_are_nothing() -> None:
    left, right, *_ = link()
    await left.send_record(DATA, b"")
    await left.send_record(DATA, b"x")
    await left.send_record(DATA, b"")
    await left.send_close("")
    assert await right.receive() == b"x"
    with pytest.raises(anyio.EndOfStream):
        await right.receive()


async def test_a_flood_of_empty_data_records_ends_it() -> None:
    left, right, *_ = link()
    await left.send(b"x")
    for _ in range(300):
        await left.send_record(DATA, b"")
    assert await right.receive() == b"x"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="empty"):
            await right.receive()


@pytest.mark.parametrize("max_bytes", [1, 3, FULL_BODY - 1])
async def test_a_receiver_may_ask_for_less_than_a_record(max_bytes: int) -> None:
    left, right, *_ = link()
    data = os.urandom(1_000 if max_bytes < 1_000 else 2 * FULL_BODY)
    await left.send(data)
    await left.send_eof()
    got = []
    with pytest.raises(anyio.EndOfStream):
        while True:
            got.append(await right.receive(max_bytes))
    assert b"".join(got) == data
    assert max(map(len, got)) == max_bytes


@one_backend
@pytest.mark.parametrize("max_bytes", [0, -1])
async def test_a_receiver_must_ask_for_something(max_bytes: int) -> None:
    left, right, *_ = link()
    await left.send(b"data")
    with pytest.raises(ValueError, match="max_bytes"):
        await right.receive(max_bytes)
    assert await right.receive() == b"data"


@one_backend
async def test_what_was_received_before_a_bad_record_can_still_be_taken() -> None:
    left, right, _, other = link()
    await left.send(b"good")
    other.feed(prefixed(bytes(40)))
    assert await right.receive(1) == b"g"
    assert await right.receive() == b"ood"
    with pytest.raises(RemoteProtocolError):
        await right.receive()


async def records_of(left: NoiseStream, wire: Wire, bodies: list[bytes]) -> list[bytes]:
    """The records that carry these bodies."""
    records = []
    for body in bodies:
        at = len(wire.sent)
        await left.send(body)
        records.append(bytes(wire.sent[at:]))
    return records


def tampered(records: list[bytes], foreign: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Ways to change four records after the first one; nothing but that one may be delivered."""
    one, two, three, four = records
    for at in range(2, len(two)):
        yield f"byte {at} flipped", [one, two[:at] + bytes([two[at] ^ 0x80]) + two[at + 1 :], three, four]
    yield "swapped", [one, three, two, four]
    yield "repeated", [one, one, two, three, four]
    yield "dropped", [one, three, four]
    yield "cut by a byte", [one, prefixed(two[2:-1]), three, four]
    yield "longer by a byte", [one, prefixed(two[2:] + b"\0"), three, four]
    yield "of the other direction", [one, foreign, two, three]
    yield "without a tag", [one, prefixed(b""), two, three]
    yield "shorter than a tag", [one, prefixed(bytes(15)), two, three]
    yield "nothing but zeros", [one, prefixed(bytes(65_535)), two, three]


@one_backend
async def test_nothing_is_delivered_after_a_record_that_is_not_the_next_one() -> None:
    for number in range(1_000):
        left, right, wire, other = link()
        other.edit = lambda at, data: b""
        await right.send(b"backwards")
        wire.edit = lambda at, data: b""
        records = await records_of(left, wire, [b"first", b"second", b"third", b"fourth"])
        cases = list(tampered(records, bytes(other.sent)))
        if number >= len(cases):
            break
        name, changed = cases[number]
        other.feed(b"".join(changed))
        assert await right.receive() == b"first"
        for _ in range(3):
            with pytest.raises(RemoteProtocolError):
                pytest.fail(f"{name}: {await right.receive()!r} was delivered")
    assert number > 30


@one_backend
@pytest.mark.parametrize("cut", [1, 2, 3, 20, 24])
async def test_a_record_that_is_cut_off_by_the_end_is_a_loss(cut: int) -> None:
    left, right, wire, other = link()
    wire.edit = lambda at, data: b""
    first, second = await records_of(left, wire, [b"first", b"second"])
    other.feed(first + second[:cut])
    other.end()
    assert await right.receive() == b"first"
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            await right.receive()


async def test_the_end_of_the_connection_is_never_the_end_of_the_stream() -> None:
    left, right, wire, _ = link()
    await left.send(b"data")
    await wire.aclose()
    assert await right.receive() == b"data"
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            await right.receive()


@one_backend
async def test_a_broken_connection_is_a_loss() -> None:
    left, right, _, other = link()
    await other.aclose()
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            await right.receive()
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            await left.send(b"data")


@one_backend
@pytest.mark.parametrize("kind", [REKEY, WELCOME, 4, 255])
async def test_a_record_of_another_kind_ends_it(kind: int) -> None:
    left, right, *_ = link()
    await left.send(b"first")
    await left.send_record(kind, b"")
    await left.send(b"last")
    assert await right.receive() == b"first"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            await right.receive()


@one_backend
async def test_a_record_without_a_kind_ends_it() -> None:
    left, right, _, other = link()
    other.feed(prefixed(left._keys._sending.encrypt_with_ad(b"", b"")))
    await left.send(b"last")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="empty"):
            await right.receive()


@one_backend
@pytest.mark.parametrize("body", [b"", b"\xc1", packed([]), packed("code")])
async def test_a_malformed_close_record_is_no_end_and_nothing_follows_it(body: bytes) -> None:
    left, right, *_ = link()
    await left.send_record(CLOSE, body)
    await left.send(b"more")
    await left.send_close("")
    for _ in range(3):
        with pytest.raises(RemoteProtocolError):
            await right.receive()


@one_backend
async def test_nothing_is_delivered_after_a_close_record() -> None:
    left, right, *_ = link()
    await left.send_record(CLOSE, packed({"code": "done"}))
    await left.send(b"more")
    for _ in range(2):
        with pytest.raises(anyio.EndOfStream):
            await right.receive()
    assert right.peer_close == ("done", "")


@one_backend
async def test_the_words_of_a_close_record_are_cut_and_fit_for_a_log() -> None:
    left, right, *_ = link()
    await left.send_record(CLOSE, packed({"code": "a\nword", "text": "two\nlines\x1b[31m" + "x" * 1_000}))
    with pytest.raises(anyio.EndOfStream):
        await right.receive()
    code, text = right.peer_close
    assert code == r"a\nword"
    assert text.startswith(r"two\nlines\x1b[31mxxx")
    assert len(text) == 256


# --- sending --------------------------------------------------------------------------------------------


class Stuck(Wire):
    """A connection that takes nothing."""

    async def send(self, item: bytes) -> None:
        await anyio.sleep_forever()


def stuck() -> Stuck:
    end = Stuck(1, True)
    end.other = Stuck(1, True)
    return end


async def test_after_a_cancelled_send_nothing_more_is_sent() -> None:
    transport = stuck()
    stream = stream_over(transport)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.send, b"data")
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            await stream.send(b"more")
    with pytest.raises(ConnectionLost):
        await stream.send_eof()
    await stream.aclose()  # says nothing, and does not wait
    assert transport.closed


async def test_closing_by_force_does_not_wait_for_a_stuck_connection() -> None:
    transport = stuck()
    stream = stream_over(transport)
    with anyio.fail_after(PATIENCE):
        await anyio.aclose_forcefully(stream)
    assert transport.closed


@one_backend
async def test_ending_twice_ends_once_and_nothing_is_sent_afterwards() -> None:
    left, right, wire, _ = link()
    await left.send_eof()
    sent = bytes(wire.sent)
    await left.send_eof()
    with pytest.raises(ConnectionLost):
        await left.send(b"more")
    await left.aclose()
    assert bytes(wire.sent) == sent
    assert wire.closed
    with pytest.raises(anyio.EndOfStream):
        await right.receive()


@one_backend
async def test_closing_says_goodbye_and_the_other_half_is_still_read() -> None:
    left, right, wire, _ = link()
    await left.send_close("enough")
    assert wire.half_closed
    await right.send(b"one more thing")
    assert await left.receive() == b"one more thing"
    await right.aclose()
    with pytest.raises(anyio.EndOfStream):
        await left.receive()


@one_backend
@pytest.mark.parametrize(
    "problem", [anyio.BrokenResourceError(), OSError(107, "not connected"), RuntimeError("closed")]
)
async def test_a_connection_that_breaks_at_the_very_end_is_a_loss_and_nothing_else(problem: Exception) -> None:
    left, _, wire, _ = link()

    async def send_eof() -> None:
        raise problem

    wire.send_eof = send_eof  # type: ignore[method-assign]
    with pytest.raises(ConnectionLost):
        await left.send_close("")
    await left.aclose()
    assert wire.closed


@one_backend
async def test_a_peer_that_is_gone_does_not_keep_from_closing() -> None:
    left, _, wire, other = link()
    await other.aclose()
    await left.aclose()
    assert wire.closed


@one_backend
async def test_a_record_that_is_too_long_is_not_sent() -> None:
    left, right, wire, _ = link()
    with pytest.raises(Exception, match="does not fit"):
        await left.send_record(DATA, bytes(FULL_BODY + 1))
    assert not wire.sent
    await left.send_record(DATA, bytes(FULL_BODY))
    assert len(await right.receive()) == FULL_BODY


@one_backend
async def test_attributes_of_the_connection_can_be_asked_for() -> None:
    one, two = socket.socketpair()
    with two:
        stream = await anyio.abc.UNIXSocketStream.from_socket(one)
        secure_stream = stream_over(stream)
        assert secure_stream.extra(anyio.abc.SocketAttribute.family) == socket.AF_UNIX
        await anyio.aclose_forcefully(secure_stream)
