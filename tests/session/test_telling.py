"""What instruments are told of sessions, their channels and services, and of connections that become none."""

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import (
    ChannelRefused,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    HandshakeError,
    HandshakeTimeout,
    Limits,
    Peer,
    Receiver,
    Sender,
    SessionClosed,
    Trust,
    UntrustedPeer,
    WrongPeer,
)
from chanlink.observing import ChannelInfo, ChannelTotals, Instrument
from chanlink.session.telling import why_not
from tests.channels.pairs import session_pair, settle
from tests.echo import ask, echo
from tests.observing.recorder import Recorder
from tests.patience import until

from .endpoints import ALICE, BOB, EVERYBODY, SERVER, TCP

pytestmark = pytest.mark.anyio


async def take_all(receiver: Receiver[Any], peer: Peer) -> None:
    async for _ in receiver:
        pass


async def fail(receiver: Receiver[Any], peer: Peer) -> None:
    async for _ in receiver:
        raise LookupError("a defect")


async def hold(receiver: Receiver[Any], peer: Peer) -> None:
    await anyio.sleep_forever()


async def drain_bytes(stream: chanlink.ByteStream, peer: Peer) -> None:
    async for _ in stream:
        pass


GIVES_UP = Limits(close=0.1)
"""A service that goes on when the session is closed is cancelled then."""

SERVICES: chanlink.Services = {
    "take": take_all,
    "fail": fail,
    "hold": hold,
    "echo": echo,
    "bytes": chanlink.streams(drain_bytes),
}


def ends(recorder: Recorder, service: str) -> list[ChannelTotals]:
    """The totals of the channels to a service that have ended."""
    return [totals for channel, totals in recorder.of("channel_ended") if channel.service == service]


# --- channels ---------------------------------------------------------------------------------------


async def test_a_channel_is_told_from_its_opening_to_its_end_on_both_sides() -> None:
    here, there = Recorder(), Recorder()
    async with session_pair(services=SERVICES, instruments=[here], server_instruments=[there]) as (client, _server):
        async with await client.open("take") as sender:
            for number in range(3):
                await sender.send(number)
            await sender.flush()
        await until(lambda: {"service_ended", "channel_ended"} <= set(there.names()) and here.of("channel_ended"))
        assert here.names() == ["session_opened", "channel_opened", "channel_ended"]
        assert there.names()[:4] == ["session_opened", "channel_opened", "channel_accepted", "service_begun"]
        assert sorted(there.names()[4:]) == ["channel_ended", "service_ended"]
    (channel, sent), (other, taken) = here.of("channel_ended")[0], there.of("channel_ended")[0]
    assert (channel.service, channel.known, channel.end, channel.ours) == ("take", True, "sender", True)
    assert (other.service, other.known, other.end, other.ours) == ("take", True, "receiver", False)
    assert (sent.sent, sent.taken, sent.outcome, sent.code) == (3, 0, "ended", "")
    assert (taken.sent, taken.taken, taken.outcome, taken.code) == (0, 3, "ended", "")
    assert sent.sent_bytes == taken.received_bytes == 3 * 5
    assert {channel} == {args[0] for args in here.of("channel_opened", "channel_ended")}
    assert {other} == {args[0] for args in there.of("channel_opened", "service_begun", "channel_ended")}
    assert channel.session is here.of("session_opened")[0][0]
    assert here.all_ended("session")
    assert there.all_ended("session")


async def test_a_nested_channel_knows_its_parent_and_is_of_its_service() -> None:
    class Family(Recorder):
        def channel_opened(self, channel: ChannelInfo, read: Any) -> None:
            self.told.append(("channel_opened", (channel, read, channel.parent)))

    here, there = Family(), Family()
    async with session_pair(services=SERVICES, instruments=[here], server_instruments=[there]) as (client, _server):
        assert await ask(client, 5) == 5
        await until(lambda: len(here.of("channel_ended")) == len(there.of("channel_ended")) == 2)
    for recorder, end in (here, "receiver"), (there, "sender"):
        (outer, _, nothing), (inner, read, parent) = recorder.of("channel_opened")
        assert (nothing, parent) == (None, outer)
        assert (outer.parent, inner.parent) == (None, None)  # both are over
        assert (inner.service, inner.label, inner.end) == ("echo", "echo", end)
        assert read().outcome == "ended"


