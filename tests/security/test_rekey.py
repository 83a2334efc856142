"""New keys for records while data flows on (protocol sections 3.4 to 3.6)."""

import gc
import hashlib
import hmac
import os
import types
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from chanlink import ConnectionLost, Identity, Limits, Peer, RemoteProtocolError, Session, clock
from chanlink.instrument import Instruments
from chanlink.limits import Bucket
from chanlink.security import suites
from chanlink.security.handshake import Authenticated, handshake_as_client
from chanlink.security.handshake_server import handshake_as_server
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.noise.state import HandshakeState, hkdf
from chanlink.security.noise.x25519 import generate_keypair
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.rekey import ANSWER, ASK, DONE, REKEY, START, RecordKeys, Secrets, Thresholds, secrets_of
from chanlink.security.statics import Statics
from chanlink.testing import session_over
from chanlink.transport.address import parse_address
from chanlink.transport.listen import listening_sockets
from chanlink.transport.reaching import connect_socket
from chanlink.transport.sockets import SocketTransport
from tests.observing.recorder import Recorder
from tests.patience import PATIENCE, until
from tests.wire.muxes import overdue_at

from .wires import prefixed, wires

pytestmark = pytest.mark.anyio
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])
SUITES = pytest.mark.parametrize("suite", ["chachapoly", "aegis256"])

ALICE, SERVER = Identity.generate("alice"), Identity.generate("server")
SECRETS = Secrets(bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96)), bytes(range(96, 128)))
USUAL = Thresholds()
OFTEN = Thresholds(records=8, volume=1, burst=10**9)
"""A new epoch as often as there can be one."""


class Keys:
    """`RecordKeys` whose records are bytes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._keys = RecordKeys(*args, plain=memoryview(bytearray(65_535)), **options)
        self._out = memoryview(bytearray(65_535))

    def seal(self, kind: int, body: bytes) -> bytes:
        return bytes(self._out[: self._keys.seal(kind, [body], self._out)])

    def next_record(self, now: float) -> bytes:
        return bytes(self._out[: self._keys.next_record(now, self._out)])

    def open(self, record: bytes) -> bytes:
        return bytes(self._keys.open(memoryview(record)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._keys, name)


class Side:
    """One side's keys; what it sends waits in ``sent`` until the other side takes it."""

    def __init__(self, client_side: bool, thresholds: Thresholds = USUAL, suite: str = "chachapoly") -> None:
        self.keys: Any = Keys(SECRETS, suites._usable()[suite], client_side=client_side, now=0.0, thresholds=thresholds)
        self.sent: list[bytes] = []

    def write(self, body: bytes, now: float = 0.0) -> None:
        """As `NoiseStream.send`."""
        self.keys.check()
        if self.keys.has_record(now):
            self.sent.append(self.keys.next_record(now))
        if body:
            self.sent.append(self.keys.seal(0, body))

    def read(self, other: "Side", now: float = 0.0) -> list[bytes]:
        """Take all that the other side has sent; returns the data in it."""
        records, other.sent = other.sent, []
        data = []
        for record in records:
            plaintext = self.keys.open(record)
            if plaintext[0] == REKEY:
                self.keys.receive(plaintext[1:], now)
            else:
                data.append(plaintext[1:])
        return data


def sides(thresholds: Thresholds = USUAL, suite: str = "chachapoly") -> tuple[Side, Side]:
    return Side(True, thresholds, suite), Side(False, thresholds, suite)


def numbers(side: Side, other: Side) -> list[int]:
    """The numbers of the rekey records that a side is about to deliver; it delivers them."""
    found = []
    for record in side.sent:
        plaintext = other.keys.open(record)
        if plaintext[0] == REKEY:
            found.append(plaintext[1])
            other.keys.receive(plaintext[1:], 0.0)
    side.sent = []
    return found


# --- REKEY ----------------------------------------------------------------------------------------------


