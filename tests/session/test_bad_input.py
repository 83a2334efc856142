"""The rows of "Bad input, and what it gets" (docs/explanation/security.md), over real sockets.

Each is what a misbehaving peer says, and what is left of it: nothing unhandled, no task, no session; the peer learns a
code at most, and a good client on the same listener never notices. What takes thousands of connections, or is about
processor time, is in tests/bench/hostile.py.
"""

import dataclasses
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Any

import anyio
import hpack
import msgpack
import pytest
from anyio.abc import ByteStream
from hyperframe import frame as hf

import chanlink
from chanlink import Identity, Limits, Listener, Peer, SessionError, SessionLost, Trust
from chanlink.security import handshake_server as secure
from chanlink.security.handshake import handshake_as_client
from chanlink.security.keys.certificate import Role, certify
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.noise.x25519 import generate_keypair
from chanlink.security.rekey import START
from chanlink.security.statics import Statics
from chanlink.transport.address import parse_address
from chanlink.transport.reaching import connect_socket
from chanlink.wire.h2.connection import CONNECTION_WINDOW
from chanlink.wire.h2.frames import PREFACE
from tests.echo import ask, echo
from tests.patience import PATIENCE, until
from tests.security.wires import CLOSE, DATA, HELLO, REKEY, Scripted, make_hello, prefixed, speak_as_client
from tests.wire.muxes import Transcript, _short, message

pytestmark = pytest.mark.anyio

GOOD, BAD, STRANGER, SERVER = (Identity.generate(name) for name in ("good", "bad", "stranger", "server"))
"""A guard only: nothing waits for it."""


@pytest.fixture(autouse=True)
def _one_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANLINK_SUITES", "chachapoly")


# --- a server with a good client, which must not notice anything ----------------------------------------


async def pour(stream: chanlink.ByteStream, peer: Peer) -> None:
    while True:
        await stream.send(bytes(65_536))


@asynccontextmanager
async def serving(caplog: pytest.LogCaptureFixture, **options: Any) -> AsyncIterator[Listener]:
    """A listener with a good client. After the block, that is all there is."""
    caplog.set_level(logging.INFO, "chanlink")
    options = {"identity": SERVER, "trust": Trust.of(GOOD.public_key, BAD.public_key)} | options
    services = {"echo": echo, "pour": chanlink.streams(pour)}
    psk = options.get("psk")
    async with (
        chanlink.listen("tcp://127.0.0.1:0", services=services, **options) as listener,
        chanlink.connect(listener.addresses[0], identity=GOOD, peer=SERVER.public_key, psk=psk) as session,
    ):
        assert await ask(session) == "hello"
        tasks = len(anyio.get_running_tasks())
        yield listener
        assert await ask(session) == "hello"
        await until(lambda: not listener._greeter.admission and len(listener.sessions) == 1)
        await until(lambda: len(anyio.get_running_tasks()) <= tasks)
    assert not [record for record in caplog.records if record.exc_info or record.levelno > logging.WARNING]


async def dial(listener: Listener) -> ByteStream:
    return await connect_socket(parse_address(listener.addresses[0]))


async def heard_until_closed(stream: ByteStream) -> tuple[bytes, str]:
    """What comes until the connection is over, and how that ends."""
    data = b""
    with anyio.fail_after(PATIENCE):
        try:
            while True:
                data += await stream.receive()
        except anyio.EndOfStream:
            return data, "end"
        except anyio.BrokenResourceError:
            return data, "reset"


# --- before the peer is authenticated -------------------------------------------------------------------

PSK = bytes(range(32))
PSK_HELLO = make_hello(offer={"pattern": "XXpsk0", "suites": ["chachapoly"]})
LOW_ORDER = bytes(32)
NOT_CANONICAL = (2**255 - 19).to_bytes(32, "little")
STRANGE = {
    "http": b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
    "tls": bytes.fromhex("16030100f8010000f40303") + bytes(233),
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "random": os.urandom(5_000),
    "nothing but the end": b"",
    "another version": b"chanlink\2",
    "an offer that is none": b"chanlink\1" + prefixed(b"\xc1"),
    "no suite": make_hello(offer={"pattern": "XX", "suites": []}),
    "a short key": HELLO + prefixed(bytes(31)),
    "a long key": HELLO + prefixed(bytes(33)),
    "a key of low order": HELLO + prefixed(LOW_ORDER),
    "a key that is not canonical": HELLO + prefixed(NOT_CANONICAL),
    "the wrong pattern": PSK_HELLO + prefixed(generate_keypair().public + bytes(20)),
}


