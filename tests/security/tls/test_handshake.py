"""The handshake in TLS: who is let in, and what is refused (protocol section 18)."""

import dataclasses
import datetime
import os
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import msgpack
import pytest
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from chanlink import ConnectFailed, HandshakeError, Limits, SessionClosed, UntrustedPeer, WrongPeer
from chanlink.features import FEATURES
from chanlink.security.handshake import handshake_as_client
from chanlink.security.handshake_server import handshake_as_server
from chanlink.security.keys.certificate import Role, certify
from chanlink.security.statics import Statics
from chanlink.security.tls import handshake
from chanlink.security.tls.certificate import NAMESPACE, OID, TlsKey, client_context, read_certificate
from chanlink.security.tls.stream import finished_of
from chanlink.transport.tls import TlsTransport
from tests.security.handshakes import ALICE, MALLORY, SERVER, anybody, authenticated, nobody, one_backend, wrong
from tests.security.wires import wires

from .peers import Pair, as_server, both, good_answer, in_tls, loaded, own, packed, with_client, with_server

pytestmark = pytest.mark.anyio
Ends = tuple[ByteStream, ByteStream]
NOW = int(time.time())
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


async def test_both_sides_learn_who_the_other_is_and_what_it_accepts(ends: Ends) -> None:
    client, server = map(authenticated, await Pair().handshake(*ends))
    assert (client.key, server.key) == (SERVER.public_key, ALICE.public_key)
    assert client.features == server.features == FEATURES
    assert client.peer_limits == server.peer_limits
    assert client.round_trip > 0
    assert server.round_trip > 0
    assert client.stream.suite == server.stream.suite
    assert client.stream.suite.startswith("TLS_")
    await client.stream.send(b"to the server")
    assert await server.stream.receive() == b"to the server"
    await server.stream.send(b"to the client")
    assert await client.stream.receive() == b"to the client"


@one_backend
async def test_two_sessions_have_the_same_id_at_both_ends_and_no_other_one() -> None:
    pair = Pair()
    one, other = [map(authenticated, await pair.handshake(*wires())) for _ in range(2)]
    (first, same), (second, _) = [[side.stream.id for side in sides] for sides in (one, other)]
    assert first == same != second
    assert len(first) == 16


@one_backend
async def test_a_server_that_is_not_the_expected_one_learns_nothing_of_the_client() -> None:
    client, server = await Pair().handshake(*wires(), client=wrong)
    assert isinstance(client, WrongPeer)
    assert isinstance(server, HandshakeError)


@one_backend
async def test_a_client_that_is_not_trusted_is_told_so() -> None:
    client, server = await Pair().handshake(*wires(), server=nobody)
    assert isinstance(client, UntrustedPeer)
    assert isinstance(server, UntrustedPeer)
    assert str(ALICE.public_key) in str(client)


@one_backend
async def test_there_is_no_early_data_no_ticket_and_no_older_tls() -> None:
    client_end, server_end = wires()
    pair = Pair()
    _, context = await pair.server.server_context()
    seen: list[Any] = []

    async def speak() -> None:
        client = await in_tls(client_end, pair.client.client_context, server_side=False)
        await client.send(b"x")
        assert await client.receive() == b"y"
        seen.append(client.extra(TLSAttribute.ssl_object).session)

    async def answer() -> None:
        server = await in_tls(server_end, context, server_side=True)
        assert await server.receive() == b"x"
        await server.send(b"y")

    assert await both((client_end, speak()), (server_end, answer())) == (None, None)
    (session,) = seen
    assert session is None or not session.has_ticket
    for made in (context, pair.client.client_context):
        assert made.minimum_version == ssl.TLSVersion.TLSv1_3


# --- servers ------------------------------------------------------------------------------------


