"""Pre-shared keys: a client without the key gets no answer (protocol sections 1 and 2)."""

import base64
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgpack
import pytest

import chanlink
from chanlink import ConfigError, HandshakeError, Identity, KeyFormatError, Limits, Trust
from chanlink.security import psk
from chanlink.security.handshake_server import handshake_as_server
from chanlink.security.keys.certificate import Role, certify
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.noise.state import HandshakeState
from chanlink.security.noise.x25519 import generate_keypair
from chanlink.security.psk import ReplayGuard, load_psk
from chanlink.security.statics import Statics
from tests.echo import ask, echo

from .wires import make_hello, prefixed, read_prefixed, read_to_end, wires

pytestmark = pytest.mark.anyio
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])

ALICE, SERVER = Identity.generate("alice"), Identity.generate("server")
KEY = bytes(range(32))
OTHER_KEY = bytes(32)
NAME = "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s"
HELLO = make_hello(offer={"pattern": "XXpsk0", "suites": ["chachapoly"]})


# --- the key --------------------------------------------------------------------------------------------


def test_a_key_is_32_bytes() -> None:
    assert load_psk(KEY) == KEY
    assert load_psk(None) is None
    for length in (0, 16, 31, 33, 44):
        with pytest.raises(ConfigError, match="32 bytes"):
            load_psk(bytes(length))


@pytest.mark.parametrize(
    "content", [KEY, base64.b64encode(KEY), base64.b64encode(KEY) + b"\n"], ids=["raw", "base64", "with a line end"]
)
def test_a_key_file_holds_it_raw_or_in_base64(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "psk"
    path.write_bytes(content)
    path.chmod(0o600)
    assert load_psk(path) == load_psk(str(path)) == KEY


@pytest.mark.parametrize(
    "content", [b"", b"secret", KEY[:-1], KEY + b"\n", b"=" * 44, base64.b64encode(KEY[:-1]), b"x" * 999]
)
def test_a_file_that_holds_no_key_is_refused_and_not_shown(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "psk"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFormatError) as caught:
        load_psk(path)
    assert str(path) in str(caught.value)
    assert not content.strip() or content.strip().decode("latin-1") not in str(caught.value)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "psk"
    path.write_bytes(KEY)
    path.chmod(0o644)
    with pytest.raises(KeyFormatError):
        load_psk(path)
    with pytest.raises(KeyFormatError):
        load_psk(tmp_path / "missing")


# --- first messages -------------------------------------------------------------------------------------


def test_a_first_message_is_good_once_and_remembered_as_long_as_its_time_is_good() -> None:
    seen = ReplayGuard()
    seen.check(b"e" * 32, 1_000, 1_000.0, 50.0)
    for now in (50.0, 100.0, 169.9):
        with pytest.raises(HandshakeError, match="replayed"):
            seen.check(b"e" * 32, 1_000, 1_000.0, now)
    seen.check(b"f" * 32, 1_000, 1_000.0, 170.1)
    assert len(seen) == 1
    with pytest.raises(HandshakeError, match="time"):  # by now
        seen.check(b"e" * 32, 1_000, 1_120.1, 170.1)


@pytest.mark.parametrize("said", [939, 1_061, -1_000, 2**63, 1_000.0, "1000", True, None, [1_000]])
def test_a_time_that_is_off_is_refused(said: object) -> None:
    seen = ReplayGuard()
    with pytest.raises(HandshakeError, match="time") as caught:
        seen.check(b"e" * 32, said, 1_000.0, 0.0)
    assert caught.value.code == "clock"
    assert not len(seen)


@pytest.mark.parametrize("said", [940, 1_000, 1_060])
def test_a_clock_may_be_a_minute_off(said: int) -> None:
    ReplayGuard().check(b"e" * 32, said, 1_000.0, 0.0)


def test_what_is_remembered_is_bounded_and_nothing_is_forgotten_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psk, "MOST_REMEMBERED", 10)
    seen = ReplayGuard()
    for number in range(10):
        seen.check(bytes([number]) * 32, 1_000, 1_000.0, 0.0)
    with pytest.raises(HandshakeError, match="too many"):
        seen.check(b"x" * 32, 1_000, 1_000.0, 1.0)
    with pytest.raises(HandshakeError, match="replayed"):
        seen.check(bytes(32), 1_000, 1_000.0, 1.0)
    seen.check(b"x" * 32, 1_000, 1_000.0, 121.0)
    assert len(seen) == 1


# --- endpoints ------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[str]:
    trust = Trust.of(ALICE.public_key)
    services = {"echo": echo}
    async with chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=trust, services=services, **options) as it:
        yield it.addresses[0]


def connect(address: str, **options: Any) -> Any:
    return chanlink.connect(address, identity=ALICE, peer=SERVER.public_key, **options)


async def test_both_with_the_key_talk(tmp_path: Path) -> None:
    path = tmp_path / "psk"
    path.write_bytes(base64.b64encode(KEY))
    path.chmod(0o600)
    async with serving(psk=path) as address, connect(address, psk=KEY) as session:
        assert await ask(session) == "hello"