@pytest.mark.parametrize("psk", [None, PSK], ids=["without a key", "with a key"])
@pytest.mark.parametrize("name", STRANGE)
async def test_all_that_strangers_say_ends_alike(name: str, psk: bytes | None, caplog: Any) -> None:
    """By the same bytes (none) and the same close: how much was read is nobody's business."""
    async with serving(caplog, psk=psk) as listener:
        stream = await dial(listener)
        async with stream:
            await stream.send(STRANGE[name])
            if not STRANGE[name]:
                await stream.send_eof()
            assert await heard_until_closed(stream) == (b"", "reset")


@pytest.mark.slow
async def test_who_is_silent_or_slow_or_sent_away_is_closed_alike(caplog: Any) -> None:
    limits = Limits(handshake=0.5, unauthenticated=2)
    async with serving(caplog, limits=limits) as listener:
        for said in (b"", b"chan", HELLO, HELLO + prefixed(generate_keypair().public)[:20]):
            async with await dial(listener) as stream:
                await stream.send(said)
                assert await heard_until_closed(stream) == (b"", "reset")
        streams = [await dial(listener) for _ in range(5)]
        for stream in streams:
            assert await heard_until_closed(stream) == (b"", "reset")
            await stream.aclose()
        assert "too many" in caplog.text


async def test_a_server_with_a_pre_shared_key_says_nothing_to_who_lacks_it(caplog: Any) -> None:
    async with serving(caplog, psk=PSK) as listener:
        for key in (None, bytes(32)):
            with pytest.raises(chanlink.HandshakeError):
                async with chanlink.connect(listener.addresses[0], identity=BAD, peer=SERVER.public_key, psk=key):
                    pytest.fail("there is a session")
    assert "bad" not in caplog.text


async def expired(static: bytes) -> dict[str, object]:
    return (await certify(BAD, static, Role.CLIENT, int(time.time()) - 90_000)).to_map()


async def early(static: bytes) -> dict[str, object]:
    return (await certify(BAD, static, Role.CLIENT, int(time.time()) + 3_000)).to_map()


async def of_the_other_role(static: bytes) -> dict[str, object]:
    return (await certify(BAD, static, Role.SERVER, int(time.time()))).to_map()


async def of_another_static(static: bytes) -> dict[str, object]:
    return (await certify(BAD, generate_keypair().public, Role.CLIENT, int(time.time()))).to_map()


async def of_a_wrong_signature(static: bytes) -> dict[str, object]:
    good = await certify(BAD, static, Role.CLIENT, int(time.time()))
    return dataclasses.replace(good, sshsig=good.sshsig[:-1] + bytes([good.sshsig[-1] ^ 1])).to_map()


async def of_another_namespace(static: bytes) -> dict[str, object]:
    good = await certify(BAD, static, Role.CLIENT, int(time.time()))
    return dataclasses.replace(good, sshsig=good.sshsig.replace(b"static-v1", b"static-v2")).to_map()


async def none(static: bytes) -> dict[str, object]:
    return {}


CERTIFICATES = [expired, early, of_the_other_role, of_another_static, of_a_wrong_signature, of_another_namespace, none]


async def client_payload(static: bytes, make: Any = None) -> bytes:
    make = make or (lambda static: certified(BAD, static))
    packed: bytes = msgpack.packb({"certificate": await make(static), "peer": SERVER.public_key.raw})
    return packed


async def certified(identity: Identity, static: bytes) -> dict[str, object]:
    return (await certify(identity, static, Role.CLIENT, int(time.time()))).to_map()


@pytest.mark.parametrize("make", CERTIFICATES, ids=lambda make: make.__name__)
async def test_a_client_with_a_bad_certificate_gets_no_byte_after_message_2(make: Any, caplog: Any) -> None:
    async with serving(caplog) as listener, await dial(listener) as stream:
        static = generate_keypair()
        await speak_as_client(stream, static, await client_payload(static.public, make))
        assert await heard_until_closed(stream) == (b"", "reset")