def made_certificate(key: Any, *extensions: tuple[str, bytes]) -> bytes:
    """A key and a certificate of it, in PEM."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    times = x509.CertificateBuilder().not_valid_before(_day(2026, 1)).not_valid_after(_day(2036, 1))
    builder = times.subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    for oid, value in extensions:
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical=False)
    made = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return bytes(key.private_bytes(PEM, PKCS8, serialization.NoEncryption()) + made.public_bytes(PEM))


def _day(year: int, month: int) -> Any:
    return datetime.datetime(year, month, 1, tzinfo=datetime.UTC)


async def extension_of(key: TlsKey, **changes: Any) -> bytes:
    """What a server's certificate says, signed as ``changes`` say."""
    said = {"by": SERVER, "hash": key.hash, "role": Role.SERVER, "at": NOW, "namespace": NAMESPACE} | changes
    certificate = await certify(said["by"], said["hash"], said["role"], said["at"], namespace=said["namespace"])
    if "life" in changes:
        certificate = dataclasses.replace(certificate, not_after=certificate.not_before + changes["life"])
    packed: bytes = msgpack.packb({"certificate": certificate.to_map()} | changes.get("more", {}))
    return packed


BAD_SIGNATURES: dict[str, tuple[dict[str, Any], str]] = {
    "of another key": ({"hash": os.urandom(32)}, "for another key, role or time"),
    "of a client": ({"role": Role.CLIENT}, "for another key, role or time"),
    "of a prekey": ({"role": Role.PREKEY}, "for another key, role or time"),
    "of noise": ({"namespace": b"chanlink-static-v1"}, "can't be read"),
    "expired": ({"at": NOW - 90_000}, "expired"),
    "of the future": ({"at": NOW + 3_600}, "not valid yet"),
    "for two days": ({"life": 2 * 86_400}, "more than a day"),
    "of another time": ({"life": 86_399}, "for another key, role or time"),
    "a limit that is none": ({"more": {"limits": {"stream_window": 1}}}, "stream_window"),
}


@one_backend
@pytest.mark.parametrize("case", BAD_SIGNATURES)
async def test_an_extension_that_does_not_hold_is_refused_and_the_server_hears_nothing(
    case: str, tmp_path: Path
) -> None:
    changes, why = BAD_SIGNATURES[case]
    key = TlsKey.generate()
    pem = made_certificate(key.private, (OID, await extension_of(key, **changes)))
    outcome, heard = await with_server(*wires(), loaded(pem, folder=tmp_path))
    assert isinstance(outcome, HandshakeError)
    assert why in str(outcome)
    assert heard == b""


@one_backend
async def test_whoever_has_signed_for_the_key_is_who_the_server_is(tmp_path: Path) -> None:
    key = TlsKey.generate()
    pem = made_certificate(key.private, (OID, await extension_of(key, by=MALLORY)))
    client_end, server_end = wires()
    seen = []

    def admit(presented: Any) -> Any:
        seen.append(presented.key)
        return wrong(presented)

    async def serve() -> None:
        await in_tls(server_end, loaded(pem, folder=tmp_path), server_side=True)

    client = handshake.as_client(client_end, own(ALICE, Role.CLIENT), admit)
    outcome, _ = await both((client_end, client), (server_end, serve()))
    assert isinstance(outcome, WrongPeer)
    assert seen == [MALLORY.public_key]


BAD_CERTIFICATES: dict[str, tuple[Callable[[], bytes], str]] = {
    "no extension": (lambda: made_certificate(ed25519.Ed25519PrivateKey.generate()), "says nothing of an identity"),
    "another extension": (
        lambda: made_certificate(ed25519.Ed25519PrivateKey.generate(), ("2.25.1", b"\x80")),
        "says nothing of an identity",
    ),
    "no map": (lambda: made_certificate(ed25519.Ed25519PrivateKey.generate(), (OID, b"\x90")), "malformed payload"),
    "nothing in it": (lambda: made_certificate(ed25519.Ed25519PrivateKey.generate(), (OID, b"")), "malformed payload"),
    "an empty map": (lambda: made_certificate(ed25519.Ed25519PrivateKey.generate(), (OID, b"\x80")), "no certificate"),
    "too long": (
        lambda: made_certificate(ed25519.Ed25519PrivateKey.generate(), (OID, bytes(8_193))),
        "extension of the server's certificate is too long",
    ),
    "a key of another kind": (
        lambda: made_certificate(ec.generate_private_key(ec.SECP256R1()), (OID, b"\x80")),
        "not of an Ed25519 key",
    ),
}


@one_backend
@pytest.mark.parametrize("case", BAD_CERTIFICATES)
async def test_a_certificate_without_a_good_extension_is_refused(case: str, tmp_path: Path) -> None:
    make, why = BAD_CERTIFICATES[case]
    outcome, heard = await with_server(*wires(), loaded(make(), folder=tmp_path))
    assert isinstance(outcome, HandshakeError)
    assert why in str(outcome)
    assert heard == b""