def test_the_key_of_a_direction_is_replaced_after_every_16384th_record_and_the_counter_goes_on() -> None:
    client, server = sides()
    known = bytes.fromhex("50835543a205b22c9323f2022bc4f67d838f90e61d5ccf33c4513e01f85b5042")
    for number in range(1, 2**14 + 1):
        assert client.keys._sending.k == SECRETS.client_key
        assert server.keys.open(client.keys.seal(0, b"")) == b"\0"
        assert client.keys._sending.n == server.keys._receiving.n == number
    assert client.keys._sending.k == server.keys._receiving.k == known
    assert client.keys._receiving.k == server.keys._sending.k == SECRETS.server_key
    assert server.keys.open(client.keys.seal(0, b"next")) == b"\0next"
    assert client.keys._sending.n == 2**14 + 1


@SUITES
def test_records_before_and_after_it_are_understood_and_late_ones_are_not(suite: str) -> None:
    client, server = sides(Thresholds(records=4), suite)
    stale = Side(True, Thresholds(records=10**9), suite)
    for number in range(50):
        body = b"%d" % number
        assert server.keys.open(client.keys.seal(0, body)) == b"\0" + body
        late = stale.keys.seal(0, body)  # the same nonce, and from the fifth on an old key
        if number >= 4:
            with pytest.raises(RemoteProtocolError):
                Side.read(server, _sent(late))


def _sent(*records: bytes) -> Side:
    side = Side(True)
    side.sent = list(records)
    return side


# --- a new epoch ----------------------------------------------------------------------------------------


@SUITES
def test_a_client_starts_by_time_and_each_side_changes_its_keys_after_its_last_word(suite: str) -> None:
    client, server = sides(suite=suite)
    client.write(b"before", 119.9)
    assert server.read(client) == [b"before"]
    client.write(b"one", 120.0)
    assert len(client.sent) == 2
    assert server.read(client, 120.0) == [b"one"]
    client.write(b"still the old key", 120.0)
    assert server.read(client, 120.0) == [b"still the old key"]
    old = server.keys._sending.k, client.keys._sending.k
    server.write(b"two", 120.0)
    assert server.keys._sending.k != old[0]
    assert client.read(server, 120.0) == [b"two"]
    assert client.keys._receiving.k == server.keys._sending.k
    assert (client.keys.epoch, server.keys.epoch) == (0, 0)
    client.write(b"three", 120.0)
    assert client.keys._sending.k != old[1]
    assert server.read(client, 120.0) == [b"three"]
    assert server.keys._receiving.k == client.keys._sending.k
    assert (client.keys.epoch, server.keys.epoch) == (1, 1)
    assert not client.keys.has_record(239.9)
    assert client.keys.has_record(240.0)


def test_the_inner_handshake_is_that_of_the_protocol_page() -> None:
    """Written out a second time, by the page alone."""
    client, _ = sides()
    start = client.keys.next_record(0.0)
    server = suites.suite("chachapoly").cipher
    message = server.decrypt(start, b"", bytes(12), SECRETS.client_key)
    assert message[:2] == bytes([REKEY, START])
    assert len(message) == 2 + 48
    (psk,) = hkdf("blake2s", SECRETS.exporter_secret, SECRETS.h, 1)
    prologue = SECRETS.h + (1).to_bytes(8, "big") + b"chachapoly"
    noise = HandshakeState("Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s", False, prologue=prologue, psks=[psk])
    assert noise.read_message(message[2:]) == b""
    answer = noise.write_message()
    client.keys.receive(bytes([ANSWER]) + answer, 0.0)
    secrets = secrets_of(noise)
    assert client.keys._receiving.k == secrets.server_key
    client.keys.next_record(0.0)
    assert client.keys._sending.k == secrets.client_key
    assert client.keys._secrets == secrets.without_keys()


def test_a_server_asks_by_volume_and_the_client_starts() -> None:
    thresholds = Thresholds(volume=1_000)
    client, server = Side(True), Side(False, thresholds)
    server.write(bytes(2_000))
    client.read(server)
    assert not client.keys.has_record(0.0)
    server.write(b"")
    assert numbers(server, client) == [ASK]
    client.write(b"")
    assert numbers(client, server) == [START]
    server.write(b"")
    assert numbers(server, client) == [ANSWER]
    client.write(b"")
    assert numbers(client, server) == [DONE]
    assert client.keys.epoch == server.keys.epoch == 1


