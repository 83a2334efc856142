"""The bytes in the protocol page are those that the code sends (protocol section 11)."""

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from nacl.bindings import crypto_sign_seed_keypair

from chanlink import Identity, Limits
from chanlink.security import handshake
from chanlink.security import statics as statics_module
from chanlink.security.handshake import Authenticated, handshake_as_client, handshake_as_server
from chanlink.security.keys.certificate import Role, certify
from chanlink.security.keys.identity import _SeedSigner
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.trust import Grant
from chanlink.security.noise import state
from chanlink.security.noise.x25519 import KeyPair
from chanlink.security.rekey import Thresholds
from chanlink.security.statics import Statics
from tests.security.wires import Wire, wires

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "protocol.md"
NOW = 1_800_000_000

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


def repeated(byte: int) -> bytes:
    return bytes([byte]) * 32


def identity(seed: bytes) -> Identity:

    return Identity(PublicKey(crypto_sign_seed_keypair(seed)[0]), _SeedSigner(seed))


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
    for module in (handshake, statics_module):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(time=lambda: NOW + 1.5))
    monkeypatch.setenv("CHANLINK_SUITES", "chachapoly")
    client_end, server_end = wires()
    found: dict[Role, Authenticated] = {}
    thresholds = Thresholds(seconds=1e18, server_seconds=1e18, lost_seconds=1e18)

    def anybody(key: PublicKey) -> Grant:
        return Grant("somebody", None)

    async def shake(role: Role, end: Wire) -> None:
        handshake: Any = handshake_as_client if role is Role.CLIENT else handshake_as_server
        found[role] = await handshake(end, await statics(role, psk), anybody, Limits(), thresholds=thresholds)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shake, Role.CLIENT, client_end)
        tasks.start_soon(shake, Role.SERVER, server_end)
    client, server = found[Role.CLIENT].stream, found[Role.SERVER].stream
    cut = Cut(client_end, server_end)
    said, answered = cut(client_end), cut(server_end)
    hello_length = 11 + int.from_bytes(said[9:11], "big")
    first_length = hello_length + 2 + int.from_bytes(said[hello_length : hello_length + 2], "big")
    second_length = 2 + int.from_bytes(answered[:2], "big")
    secrets, keys = client._secrets, client._keys
    result = {
        "hello": said[:hello_length],
        "message 1": said[hello_length:first_length],
        "message 2": answered[:second_length],
        "message 3": said[first_length:],
        "welcome": answered[second_length:],
        "client's key": keys._sending.k or b"",
        "server's key": keys._receiving.k or b"",
        "exporter_secret": secrets.exporter_secret,
        "h": secrets.h,
        'exported for "example", 40 bytes': secrets.export("example", 40),
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