@one_backend
async def test_of_several_certificates_only_the_first_one_counts(tmp_path: Path) -> None:
    key = TlsKey.generate()
    good = made_certificate(key.private, (OID, await extension_of(key)))
    bad = made_certificate(ed25519.Ed25519PrivateKey.generate())
    other = bad[bad.index(b"-----BEGIN CERT") :], good[good.index(b"-----BEGIN CERT") :]
    for pems, heard_something in ((good, other[0]), True), ((bad, other[1]), False):
        outcome, heard = await with_server(*wires(), loaded(*pems, folder=tmp_path))
        assert isinstance(outcome, HandshakeError)
        assert (heard != b"") == heard_something


@one_backend
async def test_a_server_of_tls_that_does_not_speak_chanlink_is_none(tmp_path: Path) -> None:
    key = TlsKey.generate()
    context = loaded(made_certificate(key.private, (OID, await extension_of(key))), folder=tmp_path)
    context.set_alpn_protocols(["h2"])
    outcome, heard = await with_server(*wires(), context)
    assert "does not speak chanlink in it" in str(outcome)
    assert heard == b""


@one_backend
async def test_a_server_without_tls_1_3_is_none(tmp_path: Path) -> None:
    key = TlsKey.generate()
    context = loaded(made_certificate(key.private, (OID, await extension_of(key))), folder=tmp_path)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    outcome, _ = await with_server(*wires(), context)
    assert isinstance(outcome, HandshakeError)
    assert "it refused the handshake of TLS (tlsv1 alert protocol version)" in str(outcome)


WORDS = {
    b"HTTP/1.1 400 Bad Request\r\n\r\n": "no handshake of TLS",
    b"SSH-2.0-OpenSSH_9.2p1\r\n": "no handshake of TLS",
    b"": "And does it say security=chanlink.nacl_tls?",
    b"\x16\x03\x03\x00\x04\x0e": "closed the connection during the handshake",
}


@one_backend
@pytest.mark.parametrize("said", WORDS, ids=range(len(WORDS)))
async def test_a_server_without_tls_is_none(said: bytes) -> None:
    client_end, server_end = wires()

    async def serve() -> None:
        await server_end.receive()
        await server_end.send(said)
        await server_end.aclose()

    client = handshake.as_client(client_end, own(ALICE, Role.CLIENT), anybody)
    outcome, _ = await both((client_end, client), (server_end, serve()))
    assert isinstance(outcome, HandshakeError)
    assert WORDS[said] in str(outcome)


@one_backend
async def test_a_server_of_noise_is_told_from_one_of_tls() -> None:
    client_end, server_end = wires()
    client, server = await both(
        (client_end, handshake.as_client(client_end, own(ALICE, Role.CLIENT), anybody)),
        (server_end, handshake_as_server(server_end, Statics(SERVER, Role.SERVER), anybody, Limits())),
    )
    assert isinstance(client, HandshakeError)
    assert client.code == "no-answer"
    assert "And does it say security=chanlink.nacl_tls?" in str(client)
    assert "the client speaks TLS" in str(server)


# --- clients ------------------------------------------------------------------------------------

Changes = Callable[[TlsTransport], Awaitable[dict[str, Any]]]


async def _certificate(hash: bytes, **changes: Any) -> dict[str, Any]:
    said = {"by": ALICE, "role": Role.CLIENT, "at": NOW, "namespace": NAMESPACE} | changes
    made = await certify(said["by"], hash, said["role"], said["at"], namespace=said["namespace"])
    return made.to_map()


def signed(
    *, server: bytes | None = None, finished: bytes | None = None, peer: bytes | None = None, **changes: Any
) -> Changes:
    """A client that has signed something else, with all else as it should be."""

    async def change(tls: TlsTransport) -> dict[str, Any]:
        key = TlsKey.generate()
        data = handshake.proof_data(
            server or read_certificate(tls.extra(TLSAttribute.peer_certificate_binary)).key_hash,
            finished or finished_of(tls),
            peer or SERVER.public_key.raw,
        )
        certificate = await _certificate(changes.pop("hash", key.hash), **changes)
        return {"key": key.public, "certificate": certificate, "proof": key.private.sign(data)}

    return change