async def test_byte_streams_are_counted_in_bytes() -> None:
    here, there = Recorder(), Recorder()
    async with session_pair(services=SERVICES, instruments=[here], server_instruments=[there]) as (client, _server):
        async with await client.open_stream("bytes") as stream:
            await stream.send(bytes(100_000))
            await stream.send_eof()
            with pytest.raises(chanlink.EndOfChannel):
                await stream.receive()
        await until(lambda: ends(here, "bytes") and ends(there, "bytes"))
    (sent,), (taken,) = ends(here, "bytes"), ends(there, "bytes")
    assert (sent.sent, sent.sent_bytes, sent.received_bytes, sent.outcome) == (0, 100_000, 0, "ended")
    assert (taken.taken, taken.received_bytes, taken.outcome) == (0, 100_000, "ended")


@pytest.mark.parametrize(
    ("read_all", "size", "outcome"), [(True, 100_000, "ended"), (True, 0, "ended"), (False, 100_000, "refused")]
)
async def test_a_file_that_was_read_to_its_end_has_ended_on_both_sides(
    tmp_path: Path, read_all: bool, size: int, outcome: str
) -> None:
    """One that can only be read: its other direction is refused at once."""
    (tmp_path / "file").write_bytes(bytes(size))

    async def store(files: Receiver[Any], peer: chanlink.Peer) -> None:
        async with await files.receive() as body:
            await body.receive() if not read_all else [piece async for piece in body]
        async for _ in files:
            pass

    here, there = Recorder(), Recorder()
    pair = session_pair(services={"store": store}, instruments=[here], server_instruments=[there])
    async with pair as (client, _server), await client.open("store") as files:
        await files.send((tmp_path / "file").open("rb"))
        await until(lambda: ends(here, "store") and ends(there, "store"))
        for recorder in here, there:
            (totals,) = ends(recorder, "store")
            assert (totals.outcome, totals.code) == (outcome, "closed" if outcome == "refused" else "")


async def test_what_an_open_channel_has_carried_can_be_read_at_any_time() -> None:
    here = Recorder()
    pair = session_pair(services=SERVICES, instruments=[here])
    async with pair as (client, _server), await client.open("take") as sender:
        ((_, read),) = here.of("channel_opened")
        assert read()[:4] == (0, 0, 0, 0)
        await sender.send("abc")
        assert read()[:4] == (1, 0, 8, 0)
        assert (read().outcome, read().code) == ("open", "")
        age = read().age
        assert read().age >= age >= 0


async def leave(sender: Sender[Any], client: chanlink.Session, server: chanlink.Session) -> None:
    sender.close()


async def fail_it(sender: Sender[Any], client: chanlink.Session, server: chanlink.Session) -> None:
    sender.fail("no-paper", "the text stays here")


async def abort(sender: Sender[Any], client: chanlink.Session, server: chanlink.Session) -> None:
    client.abort()


async def close(sender: Sender[Any], client: chanlink.Session, server: chanlink.Session) -> None:
    await server.aclose()


Act = Callable[[Sender[Any], chanlink.Session, chanlink.Session], Awaitable[None]]
ENDINGS: list[tuple[str, Act, tuple[str, str], tuple[str, str]]] = [
    ("take", leave, ("ended", ""), ("ended", "")),
    ("take", fail_it, ("failed", "no-paper"), ("failed", "no-paper")),
    ("fail", leave, ("refused", "handler-failed"), ("refused", "handler-failed")),
    ("take", abort, ("lost", "aborted"), ("lost", "session-closed")),  # in memory nobody says that it was cut
    ("hold", close, ("lost", "session-closed"), ("lost", "session-closed")),
    ("nowhere", leave, ("refused", "no-such-service"), ("refused", "no-such-service")),
    ("bytes", leave, ("refused", "wrong-kind"), ("refused", "wrong-kind")),
]