def test_a_server_asks_a_client_that_does_not_start_by_time() -> None:
    _, server = sides()
    assert not server.keys.has_record(149.9)
    assert server.keys.has_record(150.0)


def test_volume_counts_both_directions() -> None:
    client, server = sides(Thresholds(volume=2_000))
    client.write(bytes(1_000))
    server.write(bytes(1_000))
    assert not client.keys.has_record(0.0)
    assert not server.keys.has_record(0.0)
    server.read(client)
    client.read(server)
    assert client.keys.has_record(0.0)
    assert server.keys.has_record(0.0)


def test_when_both_begin_at_once_the_server_drops_its_own() -> None:
    client, server = sides(Thresholds(volume=1_000))
    client.write(bytes(2_000))
    server.write(bytes(2_000))
    client.write(b"")
    server.write(b"")
    assert numbers(server, client) == [ASK]  # crossing with
    assert numbers(client, server) == [START]
    for side, other, number in [(server, client, ANSWER), (client, server, DONE)]:
        side.write(b"")
        assert numbers(side, other) == [number]
    assert client.keys.epoch == server.keys.epoch == 1
    assert not client.keys.has_record(0.0)
    assert not server.keys.has_record(0.0)


@pytest.mark.parametrize("begins", ["client", "server", "both"])
@SUITES
def test_whoever_else_has_the_keys_can_read_nothing_once_a_new_epoch_was_begun(begins: str, suite: str) -> None:
    client, server = sides(suite=suite)
    observers = {"client": Side(False, suite=suite), "server": Side(True, suite=suite)}
    """One for each direction, who has had the keys and looks on."""
    if begins != "server":
        client.keys.begin_epoch()
    if begins != "client":
        server.keys.begin_epoch()
    observed = []
    for number in range(3):
        for name, one, other in [("client", client, server), ("server", server, client)]:
            one.write(b"%s %d" % (name.encode(), number))
            observed += _opened(observers[name], one.sent)
            assert other.read(one) == [b"%s %d" % (name.encode(), number)]
    assert b"\0client 0" in observed
    assert not [plaintext for plaintext in observed if plaintext.endswith(b"2")]
    assert client.keys.epoch == server.keys.epoch == 1
    assert not client.keys.has_record(0.0)
    assert not server.keys.has_record(0.0)


def _opened(observer: Side, records: list[bytes]) -> list[bytes]:
    """What an observer reads; it takes no part."""
    found = []
    for record in records:
        with suppress(RemoteProtocolError):
            found.append(observer.keys.open(record))
    return found


def test_a_request_that_has_not_left_is_dropped_for_the_answer() -> None:
    client, server = sides(Thresholds(volume=1_000))
    server.write(bytes(2_000))
    assert server.keys.has_record(0.0)
    client.read(server)
    client.write(b"")
    server.read(client)
    server.write(b"")
    assert numbers(server, client) == [ANSWER]


@pytest.mark.parametrize("side", ["client", "server"])
def test_who_gets_no_answer_is_lost_by_time_and_by_volume(side: str) -> None:
    for now, volume, lost in [(179.9, 0, False), (180.1, 0, True), (160.0, 2_000, False), (160.0, 3_000, True)]:
        client, server = sides(Thresholds(lost_volume=2_500))
        one = client if side == "client" else server
        one.write(b"", 150.0)
        assert one.sent
        one.keys.seal(0, bytes(volume))
        if lost:
            with pytest.raises(ConnectionLost):
                one.keys.check()
                one.keys.check_time(overdue_at(now))
        else:
            one.keys.check()
            one.keys.check_time(overdue_at(now))


def test_a_process_that_has_slept_gives_the_other_side_its_time() -> None:
    client, _ = sides()
    client.keys.check_time(overdue_at(10_000.0))
    client.write(b"", 10_000.0)
    client.keys.check_time(overdue_at(10_029.0))
    with pytest.raises(ConnectionLost):
        client.keys.check_time(overdue_at(10_031.0))


