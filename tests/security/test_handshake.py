"""Who may pass the handshake, and what it makes of a network that lies (protocol sections 1 and 2)."""

import os
from collections.abc import Callable

import anyio
import msgpack
import pytest
from anyio.abc import ByteStream

from chanlink import HandshakeError, Limits, UntrustedPeer, WrongPeer
from chanlink.features import FEATURES
from chanlink.limits import PeerLimits
from chanlink.security import handshake_server as accepting
from chanlink.security.handshake import Admit, handshake_as_client
from chanlink.security.handshake_server import handshake_as_server
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.trust import Grant
from chanlink.security.noise.x25519 import generate_keypair
from chanlink.security.statics import Statics
from tests.patience import PATIENCE

from .handshakes import (
    ALICE,
    SERVER,
    TO_MESSAGE_3,
    Pair,
    anybody,
    authenticated,
    good_answer,
    nobody,
    one_backend,
    with_scripted_client,
    wrong,
)
from .wires import (
    CLOSE,
    HELLO,
    WELCOME,
    Edit,
    Wire,
    flipped,
    inserted,
    make_hello,
    prefixed,
    removed,
    speak_as_client,
    wires,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]


# --- the handshake: who is who --------------------------------------------------------------------------


async def test_both_sides_learn_who_the_other_is_and_what_it_accepts(ends: tuple[ByteStream, ByteStream]) -> None:
    limits = Limits(message_size=1_000, message_depth=3), Limits(open_channels=7, stream_window=2_048, message_ends=2)
    client, server = map(authenticated, await Pair().handshake(*ends, limits=limits))
    assert (client.key, server.key) == (SERVER.public_key, ALICE.public_key)
    assert server.peer_limits == PeerLimits(message_size=1_000, message_depth=3)
    assert client.peer_limits == PeerLimits(open_channels=7, stream_window=2_048, message_ends=2)
    assert client.grant == server.grant == Grant("somebody", None)
    assert 0 < client.round_trip < 10
    assert 0 < server.round_trip < 10


async def test_a_feature_is_agreed_when_both_sides_list_it(ends: tuple[ByteStream, ByteStream]) -> None:
    client, server = map(authenticated, await Pair().handshake(*ends, features=(["a", "b", "c"], {"c", "a", "x"})))
    assert client.features == server.features == {"a", "c"}


@pytest.mark.parametrize("features", [((), FEATURES), (FEATURES, ())])
async def test_there_are_none_with_a_side_that_lists_none(features: tuple[frozenset[str], frozenset[str]]) -> None:
    client, server = map(authenticated, await Pair().handshake(*wires(), features=features))
    assert client.features == server.features == frozenset()


async def test_bytes_pass_both_ways_after_it_and_end_in_order(ends: tuple[ByteStream, ByteStream]) -> None:
    client, server = [authenticated(outcome).stream for outcome in await Pair().handshake(*ends)]
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
    client, server = [authenticated(outcome).stream for outcome in await Pair().handshake(*ends, eager=True)]
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
    assert authenticated(server).key == ALICE.public_key
    assert len(server_end.buffer) == 100_000


# --- the handshake: a network that lies -----------------------------------------------------------------


async def lengths_of_a_handshake(pair: Pair) -> tuple[int, int]:
    """How many bytes each side sends for a good handshake, its records not counted."""
    client_end, server_end = wires()
    client, _ = map(authenticated, await pair.handshake(client_end, server_end))
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
            await authenticated(client).stream.receive()


@one_backend
async def test_a_recorded_client_is_not_let_in_again() -> None:
    pair = Pair()
    client_end, server_end = wires()
    authenticated((await pair.handshake(client_end, server_end))[1])
    _, fresh = wires()
    fresh.feed(bytes(client_end.sent))
    with pytest.raises(HandshakeError, match="authentication"):
        await handshake_as_server(fresh, pair.server, anybody, Limits())


@one_backend
async def test_a_recorded_server_is_not_believed() -> None:
    pair = Pair()
    client_end, server_end = wires()
    authenticated((await pair.handshake(client_end, server_end))[0])
    _, fresh = wires()
    fresh.feed(bytes(server_end.sent))
    with pytest.raises(HandshakeError, match="authentication"):
        await handshake_as_client(fresh, pair.client, anybody, Limits())
    assert len(fresh.sent) == TO_MESSAGE_3


@one_backend
async def test_reflected_messages_are_not_believed() -> None:
    client_end = mirror(after=len(HELLO))
    with pytest.raises(HandshakeError):
        await handshake_as_client(client_end, Statics(ALICE, Role.CLIENT), anybody, Limits())
    server_end = mirror()
    server_end.feed(HELLO + prefixed(generate_keypair().public))
    with pytest.raises(HandshakeError):
        await handshake_as_server(server_end, Statics(SERVER, Role.SERVER), anybody, Limits())


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
        await handshake_as_server(server_end, Statics(SERVER, Role.SERVER), anybody, Limits())
    assert not server_end.sent


@one_backend
async def test_offers_have_room_for_more() -> None:
    hello = make_hello(offer={"pattern": "XX", "suites": ["later", "chachapoly"], "more": {"x": [1, None]}})
    static = generate_keypair()
    _, outcome = await with_scripted_client(static, await good_answer(static), hello=hello)
    assert authenticated(outcome).key == ALICE.public_key


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
        await handshake_as_server(server_end, Statics(SERVER, Role.SERVER), anybody, Limits())
    assert len(server_end.buffer) == len(start) + 100_000 - taken


@one_backend
@pytest.mark.parametrize("message", [b"", bytes(31), bytes(32), b"\xff" * 32, bytes([1]) + bytes(31)])
async def test_a_first_message_without_a_good_key_is_refused(message: bytes) -> None:
    _, server_end = wires()
    server_end.feed(HELLO + prefixed(message))
    with pytest.raises(HandshakeError):
        await handshake_as_server(server_end, Statics(SERVER, Role.SERVER), anybody, Limits())
    assert not server_end.sent


@one_backend
async def test_a_first_message_with_a_payload_is_refused() -> None:
    static = generate_keypair()
    _, outcome = await with_scripted_client(static, await good_answer(static), first=b"more")
    assert type(outcome) is HandshakeError


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
    monkeypatch.setattr(accepting, "REFUSAL", 0.05)
    static = generate_keypair()
    client_end, server_end = wires()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(speak_as_client, client_end, static, await good_answer(static))
        with pytest.raises(UntrustedPeer), anyio.fail_after(PATIENCE):
            await handshake_as_server(server_end, Statics(SERVER, Role.SERVER), nobody, Limits())


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


# --- what stands in logs ---------------------------------------------------------------------------------


@one_backend
async def test_no_secret_stands_in_any_representation() -> None:
    pair = Pair()
    client_end, server_end = wires()
    client, server = map(authenticated, await pair.handshake(client_end, server_end))
    static, certificate = await pair.client.current()
    secrets: list[bytes | None] = [static.private]
    keys = [side.stream._keys for side in (client, server)]
    secrets += [state.k for each in keys for state in (each._sending, each._receiving)]
    secrets += [side.stream._secrets.exporter_secret for side in (client, server)]
    shown = " ".join(map(repr, [pair.client, static, certificate, client, server, client.stream, ALICE]))
    shown += " ".join(map(str, [client, server]))
    for secret in secrets:
        assert secret is not None
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
