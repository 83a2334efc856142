"""The bytes in the protocol page are those that the code sends (protocol section 11)."""

import re
import secrets
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from nacl.bindings import crypto_sign_seed_keypair

from chanlink import Identity, Limits, clock
from chanlink.security import certified as certified_module
from chanlink.security import early_client, handshake, handshake_server, showing
from chanlink.security import statics as statics_module
from chanlink.security.early.prekey import made
from chanlink.security.early_client import EarlyHandshake
from chanlink.security.early_server import PrekeyMaker, meet_early, meet_either
from chanlink.security.handshake import Authenticated, handshake_as_client
from chanlink.security.handshake_server import handshake_as_server, meet, send_welcome, welcome
from chanlink.security.hello import Hello, receive_hello
from chanlink.security.keys.certificate import Role, certify
from chanlink.security.keys.identity import _SeedSigner
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.noise import state
from chanlink.security.noise.x25519 import KeyPair
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.records import DATA
from chanlink.security.rekey import Thresholds
from chanlink.security.resuming import returning
from chanlink.security.resuming.agreement import Terms
from chanlink.security.resuming.proofs import Prover
from chanlink.security.resuming.returning import return_as_client
from chanlink.security.statics import Statics
from tests.security.wires import Wire, read_prefixed, wires

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "protocol.md"
NOW = 1_800_000_000

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


def repeated(byte: int) -> bytes:
    return bytes([byte]) * 32


def identity(seed: bytes) -> Identity:

    return Identity(PublicKey(crypto_sign_seed_keypair(seed)[0]), _SeedSigner(seed))


def it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (handshake, handshake_server, showing, certified_module, statics_module, early_client):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(time=lambda: NOW + 1.5))


async def statics(role: Role, psk: bytes | None) -> Statics:
    number = 1 if role is Role.CLIENT else 2
    static = KeyPair(repeated(0x10 + number))
    found = Statics(identity(repeated(number)), role, psk)
    found._current = static, await certify(found.identity, static.public, role, NOW)
    return found


class Cut:
    """What each side has sent since it was asked last."""

    def __init__(self, *ends: Wire) -> None:
        self.at = {id(end): 0 for end in ends}

    def __call__(self, end: Wire) -> bytes:
        at, self.at[id(end)] = self.at[id(end)], len(end.sent)
        return bytes(end.sent[at:])