def after(*steps: str) -> tuple[Side, Side]:
    """Both sides, after some rekey records."""
    client, server = sides()
    for step in steps:
        one, other = (client, server) if step == "client" else (server, client)
        if step == "client" and one.keys._queued is None:
            one.sent.append(one.keys.next_record(0.0))
        else:
            one.write(b"")
        other.read(one)
    return client, server


CASES = {
    "client": [(), ("client",), ("client", "server"), ("client", "server", "client")],
    "server": [(), ("client",), ("client", "server"), ("client", "server", "client")],
}
GOOD = {
    ("client", ()): {ASK},
    ("client", ("client",)): {ASK, ANSWER},
    ("client", ("client", "server")): set(),
    ("client", ("client", "server", "client")): {ASK},
    ("server", ()): {START},
    ("server", ("client",)): set(),
    ("server", ("client", "server")): {DONE},
    ("server", ("client", "server", "client")): {START},
}


@pytest.mark.parametrize(("side", "steps"), GOOD, ids=str)
def test_rekey_records_out_of_turn_are_refused(side: str, steps: tuple[str, ...]) -> None:
    for number in (*range(5), 255):
        client, server = after(*steps)
        one = client if side == "client" else server
        assert one.keys._expected == GOOD[side, steps]
        if number not in GOOD[side, steps]:
            with pytest.raises(RemoteProtocolError, match="out of turn"):
                one.keys.receive(bytes([number]) + bytes(48), 0.0)
    with pytest.raises(RemoteProtocolError):
        one.keys.receive(b"", 0.0)


def test_a_second_request_while_the_first_is_being_answered_is_refused() -> None:
    client, _ = sides()
    client.keys.receive(bytes([ASK]), 0.0)
    with pytest.raises(RemoteProtocolError, match="out of turn"):
        client.keys.receive(bytes([ASK]), 0.0)


@pytest.mark.parametrize("number", [START, ANSWER])
def test_any_change_of_an_inner_message_is_refused(number: int) -> None:
    for at in range(52):
        client, server = after(*["client"] * (number == ANSWER))
        one, other = (client, server) if number == START else (server, client)
        record = one.keys.next_record(0.0)
        body = other.keys.open(record)[1:]
        if at < 49:
            body = body[:at] + bytes([body[at] ^ 0x40]) + body[at + 1 :]
        else:
            body = [body[:-1], body + b"\0", body[:1]][at - 49]
        with pytest.raises(RemoteProtocolError):
            other.keys.receive(body, 0.0)


@pytest.mark.parametrize("number", [ASK, DONE])
def test_what_is_empty_must_be_empty(number: int) -> None:
    client, server = after("client", "server") if number == DONE else sides()
    with pytest.raises(RemoteProtocolError, match="something in it"):
        (server if number == DONE else client).keys.receive(bytes([number, 0]), 0.0)


def test_an_inner_handshake_of_another_session_epoch_or_suite_is_refused() -> None:
    others = [
        SECRETS._replace(h=bytes(32)),
        SECRETS._replace(exporter_secret=bytes(32)),
    ]
    for secrets in others:
        keys = Keys(secrets, suites.suite("chachapoly"), client_side=True, now=0.0)
        _, server = sides()
        with pytest.raises(RemoteProtocolError):
            server.keys.receive(bytes([START]) + keys._start(), 0.0)
    client, server = sides()
    client.keys._keys.epoch = 1
    with pytest.raises(RemoteProtocolError):
        server.keys.receive(bytes([START]) + client.keys._start(), 0.0)
    client, server = sides()
    client.keys._keys.suite = client.keys.suite._replace(name="aegis256")
    with pytest.raises(RemoteProtocolError):
        server.keys.receive(bytes([START]) + client.keys._start(), 0.0)


def test_who_renews_the_keys_all_the_time_is_a_flood() -> None:
    client, server = Side(True, OFTEN), Side(False)
    with pytest.raises(RemoteProtocolError, match="too often"):
        for _ in range(200):
            for side, other in [(client, server), (server, client), (client, server)]:
                side.write(b"x")
                other.read(side)
    assert server.keys.epoch == 100