@pytest.mark.parametrize(("service", "act", "ours", "theirs"), ENDINGS)
async def test_both_sides_are_told_how_a_channel_ended(
    service: str, act: Act, ours: tuple[str, str], theirs: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "chanlink")
    here, there = Recorder(), Recorder()
    limits = GIVES_UP if service == "hold" else None
    pair = session_pair(limits, services=SERVICES, instruments=[here], server_instruments=[there])
    async with pair as (client, server):
        sender = await client.open(service)
        with anyio.move_on_after(5):
            await sender.send(1)
        await until(lambda: there.of("channel_opened"))
        await settle()
        await act(sender, client, server)
        await until(lambda: ends(here, service) and ends(there, service))
    assert [(one.outcome, one.code) for one in ends(here, service)] == [ours]
    assert [(one.outcome, one.code) for one in ends(there, service)] == [theirs]
    assert "the text stays here" not in f"{here.told} {there.told}"
    for recorder in here, there:
        assert recorder.all_ended("channel")
        assert recorder.all_ended("session")
        assert [name for name in recorder.names() if name != "service_ended"][-1] == "session_ended"


async def test_only_services_that_there_are_and_that_the_peer_may_use_are_known() -> None:
    there = Recorder()
    pair = session_pair(services=SERVICES, allows=lambda name: name != "echo", server_instruments=[there])
    async with pair as (client, _server):
        for service in ("take", "echo", "made up"):
            async with await client.open(service):
                pass
        await until(lambda: len(there.of("channel_ended")) == 3)
    assert [channel.label for channel, _ in there.of("channel_opened")] == ["take", "other", "other"]


async def test_who_accepts_by_hand_is_told_when_it_does() -> None:
    there = Recorder()
    async with session_pair(server_instruments=[there]) as (client, server):
        sender = await client.open("anything")
        await until(lambda: there.of("channel_opened"))
        assert not there.of("channel_accepted")
        incoming = await server.accept()
        ((channel,),) = there.of("channel_accepted")
        assert (channel.service, channel.label) == ("anything", "other")
        incoming.end.close()
        sender.close()


async def test_a_service_works_between_its_two_hooks_in_one_task() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="")
    seen = []

    class Sets(Instrument):
        def service_begun(self, channel: Any) -> None:
            variable.set(channel.service)

    async def look(receiver: Receiver[Any], peer: Peer) -> None:
        seen.append(variable.get())

    async with session_pair(services={"one": look, "two": look}, server_instruments=[Sets()]) as (client, _server):
        for name in ("one", "two"):
            await (await client.open(name)).wait_closed()
    assert seen == ["one", "two"]


@pytest.mark.parametrize(("service", "code"), [("take", "done"), ("fail", "handler-failed"), ("hold", "cancelled")])
async def test_it_is_told_how_a_service_ended(service: str, code: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "chanlink")
    there = Recorder()
    pair = session_pair(GIVES_UP, services=SERVICES, server_instruments=[there])
    async with pair as (client, _server), await client.open(service) as sender:
        await sender.send(1)
        await until(lambda: there.of("service_begun"))
    assert [args[1] for args in there.of("service_ended")] == [code]


async def test_a_channel_that_was_revoked_is_told_as_failed() -> None:
    there = Recorder()
    async with session_pair(GIVES_UP, services=SERVICES, server_instruments=[there]) as (client, server):
        async with await client.open("hold") as sender:
            await sender.send(1)
            await until(lambda: there.of("service_begun"))
            server._ends.arrivals.revoke(lambda service: False)
            assert isinstance(await sender.wait_closed(), ChannelRefused)
        await until(lambda: there.of("channel_ended"))
        assert [(one.outcome, one.code) for one in ends(there, "hold")] == [("failed", "revoked")]