async def test_a_client_that_is_not_trusted_gets_the_reason_and_an_end_and_no_reset(
    caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the client goes on sending, and listens late."""
    monkeypatch.setattr(secure, "REFUSAL", 0.1)
    async with serving(caplog) as listener, await dial(listener) as stream:
        static = generate_keypair()
        payload = await client_payload(static.public, lambda static: certified(STRANGER, static))
        script = await speak_as_client(stream, static, payload)
        await stream.send(bytes(100_000))
        await until(lambda: not listener._greeter.admission)
        with anyio.fail_after(PATIENCE):
            assert (await script.receive())[1]["code"] == "untrusted"
            assert await script.receive() == (CLOSE, {"code": "untrusted", "text": ""})
        assert await heard_until_closed(stream) == (b"", "end")
    assert STRANGER.public_key.fingerprint in caplog.text
    assert "stranger" not in caplog.text  # its comment is its own word


# --- records --------------------------------------------------------------------------------------------


async def trusted(stream: ByteStream) -> Scripted:
    """A peer that is trusted, and from now on says single records."""
    static = generate_keypair()
    script = await speak_as_client(stream, static, await client_payload(static.public))
    await script.receive()  # the welcome
    await script.send(DATA, PREFACE + Transcript.settings(Limits()))
    return script


async def flipped(script: Scripted) -> bytes:
    sealed = script.sending.encrypt_with_ad(b"", b"\0" + bytes(100))
    return prefixed(bytes([sealed[0] ^ 1]) + sealed[1:])


async def repeated(script: Scripted) -> bytes:
    ping = prefixed(script.sending.encrypt_with_ad(b"", b"\0" + hf.PingFrame(0).serialize()))
    return ping * 2


async def dropped(script: Scripted) -> bytes:
    script.sending.encrypt_with_ad(b"", b"\0lost")
    return prefixed(script.sending.encrypt_with_ad(b"", b"\0" + hf.PingFrame(0).serialize()))


async def swapped(script: Scripted) -> bytes:
    one, two = (prefixed(script.sending.encrypt_with_ad(b"", b"\0" + hf.PingFrame(0).serialize())) for _ in range(2))
    return two + one


async def reflected(script: Scripted) -> bytes:
    return prefixed(script.receiving.encrypt_with_ad(b"", b"\0" + bytes(10)))


async def under_an_old_key(script: Scripted) -> bytes:
    script.sending.rekey()
    return prefixed(script.sending.encrypt_with_ad(b"", b"\0" + bytes(10)))


async def cut_short(script: Scripted) -> bytes:
    return prefixed(script.sending.encrypt_with_ad(b"", b"\0" + bytes(10))[:-1])


async def empty(script: Scripted) -> bytes:
    return prefixed(script.sending.encrypt_with_ad(b"", b""))


async def of_an_unknown_kind(script: Scripted) -> bytes:
    return prefixed(script.sending.encrypt_with_ad(b"", b"\x09"))


async def a_rekey_record_with_a_bad_key(script: Scripted) -> bytes:
    body = bytes([REKEY, START]) + LOW_ORDER + bytes(16)
    return prefixed(script.sending.encrypt_with_ad(b"", body))


RECORDS = [
    flipped,
    repeated,
    dropped,
    swapped,
    reflected,
    under_an_old_key,
    cut_short,
    empty,
    of_an_unknown_kind,
    a_rekey_record_with_a_bad_key,
]


@pytest.mark.parametrize("make", RECORDS, ids=lambda make: make.__name__)
async def test_a_record_that_is_not_the_next_one_ends_that_session(make: Any, caplog: Any) -> None:
    async with serving(caplog) as listener, await dial(listener) as stream:
        script = await trusted(stream)
        # What follows it must not be served.
        after = script.sending.n
        await stream.send(await make(script) + prefixed(bytes(40)))
        data, _ = await heard_until_closed(stream)
        assert len(data) < 1_000
        assert script.sending.n > after or make in (reflected,)
    assert "session with bad at 127.0.0.1" in caplog.text


async def test_the_end_without_a_close_record_is_a_loss(caplog: Any) -> None:
    ends: list[SessionError] = []

    async def wait(listener: Listener) -> None:
        ends.append(await (await listener.accept()).wait_closed())

    async with (
        chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=Trust.of(BAD.public_key)) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(wait, listener)
        async with await dial(listener) as stream:
            await trusted(stream)
        with anyio.fail_after(PATIENCE):
            await until(lambda: ends)
    assert isinstance(ends[0], SessionLost | chanlink.ConnectionLost)


# --- frames ---------------------------------------------------------------------------------------------


class Peers:
    """A trusted peer that says frames, and what it hears."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.script = Transcript(greet=False)
        self.frames: list[tuple[Any, ...]] = []
        self.closed = False
        self._data = b""
        self._decoder = hpack.Decoder()

    async def listen(self) -> None:
        with suppress(SessionError, anyio.EndOfStream):
            while True:
                self._data += await self.stream.receive()
                self._cut()
        self.closed = True

    def _cut(self) -> None:
        while len(self._data) >= 9:
            frame, length = hf.Frame.parse_frame_header(memoryview(self._data[:9]))
            if len(self._data) < 9 + length:
                return
            frame.parse_body(memoryview(self._data[9 : 9 + length]))
            self._data = self._data[9 + length :]
            if isinstance(frame, hf.HeadersFrame):
                frame.fields = dict(self._decoder.decode(frame.data))  # type: ignore[attr-defined]
            if (short := _short(frame)) is not None:
                self.frames.append(short)

    async def say(self, *parts: bytes) -> None:
        await self.stream.send(b"".join(parts))


@asynccontextmanager
async def framing(listener: Listener, *, reads: bool = True) -> AsyncIterator[Peers]:
    statics = Statics(BAD, Role.CLIENT)

    def anybody(presented: Presented) -> Grant:
        return Grant("", None)

    authenticated = await handshake_as_client(await dial(listener), statics, anybody, Limits())
    peer = Peers(authenticated.stream)
    async with anyio.create_task_group() as tasks:
        if reads:
            tasks.start_soon(peer.listen)
        await peer.say(PREFACE, Transcript.settings(Limits()), Transcript.window(0, CONNECTION_WINDOW - 65_535))
        yield peer
        tasks.cancel_scope.cancel()
    await anyio.aclose_forcefully(authenticated.stream)


def floods() -> dict[str, Callable[[Transcript], Iterator[bytes]]]:
    if sys.platform != "linux":
        return {}
    from tests.bench import hostile

    # The others are credit that is asked for or not given: that is no offence, and has its own test.
    return {name: make for name, make in hostile.FLOODS.items() if "one byte" not in name and "stall" not in name}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # it is the mux that counts
@pytest.mark.parametrize("name", floods())
async def test_a_flood_of_frames_is_answered_by_goaway_and_close(name: str, caplog: Any) -> None:
    async with serving(caplog) as listener, framing(listener) as peer:
        parts = floods()[name](peer.script)
        with suppress(SessionError), anyio.fail_after(PATIENCE):
            while not peer.closed:
                await peer.say(*islice(parts, 50))
        await until(lambda: peer.closed)
        heard = [frame[0] for frame in peer.frames]
        assert heard[-1] == "GOAWAY"
        assert heard.count("GOAWAY") == 1
        assert len(heard) < 10_000
        code, text = peer.stream.peer_close
        assert code == "protocol-error"
        assert len(text) > 5  # it has a key that we trust: it may know what it did


async def test_who_floods_on_after_its_end_is_read_no_further_than_what_may_be_under_way(
    caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chanlink.session.driver.FAREWELL", PATIENCE)
    async with serving(caplog) as listener, framing(listener, reads=False) as peer:
        sent, piece = 0, bytes(1024 * 1024)
        with pytest.raises(SessionError):
            while sent < 128 * len(piece):
                await peer.say(piece)
                sent += len(piece)


async def test_who_gives_no_credit_is_sent_no_more_than_its_windows_and_harms_nobody(caplog: Any) -> None:
    async with serving(caplog) as listener, framing(listener) as peer:
        await peer.say(*(peer.script.opening(number, "bytes", service="pour") for number in range(1, 100, 2)))

        def poured() -> list[int]:
            return [
                sum(len(frame[2]) for frame in peer.frames if frame[:2] == ("DATA", number))
                for number in range(1, 100, 2)
            ]

        await until(lambda: poured() == [Limits().stream_window] * 50)
        await anyio.sleep(0.05)
        assert poured() == [Limits().stream_window] * 50
        (other,) = (session for session in listener.sessions if session.peer.name == "bad")
        queued = [stream.outgoing.queued for stream in other._mux.streams.values() if stream.carries_out]
        assert max(queued) <= Limits().send_queue + 65_536


@pytest.mark.parametrize("talks", [True, False])
async def test_who_reads_nothing_is_given_up(talks: bool, caplog: Any) -> None:
    """At once if it talks; else it may have been stopped."""
    may_stop = {} if talks else {"keepalive": 0.2, "peer_timeout": 0.6, "client_stopped": 1.0}
    limits = Limits(progress=0.3, **may_stop)
    async with serving(caplog, limits=limits) as listener, framing(listener, reads=False) as peer:
        streams = range(1, 100, 2)  # of a window each: more than sockets hold
        await peer.say(*(peer.script.opening(number, "bytes", service="pour") for number in streams))
        with suppress(SessionError):
            await peer.say(*(peer.script.window(number, 1_000_000) for number in streams))
        with anyio.fail_after(PATIENCE), suppress(SessionError):
            while len(listener.sessions) == 2:
                if talks:
                    await peer.say(peer.script.window(1, 1))
                await anyio.sleep(0.01)
        await until(lambda: len(listener.sessions) == 1)
    assert ("took nothing" if talks else "stopped for more than") in caplog.text


# --- messages -------------------------------------------------------------------------------------------

EXTENSION = b"\xc7\x01\x01"
"""A reference to an entry of the table: msgpack's extension type 1, one byte."""
MESSAGES: dict[str, tuple[bytes, str]] = {
    "too large": ((2**30).to_bytes(4, "big"), "too-large"),
    "too deep": (message(b"\x91" * 65 + b"\xc0"), "bad-message"),
    "trailing bytes": (message(b"\xc0\xc0"), "bad-message"),
    "no msgpack": (message(b"\xc1"), "bad-message"),
    "nothing": (message(b""), "bad-message"),
    "a forged reference": (message(EXTENSION + b"\0"), "bad-message"),
    "a foreign stream": (message(EXTENSION + b"\0", ("receiver", 99)), "bad-message"),
    "its own stream": (message(EXTENSION + b"\0", ("receiver", 1)), "bad-message"),
    "a repeated stream": (message(b"\xc0", ("sender", 3), ("sender", 3)), "bad-message"),
    "a repeated reference": (message(b"\x92" + (EXTENSION + b"\0") * 2, ("sender", 3)), "bad-message"),
    "an unknown extension": (message(b"\xd4\x07\0"), "bad-message"),
    "a header that claims 4 GiB": (message(b"\xdd\xff\xff\xff\xff"), "bad-message"),
}


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_bad_message_fails_its_channel_with_a_code_and_the_session_goes_on(name: str, caplog: Any) -> None:
    said, code = MESSAGES[name]
    async with serving(caplog) as listener, framing(listener) as peer:
        script = peer.script
        await peer.say(script.opening(1, "receiver", service="echo"))
        await peer.say(script.opening(3, "sender", parent=1), script.data(1, said))

        def code_of_the_refusal() -> bytes | None:
            for frame in peer.frames:
                if frame[:2] == ("HEADERS", 1) and b"code" in _bytes(frame[2]):
                    return _bytes(frame[2])[b"code"]
            return None

        await until(code_of_the_refusal)
        assert code_of_the_refusal() == code.encode()
        good = message(msgpack.packb({"value": "on", "reply": msgpack.ExtType(1, b"\0")}), ("sender", 7))
        await peer.say(script.opening(5, "receiver", service="echo"))
        await peer.say(script.opening(7, "sender", parent=5), script.data(5, good))
        await until(lambda: any(frame[:2] == ("DATA", 7) and b"on" in frame[2] for frame in peer.frames))


def _bytes(fields: dict[Any, Any]) -> dict[bytes, bytes]:
    """hpack gives the one or the other."""
    return {_raw(name): _raw(value) for name, value in fields.items()}


def _raw(word: str | bytes) -> bytes:
    return word.encode() if isinstance(word, str) else word