def changed(**entries: Any) -> Changes:
    async def change(tls: TlsTransport) -> dict[str, Any]:
        return entries

    return change


BAD_ANSWERS: dict[str, tuple[Changes, str]] = {
    "for another server's key": (signed(server=os.urandom(32)), "for another server or connection"),
    "for another connection": (signed(finished=os.urandom(48)), "for another server or connection"),
    "for another server": (signed(peer=MALLORY.public_key.raw), "for another server or connection"),
    "a proof that is none": (changed(proof=bytes(64)), "for another server or connection"),
    "a short proof": (changed(proof=bytes(63)), "proof has 63 bytes"),
    "no proof": (changed(proof=None), "no proof"),
    "another key": (changed(key=TlsKey.generate().public), "for another server or connection"),
    "no key on the curve": (changed(key=b"\x02" + bytes(31)), ""),
    "no key": (changed(key=None), "no key"),
    "another peer": (changed(peer=MALLORY.public_key.raw), "believes that it talks to another server"),
    "a certificate of another key": (signed(hash=os.urandom(32)), "for another key, role or time"),
    "a certificate of a server": (signed(role=Role.SERVER), "for another key, role or time"),
    "a certificate of noise": (signed(namespace=b"chanlink-static-v1"), "can't be read"),
    "a certificate of yesterday": (signed(at=NOW - 90_000), "expired"),
    "no certificate": (changed(certificate=None), "no certificate"),
    "a list": (changed(limits=[]), "limits is no dict"),
}


@one_backend
@pytest.mark.parametrize("case", BAD_ANSWERS)
async def test_a_client_that_does_not_prove_itself_is_refused(case: str) -> None:
    change, why = BAD_ANSWERS[case]

    async def say(tls: TlsTransport) -> bytes:
        return packed(await good_answer(tls, **await change(tls)))

    outcome = await with_client(*wires(), say)
    assert type(outcome) is HandshakeError
    assert why in str(outcome)


@one_backend
async def test_a_client_that_says_it_well_is_let_in() -> None:
    """So that what is refused above is so for its reason."""

    async def say(tls: TlsTransport) -> bytes:
        return packed(await good_answer(tls))

    assert authenticated(await with_client(*wires(), say)).key == ALICE.public_key


BYTES = {
    "nothing": (b"", "closed the connection during the handshake"),
    "a part": (b"\x01\x00abc", "closed the connection during the handshake"),
    "too much": (b"\x10\x01" + bytes(4_097), "too long"),
    "no map": (packed([]), "malformed"),
    "an empty map": (packed({}), "there is no"),
}


@one_backend
@pytest.mark.parametrize("case", BYTES)
async def test_what_is_no_answer_is_refused(case: str) -> None:
    said, why = BYTES[case]

    async def say(tls: TlsTransport) -> bytes:
        return said

    outcome = await with_client(*wires(), say)
    assert type(outcome) is HandshakeError
    assert why in str(outcome)


@one_backend
async def test_what_a_client_says_to_one_server_is_of_no_use_at_another() -> None:
    """Mallory is a server that the client means to talk to, and passes on what it hears."""
    victim, near = wires()
    far, server = wires()
    mallory = own(MALLORY, Role.SERVER)

    async def pass_on() -> None:
        _, context = await mallory.server_context()
        inner = await in_tls(near, context, server_side=True)
        heard = await inner.receive()
        outer = await in_tls(far, client_context(), server_side=False)
        await outer.send(heard)
        await outer.receive()

    _, _, outcome = await both(
        (victim, handshake.as_client(victim, own(ALICE, Role.CLIENT), anybody)),
        (near, pass_on()),
        (server, as_server(server, own(SERVER, Role.SERVER))),
    )
    assert type(outcome) is HandshakeError
    assert "for another server or connection" in str(outcome)