async def transcript(psk: bytes | None, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A handshake, a record of each side and new keys, with fixed keys and times."""
    ephemerals: Iterator[KeyPair] = (KeyPair(repeated(0x20 + number)) for number in range(1, 5))
    monkeypatch.setattr(state, "generate_keypair", lambda: next(ephemerals))
    it_is_now(monkeypatch)
    monkeypatch.setenv("CHANLINK_SUITES", "chachapoly")
    client_end, server_end = wires()
    found: dict[Role, Authenticated] = {}
    thresholds = Thresholds(seconds=1e18, server_seconds=1e18, lost_seconds=1e18)

    def anybody(presented: Presented) -> Grant:
        return Grant("somebody", None)

    async def shake(role: Role, end: Wire) -> None:
        handshake: Any = handshake_as_client if role is Role.CLIENT else handshake_as_server
        options: dict[str, Any] = {"features": ["top-level-drain"], "thresholds": thresholds}
        found[role] = await handshake(end, await statics(role, psk), anybody, Limits(), **options)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shake, Role.CLIENT, client_end)
        tasks.start_soon(shake, Role.SERVER, server_end)
    client, server = found[Role.CLIENT].stream, found[Role.SERVER].stream
    cut = Cut(client_end, server_end)
    said, answered = cut(client_end), cut(server_end)
    hello_length = 11 + int.from_bytes(said[9:11], "big")
    first_length = hello_length + 2 + int.from_bytes(said[hello_length : hello_length + 2], "big")
    second_length = 2 + int.from_bytes(answered[:2], "big")
    kept, keys = client._secrets, client._keys
    result = {
        "hello": said[:hello_length],
        "message 1": said[hello_length:first_length],
        "message 2": answered[:second_length],
        "message 3": said[first_length:],
        "welcome": answered[second_length:],
        "client's key": keys._sending.k or b"",
        "server's key": keys._receiving.k or b"",
        "exporter_secret": kept.exporter_secret,
        "h": kept.h,
        'exported for "example", 40 bytes': kept.export("example", 40),
    }
    await client.send(b"ping")
    await server.receive()
    result["data from the client"] = cut(client_end)
    client._keys._queued = (1, client._keys._start())
    await client.send(b"")
    result["rekey record 1"] = cut(client_end)
    with anyio.move_on_after(0.01):
        server_end.patient = client_end.patient = True
        await server.receive()
    await server.send(b"")
    result["rekey record 2"] = cut(server_end)
    with anyio.move_on_after(0.01):
        await client.receive()
    await client.send(b"ping")
    result["rekey record 3, and data under the new key"] = cut(client_end)
    assert await server.receive() == b"ping"
    assert client._keys.epoch == server._keys.epoch == 1
    result["client's key of epoch 1"] = keys._sending.k or b""
    result["server's key of epoch 1"] = keys._receiving.k or b""
    return result


async def resumed(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A session that may be resumed, and the connection after the first one, with fixed keys, times and names."""
    ephemerals: Iterator[KeyPair] = (KeyPair(repeated(number)) for number in (0x21, 0x22, 0x25, 0x26))
    monkeypatch.setattr(state, "generate_keypair", lambda: next(ephemerals))
    it_is_now(monkeypatch)
    monkeypatch.setattr(secrets, "token_bytes", lambda size: b"\x32" * size)
    monkeypatch.setenv("CHANLINK_SUITES", "chachapoly")
    monkeypatch.setattr(returning, "FEATURES", features := ["top-level-drain"])
    client_statics, server_statics = await statics(Role.CLIENT, None), await statics(Role.SERVER, None)
    terms = Terms(b"\x31" * 16, False, 60.0)
    shared: dict[str, Any] = {}

    def anybody(presented: Presented) -> Grant:
        return Grant("somebody", None)

    async def begin(end: Wire) -> None:
        options: dict[str, Any] = {"features": features, "resume": 60.0}
        shared["client"] = await handshake_as_client(end, client_statics, anybody, Limits(), **options)

    async def come_back(end: Wire) -> None:
        agreement = shared["client"].agreement
        await return_as_client(end, client_statics, anybody, Limits(), agreement, 1, lambda: 0)

    client_end, server_end = wires()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin, client_end)
        met = await meet(server_end, server_statics, Limits(), features=features)
        server = (await welcome(met, anybody, terms)).stream
    agreement = shared["client"].agreement
    cut = Cut(client_end, server_end)
    result = {"message 3": after_message_1(cut(client_end)), "welcome": last_record(cut(server_end))}
    result["resumption secret"] = agreement.secret
    await shared["client"].stream.send(b"ping")
    result["data from the client"] = cut(client_end)
    assert await server.receive() == b"ping"
    server.acknowledge(4)
    await server.send(b"")
    result["record 4 of the server"] = cut(server_end)

    client_end, server_end = wires()
    cut = Cut(client_end, server_end)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(come_back, client_end)
        met = await meet(server_end, server_statics, Limits(), features=features)
        assert met.resume is not None
        prover = Prover(agreement.secret, agreement.session, met.stream.handshake_hash)
        assert prover.resume(1, 0) == met.resume
        proof = prover.prove(Role.SERVER, 1, 4)
        await send_welcome(met, {"instance": terms.instance, "resumed": {"count": 4, "proof": proof}})
    sent = after_message_1(cut(client_end))
    third = 2 + int.from_bytes(sent[:2], "big")
    result["message 3 of the second handshake"] = sent[:third]
    result["h of the second handshake"] = met.stream.handshake_hash
    result["body of record 5"] = met.resume.packed()
    result["record 5"] = sent[third:]
    result["proof of the server"] = proof
    result["welcome of the second connection"] = last_record(cut(server_end))
    return result