@SUITES
def test_a_record_under_an_old_key_is_of_no_use(suite: str) -> None:
    client, server = sides(OFTEN, suite)
    kept: list[tuple[bytes, int]] = []
    for epoch in range(5):
        record = client.keys.seal(0, b"once")
        kept.append((record, client.keys._sending.n))
        assert server.keys.open(record) == b"\0once"
        for side, other in [(client, server), (server, client), (client, server)]:
            side.write(b"x")
            other.read(side)
        assert server.keys.epoch == epoch + 1
        for old, n in kept:  # whatever the counter
            for counter in range(n + 2):
                server.keys._receiving.n = counter
                with pytest.raises(RemoteProtocolError):
                    server.keys.open(old)
        server.keys._receiving.n = client.keys._sending.n


def test_a_bucket_gives_so_many_at_once_and_so_many_a_second() -> None:
    bucket = Bucket(3, 2.0)
    assert [bucket.take(5.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(5.4)
    assert bucket.take(5.5)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


# --- the exporter ---------------------------------------------------------------------------------------


def test_exported_secrets_are_those_of_the_protocol_page() -> None:
    label, length = "test", 80
    info = b"chanlink exporter v1" + bytes([4]) + b"test" + SECRETS.h + (80).to_bytes(2, "big")
    one = hmac.new(SECRETS.exporter_secret, info + b"\1", hashlib.blake2s).digest()
    two = hmac.new(SECRETS.exporter_secret, one + info + b"\2", hashlib.blake2s).digest()
    three = hmac.new(SECRETS.exporter_secret, two + info + b"\3", hashlib.blake2s).digest()
    assert SECRETS.export(label, length) == (one + two + three)[:80]
    assert len({SECRETS.export(label, length)[:16] for label in ("a", "b", "aa") for length in (16, 32, 33)}) == 9
    assert len(SECRETS.export("x" * 255, 8_160)) == 8_160


@pytest.mark.parametrize(("label", "length"), [("", 32), ("x" * 256, 32), ("é", 32), ("x", 0), ("x", 8_161)])
def test_what_can_not_be_exported_is_refused(label: str, length: int) -> None:
    with pytest.raises(ValueError, match=r"label|secret"):
        SECRETS.export(label, length)


# --- streams and sessions -------------------------------------------------------------------------------


async def authenticated(
    client_end: ByteStream, server_end: ByteStream, thresholds: Thresholds
) -> tuple[NoiseStream, NoiseStream]:
    found: dict[str, Authenticated] = {}

    def anybody(presented: Presented) -> Grant:
        return Grant("somebody", None)

    async def serve() -> None:
        statics = Statics(SERVER, Role.SERVER)
        found["server"] = await handshake_as_server(server_end, statics, anybody, Limits(), thresholds=thresholds)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        statics = Statics(ALICE, Role.CLIENT)
        client = await handshake_as_client(client_end, statics, anybody, Limits(), thresholds=thresholds)
    return client.stream, found["server"].stream


@asynccontextmanager
async def sessions(thresholds: Thresholds, **options: Any) -> AsyncIterator[tuple[Session, Session]]:
    """Two sessions over a TCP connection. The options are the client's."""
    listening = await listening_sockets(parse_address("tcp://127.0.0.1:0"))
    near = await connect_socket(parse_address(listening.addresses[0]))
    await anyio.wait_readable(listening.sockets[0])
    far = SocketTransport(listening.sockets[0].accept()[0])
    listening.close()
    streams = await authenticated(near, far, thresholds)
    peer = Peer(None, "peer", "here")
    async with (
        Session(streams[1], client_side=False, peer=peer) as server,
        Session(streams[0], client_side=True, peer=peer, **options) as client,
    ):
        yield client, server


async def pass_through(session: Session, other: Session, count: int, size: int) -> None:
    """Send messages one way, and check each of them."""
    sender = await session.open("load")
    receiver = (await other.accept()).end
    data = os.urandom(size)

    async def send() -> None:
        async with sender:
            for number in range(count):
                await sender.send([number, data])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        for number in range(count):
            assert await receiver.receive() == [number, data]


EPOCHS = int(os.environ.get("CHANLINK_REKEYS", "300"))
"""`make rekeys` has ten thousand of them."""


async def test_an_instrument_is_told_of_new_keys() -> None:
    recorder = Recorder()
    limits = Limits(unmentioned=0.03)  # a third of which is how often it looks
    async with sessions(OFTEN, limits=limits, instruments=Instruments([recorder])) as (client, server):
        await pass_through(client, server, 30, 1_000)
        await until(lambda: recorder.of("keys_renewed"))
        epochs = [epoch for _, epoch in recorder.of("keys_renewed")]
        assert 0 < epochs[0] <= epochs[-1] <= client._below.epoch


@pytest.mark.timeout(600)
async def test_keys_are_renewed_again_and_again_under_load_in_both_directions_and_nothing_is_lost() -> None:
    async with sessions(OFTEN) as (client, server):
        keys = [session._below._keys for session in (client, server)]  # type: ignore[attr-defined]
        secret = client.exporter("test", 32)
        for _ in range(1_000_000):
            if min(each.epoch for each in keys) >= EPOCHS:
                break
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pass_through, client, server, 30, 3_000)
                tasks.start_soon(pass_through, server, client, 30, 100_000)
        assert client.exporter("test", 32) == server.exporter("test", 32) == secret
        assert len(secret) == 32
        assert abs(keys[0].epoch - keys[1].epoch) <= 1


async def test_idle_sessions_renew_their_keys_though_nobody_writes() -> None:
    """The answer of a side that has nothing to send wakes its writer."""
    thresholds = Thresholds(seconds=0.05, server_seconds=0.1)
    async with sessions(thresholds) as (client, server):
        keys = [session._below._keys for session in (client, server)]  # type: ignore[attr-defined]
        while min(each.epoch for each in keys) < 3:
            await client.ping()  # a word of one side, as keepalive has it
            await anyio.sleep(0.06)


async def test_a_session_that_gets_no_new_keys_is_lost() -> None:
    client_end, server_end = wires(patient=True)
    client, _ = await authenticated(client_end, server_end, Thresholds(volume=1_000, lost_volume=100_000))
    with pytest.raises(ConnectionLost, match="renew"):
        for _ in range(100):
            await client.send(bytes(2_000))  # nobody answers


NOT_LOOKED_INTO = (type, types.ModuleType, types.FunctionType, types.CoroutineType)


def held(root: Any) -> set[bytes]:
    """All byte strings that an object leads to, through whatever is not a module, a class, a function or a coroutine:
    that of a test holds what the test compares with."""
    found, seen, left = set(), set(), [root]
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, NOT_LOOKED_INTO):
            continue
        seen.add(id(one))
        if type(one) is bytes:
            found.add(one)
        left += gc.get_referents(one)
    return found


