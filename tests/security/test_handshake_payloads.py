"""What a handshake makes of the payloads of its messages: certificates, limits, suites, and what is none of them."""

import dataclasses
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import msgpack
import pytest

from chanlink import HandshakeError, Identity, Limits
from chanlink.features import TOP_LEVEL_DRAIN
from chanlink.limits import PEER_RANGES, PeerLimits
from chanlink.security.handshake_server import handshake_as_server
from chanlink.security.keys.certificate import Role, certify
from chanlink.security.noise.x25519 import generate_keypair
from chanlink.security.statics import Statics

from .handshakes import (
    ALICE,
    MALLORY,
    SERVER,
    anybody,
    authenticated,
    good_answer,
    good_offer,
    nobody,
    one_backend,
    packed,
    welcome,
    with_scripted_client,
    with_scripted_server,
)
from .wires import WELCOME, make_hello, wires

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]


@one_backend
async def test_the_scripted_peers_of_these_tests_are_let_in() -> None:
    static = generate_keypair()
    client, outcome = await with_scripted_client(static, await good_answer(static, more=[{"x": 1}]))
    assert authenticated(outcome).key == ALICE.public_key
    assert client is not None
    assert await client.receive() == (WELCOME, {"code": "", "you": ALICE.public_key.raw})
    assert set(msgpack.unpackb(client.payload)) == {"certificate", "suite", "limits", "features"}
    server, outcome = await with_scripted_server(static, await good_offer(static, more=[{"x": 1}]), welcome)
    assert authenticated(outcome).key == SERVER.public_key
    assert server is not None
    assert set(msgpack.unpackb(server.payload)) == {"certificate", "peer", "limits", "features"}


MakeCertificate = Callable[[Identity, bytes, Role, int], Awaitable[object]]


async def expired(identity: Identity, static: bytes, role: Role, now: int) -> object:
    return (await certify(identity, static, role, now - 86_400 + 298)).to_map()


async def early(identity: Identity, static: bytes, role: Role, now: int) -> object:
    return (await certify(identity, static, role, now + 360)).to_map()


async def of_the_other_role(identity: Identity, static: bytes, role: Role, now: int) -> object:
    return (await certify(identity, static, Role((role + 1) % len(Role)), now)).to_map()


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
    assert authenticated(outcome).key == ALICE.public_key


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
        assert authenticated(outcome).peer_limits == expected
        _, outcome = await with_scripted_server(static, await good_offer(static, limits=limits), welcome)
        assert authenticated(outcome).peer_limits == expected


FEATURES_OF_A_PEER: list[tuple[object, set[str]]] = [
    (None, set()),  # as version 0.1 says
    ([], set()),
    (["later", "", "x" * 3_000], set()),
    ([TOP_LEVEL_DRAIN], {TOP_LEVEL_DRAIN}),
    (["later", TOP_LEVEL_DRAIN, TOP_LEVEL_DRAIN], {TOP_LEVEL_DRAIN}),
    ([TOP_LEVEL_DRAIN.upper(), TOP_LEVEL_DRAIN + "\0"], set()),
    (["a"] * 256, set()),
]


@one_backend
@pytest.mark.parametrize(("said", "expected"), FEATURES_OF_A_PEER, ids=lambda value: f"{value!r:.32}")
async def test_features_that_both_sides_list_are_agreed_and_others_are_ignored(
    said: object, expected: set[str]
) -> None:
    static = generate_keypair()
    _, outcome = await with_scripted_client(static, await good_answer(static, features=said))
    assert authenticated(outcome).features == expected
    _, outcome = await with_scripted_server(static, await good_offer(static, features=said), welcome)
    assert authenticated(outcome).features == expected


@one_backend
@pytest.mark.parametrize("features", [{}, "top-level-drain", [b"top-level-drain"], [["a"]], ["a"] * 257, 1, b""])
async def test_features_that_are_none_are_refused(features: object) -> None:
    static = generate_keypair()
    _, outcome = await with_scripted_client(static, await good_answer(static, features=features))
    assert type(outcome) is HandshakeError
    _, outcome = await with_scripted_server(static, await good_offer(static, features=features), welcome)
    assert type(outcome) is HandshakeError


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
    assert authenticated((await with_scripted_client(static, answer))[1]).key == ALICE.public_key


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
    statics = Statics(SERVER, Role.SERVER)
    tracemalloc.start()
    try:
        with pytest.raises(HandshakeError):
            await handshake_as_server(server_end, statics, anybody, Limits())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 300_000  # it would be 341 lists of 1,023