@one_backend
async def test_nor_is_it_to_who_has_the_key_of_that_servers_process() -> None:
    """What is signed is this connection: whoever has stolen a server's key of TLS can't be a client by it."""
    victim, near = wires()
    far, server = wires()
    stolen = own(SERVER, Role.SERVER)

    async def pass_on() -> None:
        _, context = await stolen.server_context()
        inner = await in_tls(near, context, server_side=True)
        heard = await inner.receive()
        outer = await in_tls(far, client_context(), server_side=False)
        await outer.send(heard)
        await outer.receive()

    _, _, outcome = await both(
        (victim, handshake.as_client(victim, own(ALICE, Role.CLIENT), anybody)),
        (near, pass_on()),
        (server, as_server(server, stolen)),
    )
    assert type(outcome) is HandshakeError
    assert "for another server or connection" in str(outcome)


async def refused(say: bytes) -> Any:
    """What a server says of a client that begins so, and has nothing else to say."""
    client_end, server_end = wires()

    async def speak() -> bytes:
        await client_end.send(say)
        return await client_end.receive()

    return await both((client_end, speak()), (server_end, as_server(server_end, own(SERVER, Role.SERVER))))


@one_backend
@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\x15\x03\x01\x00\x02\x02\x28"], ids=range(3)
)
async def test_a_client_without_tls_is_closed_without_a_word(said: bytes) -> None:
    heard, outcome = await refused(said)
    assert "does not speak TLS" in str(outcome)
    assert isinstance(heard, anyio.EndOfStream)


@one_backend
async def test_a_client_of_noise_is_told_from_one_of_tls() -> None:
    client_end, server_end = wires()
    client, server = await both(
        (client_end, handshake_as_client(client_end, Statics(ALICE, Role.CLIENT), anybody, Limits())),
        (server_end, as_server(server_end, own(SERVER, Role.SERVER))),
    )
    assert isinstance(client, HandshakeError)
    assert client.code == "no-answer"
    assert "TLS (security=)" in str(client)
    assert "without TLS" in str(server)


@one_backend
@pytest.mark.parametrize("latest", [ssl.TLSVersion.TLSv1_2])
async def test_a_client_without_tls_1_3_is_refused(latest: ssl.TLSVersion) -> None:
    client_end, server_end = wires()
    context = client_context()
    context.minimum_version = context.maximum_version = latest
    client, server = await both(
        (client_end, in_tls(client_end, context, server_side=False)),
        (server_end, as_server(server_end, own(SERVER, Role.SERVER))),
    )
    assert isinstance(client, ConnectFailed)
    assert "fails in it (UNSUPPORTED_PROTOCOL)" in str(server)


@one_backend
async def test_a_client_that_offers_another_protocol_is_refused() -> None:
    client_end, server_end = wires()
    context = client_context()
    context.set_alpn_protocols(["h2"])

    async def speak() -> None:
        tls = await in_tls(client_end, context, server_side=False)
        await tls.send(b"x")
        await tls.receive()

    _, server = await both((client_end, speak()), (server_end, as_server(server_end, own(SERVER, Role.SERVER))))
    assert "does not speak chanlink in it" in str(server)


@one_backend
async def test_a_client_that_never_ends_its_hello_is_cut_off() -> None:
    said = b"\x16\x03\x01\x40\x00\x01\x7f\xff\xff" + bytes(16_380)
    _, outcome = await refused(said)
    assert isinstance(outcome, HandshakeError)
    assert "fails in it (EXCESSIVE_MESSAGE_SIZE)" in str(outcome)


# --- no turn ------------------------------------------------------------------------------------


async def test_a_client_that_has_no_turn_is_told_so(ends: Ends) -> None:
    client_end, server_end = ends
    client, server = await both(
        (client_end, handshake.as_client(client_end, own(ALICE, Role.CLIENT), anybody)),
        (server_end, handshake.turn_away(server_end)),
    )
    assert isinstance(client, SessionClosed)
    assert client.code == "busy"
    assert server is None


@one_backend
async def test_who_speaks_no_tls_is_told_nothing() -> None:
    client_end, server_end = wires()
    await client_end.send(b"chanlink\x01\x00\x00")
    with pytest.raises(HandshakeError, match="without TLS"):
        await handshake.turn_away(server_end)
    assert not server_end.sent


@one_backend
async def test_a_first_record_that_is_too_long_is_not_waited_for() -> None:
    client_end, server_end = wires()
    await client_end.send(b"\x16\x03\x01\x40\x01")
    with pytest.raises(HandshakeError, match="too long"):
        await handshake.turn_away(server_end)