async def test_one_that_fails_disturbs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Fails(Recorder):
        def channel_opened(self, channel: Any, read: Any) -> None:
            raise LookupError("a defect")

    fails, works = Fails(), Recorder()
    async with session_pair(services=SERVICES, server_instruments=[fails, works]) as (client, _server):
        assert [await ask(client, number) for number in range(3)] == [0, 1, 2]
    assert fails.names() == ["session_opened"]
    assert works.all_ended("channel")
    assert len([one for one in caplog.records if one.levelno >= logging.ERROR]) == 1


async def test_a_relay_is_told_with_both_channels_and_counts_are_those_of_the_whole_way() -> None:
    first, relaying, last = Recorder(), Recorder(), Recorder()
    received = []

    async def receive_one(receiver: Receiver[Any], peer: Peer) -> None:
        async with await receiver.receive() as carried:
            async for item in carried:
                received.append(item)

    async def pass_on(receiver: Receiver[Any], peer: Peer) -> None:
        async with await onward.open("receive") as requests:
            await requests.send(await receiver.receive())
            await requests.wait_closed()

    there = session_pair(services={"receive": receive_one}, instruments=[relaying], server_instruments=[last])
    here = session_pair(services={"pass": pass_on}, instruments=[first], server_instruments=[relaying])
    async with there as (onward, _), here as (client, _):
        sender, receiver = chanlink.pipe()
        async with sender, await client.open("pass") as requests:
            await requests.send(receiver)
            for number in range(5):
                await sender.send(number)
            sender.close()
            await requests.wait_closed()
        await until(lambda: all(one.all_ended("channel") for one in (first, relaying, last)))
    assert received == [0, 1, 2, 3, 4]
    ((source, onto),) = relaying.of("relay_joined")
    assert (source.service, source.ours, source.end) == ("pass", False, "receiver")
    assert (onto.service, onto.ours, onto.end) == ("receive", True, "sender")
    assert not first.of("relay_joined") + last.of("relay_joined")
    totals = dict(relaying.of("channel_ended"))
    assert totals[source].taken == totals[onto].sent == 5
    assert ("ended", 5) in [(one.outcome, one.sent) for _, one in first.of("channel_ended")]
    assert ("ended", 5) in [(one.outcome, one.taken) for _, one in last.of("channel_ended")]


# --- sessions and connections -----------------------------------------------------------------------


async def test_a_session_is_told_from_its_connection_to_its_end() -> None:
    here, there = Recorder(), Recorder()
    async with chanlink.listen(
        TCP, identity=SERVER, trust=EVERYBODY, services=SERVICES, instruments=[there]
    ) as listener:
        address = listener.addresses[0]
        async with chanlink.connect(address, identity=ALICE, peer=SERVER.public_key, instruments=[here]) as session:
            assert await ask(session, 1) == 1
            session.drain()
            await until(lambda: there.of("session_changed"))
        await until(lambda: there.of("session_ended"))
    assert [name for name in here.names() if "session" in name or "conn" in name] == [
        "connecting",
        "session_opened",
        "session_changed",
        "session_changed",
        "session_ended",
    ]
    assert here.of("connecting") == [(address,)]
    assert [state for _, state in here.of("session_changed")] == ["draining", "closed"]
    ((info, totals),) = here.of("session_ended")
    assert (info.peer, info.key, info.address) == ("server.example", SERVER.public_key.fingerprint, address)
    assert (info.is_client, info.suite) == (True, session.suite)
    assert (totals.cause, totals.code, totals.channels) == ("session-closed", "", 0)
    assert totals.volume > 500
    assert totals.age > 0
    ((other, _),) = there.of("session_ended")
    assert (other.peer, other.key, other.is_client) == ("alice@laptop", ALICE.public_key.fingerprint, False)