@pytest.mark.parametrize(("server", "client"), [(KEY, OTHER_KEY), (KEY, None), (None, KEY)])
async def test_who_does_not_share_the_key_gets_no_byte(
    server: bytes | None, client: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "chanlink")
    async with serving(psk=server) as address:
        with pytest.raises(HandshakeError, match="closed the connection") as caught:
            async with connect(address, psk=client):
                pytest.fail("there is a session")
        assert caught.value.code == "no-answer"
        async with connect(address, psk=server) as session:
            assert await ask(session) == "hello"
    for key in (KEY, OTHER_KEY):
        assert key.hex() not in caplog.text
        assert repr(key)[2:-1] not in caplog.text


# --- transcripts ----------------------------------------------------------------------------------------


def anybody(presented: Presented) -> Grant:
    return Grant("somebody", None)


class Server:
    """A server in memory that remembers first messages, and strangers who say something to it."""

    def __init__(self) -> None:
        self.statics = Statics(SERVER, Role.SERVER, KEY)

    async def answer_to(self, said: bytes) -> bytes:
        client_end, server_end = wires()
        server_end.feed(said)

        def hang_up(at: int, data: bytes) -> bytes:
            server_end.end()
            return data

        server_end.edit = hang_up  # once it has answered
        client_end.waiting = True
        with pytest.raises(HandshakeError):
            await handshake_as_server(server_end, self.statics, anybody, Limits())
        return bytes(server_end.sent)


def first_message(payload: object, key: bytes = KEY, hello: bytes = HELLO) -> bytes:
    noise = HandshakeState(NAME, True, prologue=hello, s=generate_keypair(), psks=[key])
    return hello + prefixed(noise.write_message(payload if isinstance(payload, bytes) else msgpack.packb(payload)))


@one_backend
async def test_a_recorded_first_message_is_answered_once() -> None:
    server = Server()
    said = first_message({"time": int(time.time())})
    assert len(await server.answer_to(said)) > 100
    for _ in range(3):
        assert await server.answer_to(said) == b""
    assert len(server.statics.replay_guard) == 1


@one_backend
async def test_every_bit_of_the_first_message_counts() -> None:
    server = Server()
    said = first_message({"time": int(time.time())})
    for at in range(len(said)):
        for bit in (0, 7):
            changed = said[:at] + bytes([said[at] ^ 1 << bit]) + said[at + 1 :]
            assert await server.answer_to(changed) == b"", f"byte {at}, bit {bit}"
    assert not len(server.statics.replay_guard), "only a client with the key fills that memory"
    assert await server.answer_to(said)


def now() -> int:
    return int(time.time())


BAD_PAYLOADS: list[Any] = [
    lambda: b"",
    lambda: b"\xc1",
    lambda: [now()],
    dict,
    lambda: {"time": now() - 70},
    lambda: {"time": now() + 70},
    lambda: {"time": float(now())},
    lambda: {"time": str(now())},
    lambda: {"time": None},
]


@one_backend
@pytest.mark.parametrize("payload", BAD_PAYLOADS)
async def test_a_first_message_without_a_good_time_is_not_answered(payload: Any) -> None:
    assert await Server().answer_to(first_message(payload())) == b""


@one_backend
async def test_first_messages_have_room_for_more() -> None:
    assert await Server().answer_to(first_message({"time": now(), "later": [1]}))


@one_backend
async def test_the_pattern_of_the_offer_must_be_the_servers() -> None:
    server = Server()
    for pattern in ("XX", "XXpsk3", "IK", None, 7):
        hello = make_hello(offer={"pattern": pattern, "suites": ["chachapoly"]})
        assert await server.answer_to(first_message({"time": now()}, hello=hello)) == b""


@one_backend
async def test_a_handshake_written_out_by_the_protocol_page_is_let_in() -> None:
    client_end, server_end = wires(patient=True)
    outcome: list[Any] = []

    async def serve() -> None:
        outcome.append(await handshake_as_server(server_end, Server().statics, anybody, Limits()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        static = generate_keypair()
        noise = HandshakeState(NAME, True, prologue=HELLO, s=static, psks=[KEY])
        await client_end.send(HELLO + prefixed(noise.write_message(msgpack.packb({"time": now()}))))
        offer = msgpack.unpackb(noise.read_message(await read_prefixed(client_end)))
        assert offer["suite"] == "chachapoly"
        certificate = await certify(ALICE, static.public, Role.CLIENT, now())
        answer = {"certificate": certificate.to_map(), "peer": SERVER.public_key.raw}
        await client_end.send(prefixed(noise.write_message(msgpack.packb(answer))))
    assert outcome[0].key == ALICE.public_key
    await server_end.aclose()
    assert len(await read_to_end(client_end)) > 20  # the welcome


def test_no_key_stands_in_a_representation() -> None:
    statics = Statics(SERVER, Role.SERVER, KEY)
    assert KEY.hex() not in repr(statics)
    assert repr(KEY)[2:-1] not in repr(statics)


def test_keys_of_os_urandom_are_good() -> None:
    assert load_psk(os.urandom(32))