async def begun_by_a_prekey(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A first message with data, taken by one server and declined by another, with fixed keys and times."""
    ephemerals: Iterator[KeyPair] = (KeyPair(repeated(number)) for number in (0x21, 0x22, 0x21, 0x25, 0x26))
    monkeypatch.setattr(state, "generate_keypair", lambda: next(ephemerals))
    it_is_now(monkeypatch)
    monkeypatch.setenv("CHANLINK_SUITES", "chachapoly")
    features = ["top-level-drain"]
    client, server = await statics(Role.CLIENT, None), await statics(Role.SERVER, None)
    key_pair = KeyPair(repeated(0x13))
    certificate = await certify(server.identity, key_pair.public, Role.PREKEY, NOW, 1_200 + 300)
    prekey = made(key_pair.public, certificate, Limits().announced(), features)
    current = await client.shown()
    result = {"prekey": prekey.packed, "its name": prekey.name}

    def anybody(presented: Presented) -> Grant:
        return Grant("somebody", None)

    streams: list[NoiseStream] = []
    for is_taken in (True, False):
        maker = PrekeyMaker(server.identity, Limits(), features=features, is_loaded=lambda: False)
        if is_taken:
            maker._prekeys.add(prekey, key_pair, clock.now())
        attempt = EarlyHandshake(prekey, server.identity.public_key, client, current, Limits(), features=features)
        client_end, server_end = wires()
        said = attempt.first(b"ping")
        await client_end.send(said)
        hello = 11 + int.from_bytes(said[9:11], "big")
        if is_taken:
            authenticated = await meet_either(server_end, server, maker, anybody, Limits())
            assert isinstance(authenticated, Authenticated)
            answer = bytes(server_end.sent)
            stream = attempt.read_answer(client_end, answer[2:]).stream
            result |= {"hello": said[:hello], "message 1": said[hello:], "message 2": answer}
            result |= {"client's key": stream._keys._sending.k or b"", "server's key": stream._keys._receiving.k or b""}
            result |= {"exporter_secret": stream._secrets.exporter_secret, "h": stream._secrets.h}
            cut = Cut(client_end)
            cut(client_end)
            await stream.send_record(DATA, b"")
            result["first record of the client"] = cut(client_end)
            assert await authenticated.stream.receive() == b"ping"
        else:

            async def again(end: Wire = client_end, attempt: EarlyHandshake = attempt) -> None:
                assert await read_prefixed(end) == b""
                streams.append(await attempt.begin_again(end))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(again)
                greeted = await receive_hello(server_end, server)
                declined = await meet_early(server_end, greeted, maker, anybody)
                assert isinstance(declined, Hello)
                await meet(server_end, server, Limits(), hello=declined, features=features)
            rest = bytes(client_end.sent[len(said) :])
            first = 2 + int.from_bytes(rest[:2], "big")
            result |= {"answer that declines": bytes(server_end.sent[:2]), "message 1 of XX after it": rest[:first]}
            result |= {"message 2 of XX after it": bytes(server_end.sent[2:]), "message 3 of XX after it": rest[first:]}
            result["h of XX after it"] = streams[0]._secrets.h
    return result


def after_message_1(sent: bytes) -> bytes:
    """What a client has sent behind its hello and its first message."""
    hello = 11 + int.from_bytes(sent[9:11], "big")
    return sent[hello + 2 + int.from_bytes(sent[hello : hello + 2], "big") :]


def last_record(sent: bytes) -> bytes:
    """What a server has sent behind its message."""
    return sent[2 + int.from_bytes(sent[:2], "big") :]


def on_the_page(title: str) -> dict[str, str]:
    """The examples below a heading: a name, a colon, and lines of hexadecimal digits."""
    text = PAGE.read_text()
    block = re.search(rf"^### {re.escape(title)}\n.*?```text\n(.*?)```", text, re.S | re.M)
    assert block is not None, f"the page has no examples under {title!r}"
    found: dict[str, str] = {}
    name = ""
    for line in block[1].splitlines():
        if line.startswith(" "):
            found[name] += line.strip()
        else:
            name = line.removesuffix(":")
            found[name] = ""
    return found


@pytest.mark.parametrize(("title", "psk"), [("11.1 XX", None), ("11.2 XXpsk0", bytes(range(32)))], ids=["XX", "XXpsk0"])
async def test_the_examples_of_the_page_are_what_is_sent(
    title: str, psk: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = await transcript(psk, monkeypatch)
    assert {name: data.hex() for name, data in sent.items()} == on_the_page(title)


async def test_the_example_of_a_session_that_is_resumed_is_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = await resumed(monkeypatch)
    assert {name: data.hex() for name, data in sent.items()} == on_the_page("11.4 A session that is resumed")


async def test_the_example_of_early_data_is_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = await begun_by_a_prekey(monkeypatch)
    assert {name: data.hex() for name, data in sent.items()} == on_the_page("11.5 Early data")