@one_backend
async def test_keys_that_were_replaced_are_kept_nowhere() -> None:
    """Otherwise whoever gets hold of a process could read what was recorded before (forward secrecy)."""
    client_end, server_end = wires()
    streams = await authenticated(client_end, server_end, Thresholds(records=16, volume=10_000))
    client, server = streams
    used: set[bytes | None] = set()
    while client._keys.epoch < 2 or server._keys.epoch < 2 or client._keys._sending.n < 20:
        keys = {state.k for each in streams for state in (each._keys._sending, each._keys._receiving)}
        assert len(keys) in (2, 3)  # while the keys of one direction are changed
        now = held(streams)
        assert {*keys} <= now  # so it is found where there is something to find
        assert not (used - keys) & now
        used |= keys
        for one, other in ((client, server), (server, client)):
            await one.send(bytes(100))
            await other.receive()
    assert len(used) > 8
    assert client.export("test", 32) == server.export("test", 32)


async def test_a_replayed_record_of_an_old_epoch_ends_the_stream() -> None:
    client_end, server_end = wires()
    client, server = await authenticated(client_end, server_end, OFTEN)
    at = len(client_end.sent)
    await client.send(b"first")
    recorded = bytes(client_end.sent[at:])
    assert await server.receive() == b"first"
    for number in range(10):
        for one, other in ((server, client), (client, server)):
            await one.send(b"%d" % number)
            assert await other.receive() == b"%d" % number
    assert server._keys.epoch > 2
    server_end.feed(recorded)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            await server.receive()