async def test_connections_that_become_no_session_are_told_on_both_sides() -> None:
    here, there = Recorder(), Recorder()
    async with chanlink.listen(TCP, identity=SERVER, trust=Trust.of(BOB.public_key), instruments=[there]) as listener:
        for key in SERVER.public_key, ALICE.public_key:
            with pytest.raises(HandshakeError):
                async with chanlink.connect(listener.addresses[0], identity=ALICE, peer=key, instruments=[here]):
                    pass
        await until(lambda: len(there.of("connection_refused")) == 2)
    assert [why for _, why in here.of("connect_failed")] == ["untrusted", "wrong-peer"]
    assert [why for _, why in there.of("connection_refused")] == ["untrusted", "handshake"]
    with pytest.raises(ConnectFailed):
        async with chanlink.connect("tcp://127.0.0.1:1", identity=ALICE, peer=SERVER.public_key, instruments=[here]):
            pass
    assert here.of("connect_failed")[-1] == ("tcp://127.0.0.1:1", "unreachable")
    assert not here.of("session_opened")
    assert not there.of("session_opened")


async def test_one_that_says_nothing_is_told_as_silent() -> None:
    there = Recorder()
    async with chanlink.listen(TCP, identity=SERVER, trust=EVERYBODY, instruments=[there]) as listener:
        host, _, port = listener.addresses[0].removeprefix("tcp://").rpartition(":")
        async with await anyio.connect_tcp(host, int(port)):
            pass
        await until(lambda: there.of("connection_refused"))
    assert [why for _, why in there.of("connection_refused")] == ["silent"]


async def test_a_server_over_one_byte_stream_is_told_the_same() -> None:
    here, there = chanlink.byte_pipe()
    recorder = Recorder()
    await here.send(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(HandshakeError):
        async with chanlink.accept(there, identity=SERVER, trust=EVERYBODY, instruments=[recorder]):
            pass
    here.close()
    assert recorder.told == [("connection_refused", ("ByteStream", "handshake"))]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (UntrustedPeer("SHA256:x"), "untrusted"),
        (WrongPeer("a", "b"), "wrong-peer"),
        (HandshakeTimeout("x"), "timeout"),
        (HandshakeError("x", code="clock"), "clock"),
        (HandshakeError("x", code="no-answer"), "no-answer"),
        (HandshakeError("x", code="made-up"), "handshake"),
        (ConnectFailed("x"), "unreachable"),
        (ConnectionLost("x"), "connection-lost"),
        (anyio.BrokenResourceError(), "connection-lost"),
        (SessionClosed("busy"), "busy"),
        (SessionClosed("a word of the peer's"), "closed"),
        (ConfigError("x"), "config"),
        (LookupError("x"), "internal"),
        (KeyboardInterrupt(), "cancelled"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, BaseException) else one,
)
def test_why_there_is_no_session_is_one_word_of_a_list(error: BaseException, word: str) -> None:
    assert why_not(error) == word
    assert f"``{word}``" in (Instrument.connect_failed.__doc__ or "")


async def test_channels_in_channels_keep_only_those_that_are_open() -> None:
    async def follow(receiver: Receiver[Any], peer: Peer) -> None:
        while True:
            async with receiver:
                following = await receiver.receive()
            receiver = following

    latest: list[ChannelInfo] = []

    class Keeps(Instrument):
        def channel_opened(self, channel: ChannelInfo, read: object) -> None:
            latest[:] = [channel]

    async with session_pair(services={"follow": follow}, instruments=[Keeps()]) as (session, _):
        sender = await session.open("follow")
        for _ in range(20):
            following, receiver = chanlink.pipe()
            await sender.send(receiver)
            sender.close()
            sender = following
        await until(lambda: session.statistics().channels == 1)
        depth, one = 0, latest[0].parent
        while one is not None:
            depth, one = depth + 1, one.parent
        assert depth == 1  # its parent is over, and what that was in is not kept for it
        assert "parent" not in repr(latest[0])