@one_backend
async def test_a_stream_alone_sends_what_is_due_with_the_next_send_if_only_of_nothing() -> None:
    client_end, server_end = wires(patient=True)
    client, server = await authenticated(client_end, server_end, Thresholds(volume=100_000))
    woken: list[str] = []
    client.on_output(lambda: woken.append("client"))
    server.on_output(lambda: woken.append("server"))
    await client.send(bytes(120_000))
    assert not woken
    assert client.has_output()
    await client.send(b"x")  # after the start, in one go
    left = 120_001
    while left:
        left -= len(await server.receive())
    with anyio.move_on_after(0.01):
        await server.receive()
    assert set(woken) == {"server"}
    assert server.has_output()
    await server.send(b"")
    assert not server.has_output()
    await server.send(b"y")
    assert await client.receive() == b"y"
    assert woken[-1] == "client"
    await client.send(b"z")
    assert await server.receive() == b"z"
    assert client._keys.epoch == server._keys.epoch == 1
    assert not client.has_output()
    assert not server.has_output()


@one_backend
async def test_a_bad_rekey_record_ends_the_stream_and_nothing_after_it_is_delivered() -> None:
    client_end, server_end = wires()
    client, server = await authenticated(client_end, server_end, Thresholds())
    await client.send(b"first")
    await client.send_record(REKEY, bytes([START]) + generate_keypair().public + bytes(16))
    await client.send(b"last")
    assert await server.receive() == b"first"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="rekey"):
            await server.receive()


@one_backend
async def test_a_cut_off_rekey_record_is_a_loss() -> None:
    client_end, server_end = wires()
    client, server = await authenticated(client_end, server_end, Thresholds())
    client_end.edit = lambda at, data: b""
    at = len(client_end.sent)
    client._keys._queued = (START, client._keys._start())
    await client.send(b"")
    server_end.feed(bytes(client_end.sent[at:])[:-1])
    server_end.end()
    with pytest.raises(ConnectionLost):
        await server.receive()


def test_no_key_stands_in_a_representation() -> None:
    client, _ = sides()
    shown = repr(client.keys) + repr(SECRETS) + str(SECRETS)
    for secret in SECRETS:
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


def test_prefixed_records_of_the_helpers_are_those_of_the_page() -> None:
    assert prefixed(b"abc") == b"\0\3abc"


async def test_a_session_in_the_clear_has_nothing_to_export() -> None:
    one, two = wires(patient=True)
    async with session_over(one, client_side=True) as client, session_over(two, client_side=False):
        with pytest.raises(ValueError, match="no secrets"):
            client.exporter("test", 32)


async def test_an_answer_wakes_the_writer_of_a_session_that_has_nothing_else_to_send() -> None:
    async with sessions(Thresholds(seconds=1e9, server_seconds=1e9)) as (client, server):
        keys = [session._below._keys for session in (client, server)]  # type: ignore[attr-defined]
        await client.ping()
        await anyio.sleep(0.05)  # nothing is under way any more
        keys[0]._queued = (START, keys[0]._start())
        client._driver.wake_writer()
        with anyio.fail_after(PATIENCE):
            while min(each.epoch for each in keys) < 1:
                await anyio.sleep(0.01)


@one_backend
async def test_a_client_that_only_receives_notices_that_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    client_end, server_end = wires(patient=True)
    client, server = await authenticated(client_end, server_end, Thresholds(seconds=1e6, server_seconds=1e9))
    woken: list[bool] = []
    client.on_output(lambda: woken.append(True))
    await server.send(b"one")
    assert await client.receive() == b"one"
    assert not woken
    monkeypatch.setattr(clock, "now", lambda now=clock.now: now() + 1e6)
    await server.send(b"two")
    assert await client.receive() == b"two"
    assert woken
