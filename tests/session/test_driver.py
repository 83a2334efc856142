"""The driver of a session by itself: between a multiplexer and a stream that do what a test wants."""

import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn

import anyio
import pytest

from chanlink import ConnectionLost, Limits, Peer, PeerTimeout, RemoteProtocolError, SessionClosed, SessionError
from chanlink.bytes_like import Part
from chanlink.channels.values import Kind
from chanlink.security.stream import SecureStream
from chanlink.session.driver import Driver, Phase
from chanlink.wire.multiplexer import MuxStatistics, Owner
from chanlink.wire.opening import Opening
from chanlink.wire.stream import Stream
from tests.patience import PATIENCE, until

pytestmark = pytest.mark.anyio


class Below(SecureStream):
    """A stream whose other end is the test."""

    can_send_now = True
    peer_close = ("", "")
    sent_at = -math.inf
    suite = "none"
    volume = 0

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.sent_now: list[bytes] = []
        self.words: tuple[str, str] | None = None
        self.closed = False
        self.all_leaves = True
        self.rest = False
        self.arrivals: deque[bytes | Exception] = deque()
        self.arrived = anyio.Event()

    def send_now(self, parts: Iterable[Part]) -> bool:
        self.sent_now.append(b"".join(parts))
        self.rest = not self.all_leaves
        return self.all_leaves

    def has_output(self) -> bool:
        return self.rest

    def on_output(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    async def send_parts(self, parts: Sequence[Part]) -> None:
        await anyio.lowlevel.checkpoint()
        self.rest = False
        self.sent.append(b"".join(parts))

    async def send(self, item: bytes) -> None:
        await self.send_parts([item])

    async def send_eof(self) -> None:
        await self.send_close("")

    async def send_close(self, code: str, text: str = "") -> None:
        self.words = (code, text)

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        while not self.arrivals:
            self.arrived = anyio.Event()
            await self.arrived.wait()
        one = self.arrivals.popleft()
        if isinstance(one, Exception):
            self.arrivals.appendleft(one)  # who has ended stays so
            raise one
        return one

    async def receive_all(self, take: Callable[[Iterable[bytes]], None]) -> NoReturn:
        while True:
            take([await self.receive()])

    def check_time(self, overdue: Callable[[float, float], bool]) -> None: ...

    def peer_acknowledges(self, seconds: float) -> bool:
        return False

    def export(self, label: str, length: int) -> bytes:
        return bytes(length)

    async def aclose(self) -> None:
        self.closed = True


class FakeMux:
    """Sends what a test has put into `queue`, and keeps what arrives."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.streams: Mapping[int, Stream] = {}
        self.has_message = False
        self.arrivals = 0
        self.queue: list[bytes] = []
        self.arrived: list[bytes] = []
        self.problem: Exception | None = None
        self.draining = False
        self.concluded = False
        self.empty = True
        self.cause: SessionError | None = None
        self.given_up: str | None = None
        self.pings: list[bytes] = []
        self.round_trips: list[float] = []

    def say(self, data: bytes) -> None:
        self.has_message = True
        self.queue.append(data)
        self.owner.wake_writer()

    def check_open(self, count: int, *, top_level: bool = False) -> None: ...

    def open(self, opening: Opening) -> Stream:
        raise NotImplementedError

    def claim(self, parent: Stream, kind: Kind, stream_id: int) -> Stream | None:
        raise NotImplementedError

    def data_to_send(self, now: float) -> list[bytes | bytearray | memoryview]:
        self.has_message = False
        data, self.queue = self.queue, []
        return list(data)

    def receive_data(self, data: bytes | bytearray, now: float) -> None:
        if self.problem is not None:
            self.queue = [b"GOAWAY"]
            raise self.problem
        self.arrivals += 1
        self.arrived.append(bytes(data))

    def ping(self, payload: bytes) -> None:
        self.pings.append(payload)

    def measured(self, round_trip: float) -> None:
        self.round_trips.append(round_trip)

    def tick(self, overdue: Callable[[float, float], bool]) -> None: ...

    def statistics(self) -> MuxStatistics:
        return MuxStatistics(0, 0, 0.0)

    def drain(self) -> None:
        self.draining = True

    def conclude(self) -> None:
        self.draining = self.concluded = True
        self.owner.wake_writer()  # who asks `drained`

    def drained(self) -> bool:
        return self.empty

    def give_up(self, code: str, cause: SessionError, peer: str = "") -> None:
        self.given_up = code

    def drop_arrived(self) -> None: ...

    def lose(self, cause: SessionError, peer: str = "") -> None:
        self.cause = cause


class Driven(Driver):
    """A driver, and what it stands between."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.stream = Below()
        self.opened: list[Stream] = []
        self.phases: list[Phase] = []
        super().__init__(
            self.stream,
            FakeMux,
            Peer(None, "peer", "here"),
            limits or Limits(),
            client_side=True,
            opened=self.opened.append,
            changed=self.note,
        )
        assert isinstance(self.mux, FakeMux)
        self.fake = self.mux

    def note(self) -> None:
        self.phases.append(self.phase)

    def arrive(self, data: bytes | Exception) -> None:
        self.stream.arrivals.append(data)
        self.stream.arrived.set()


@asynccontextmanager
async def running(limits: Limits | None = None) -> AsyncIterator[Driven]:
    """A driver that runs; it ends in any case, and lets go of its stream."""
    driver = Driven(limits)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(driver.run)
            yield driver
            driver.abort()
    assert driver.phase is Phase.SAID
    assert driver.stream.closed
    assert driver.phases.count(Phase.OVER) == driver.phases.count(Phase.SAID) == 1
    assert [phase.value for phase in driver.phases] == sorted(phase.value for phase in driver.phases)


# --- bytes ----------------------------------------------------------------------------------------------


async def test_what_is_queued_leaves_in_one_go_once_the_writer_has_its_turn() -> None:
    async with running() as driver:
        for data in (b"a", b"b", b"c"):
            driver.fake.say(data)
        await until(lambda: driver.stream.sent == [b"abc"])
        driver.fake.say(b"d")
        await until(lambda: driver.stream.sent == [b"abc", b"d"])
        assert not driver.stream.sent_now
        assert driver.liveness.writing_since == math.inf


async def test_what_the_stream_itself_has_to_say_leaves_though_the_mux_has_nothing() -> None:
    async with running() as driver:
        driver.stream.rest = True
        driver.stream.wake()
        await until(lambda: driver.stream.sent == [b""])


async def test_what_arrives_goes_to_the_mux_and_is_a_sign_of_life() -> None:
    async with running() as driver:
        heard = driver.liveness.heard
        driver.arrive(b"x")
        driver.arrive(b"y")
        await until(lambda: driver.fake.arrived == [b"x", b"y"])
        assert driver.liveness.heard > heard


async def test_channels_that_the_peer_opens_are_told_on() -> None:
    driver, stream = Driven(), object.__new__(Stream)
    driver.fake.owner.stream_opened(stream)
    assert driver.opened == [stream]


# --- without waiting ------------------------------------------------------------------------------------


async def test_a_flush_sends_a_message_at_once() -> None:
    driver = Driven()
    driver.fake.say(b"question")
    assert driver.flush()
    assert driver.stream.sent_now == [b"question"]
    assert driver.liveness.writing_since == math.inf


async def test_a_flush_that_leaves_a_rest_leaves_it_to_the_writer_whose_patience_begins() -> None:
    driver = Driven()
    driver.stream.all_leaves = False
    driver.fake.say(b"question")
    assert driver.flush()
    assert driver.stream.has_output()
    assert driver.liveness.writing_since < math.inf


@pytest.mark.parametrize("why", ["no message", "the stream can't", "others were woken", "it is over"])
async def test_a_flush_does_nothing_when_it_would_not_help(why: str) -> None:
    driver = Driven()
    driver.fake.say(b"question")
    match why:
        case "no message":  # credit, say, which nobody waits for
            driver.fake.has_message = False
        case "the stream can't":
            driver.stream.can_send_now = False
        case "others were woken":
            driver.fake.arrivals += 2
        case _:
            driver.lose(SessionClosed())
    assert not driver.flush()
    assert not driver.stream.sent_now


@pytest.mark.parametrize("problem", [ConnectionLost("broken"), ValueError("a defect")], ids=["broken", "defect"])
async def test_what_goes_wrong_in_a_flush_is_the_end_of_the_session_and_not_of_the_caller(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driven()

    def send_now(parts: Iterable[Part]) -> bool:
        raise problem

    monkeypatch.setattr(driver.stream, "send_now", send_now)
    driver.fake.say(b"question")
    assert driver.flush()
    assert isinstance(driver.cause, ConnectionLost)
    assert problem in (driver.cause, driver.cause.__cause__)


# --- pings ----------------------------------------------------------------------------------------------


async def test_a_ping_measures_the_round_trip() -> None:
    async with running() as driver, anyio.create_task_group() as tasks:
        measured: list[float] = []

        async def measure() -> None:
            measured.append(await driver.ping())

        tasks.start_soon(measure)
        await until(lambda: driver.fake.pings)
        driver.pong(b"another")
        assert not measured
        driver.pong(driver.fake.pings[0])
        await until(lambda: measured)
        assert measured[0] > 0
        assert len(driver.fake.round_trips) == 1


async def test_the_end_of_the_session_ends_pings() -> None:
    async with running() as driver, anyio.create_task_group() as tasks:

        async def measure() -> None:
            with pytest.raises(ConnectionLost, match="gone"):
                await driver.ping()

        tasks.start_soon(measure)
        await until(lambda: driver.fake.pings)
        driver.lose(ConnectionLost("gone"))
    with pytest.raises(ConnectionLost, match="gone"):
        await driver.ping()


# --- the end --------------------------------------------------------------------------------------------


async def test_a_session_that_is_closed_drains_says_so_and_is_over() -> None:
    async with running() as driver, anyio.create_task_group() as tasks:
        driver.fake.empty = False
        tasks.start_soon(driver.close)
        await until(lambda: driver.phase is Phase.CLOSING)
        assert driver.fake.concluded
        assert driver.state == "draining"
        with pytest.raises(SessionClosed, match="draining"):
            driver.check()
        assert driver.cause is None
        driver.fake.empty = True
        driver.fake.say(b"the last one")
        await until(lambda: driver.phase is Phase.OVER)
        assert driver.stream.sent == [b"the last one"]
        await until(lambda: driver.stream.words == ("", ""))
        driver.arrive(anyio.EndOfStream())  # the peer has ended, too
        assert (await driver.wait_closed()).args == SessionClosed().args


@pytest.mark.parametrize("peer_too", [False, True])
async def test_a_session_that_drains_lives_on(peer_too: bool) -> None:
    async with running() as driver:
        assert driver.state == "open"
        if peer_too:
            driver.fake.owner.peer_drains()
            assert driver.state == "draining"
            assert not driver.fake.draining
        driver.drain()
        driver.drain()
        driver.fake.owner.peer_drains()
        assert driver.state == "draining"
        assert driver.phases == [Phase.DRAINING] * (1 + peer_too)
        assert driver.fake.draining
        assert not driver.fake.concluded
        driver.check()
        driver.fake.say(b"goes on")
        await until(lambda: driver.stream.sent == [b"goes on"])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(driver.close)
            await until(lambda: driver.stream.words == ("", ""))
            driver.arrive(anyio.EndOfStream())
        assert driver.fake.concluded
        assert driver.state == "closed"


async def test_what_does_not_drain_in_time_is_over_nevertheless() -> None:
    async with running(Limits(close=0.05)) as driver:
        driver.fake.empty = False
        driver.arrive(b"")
        await driver.close()
        assert driver.phase is Phase.SAID


async def test_a_block_that_raises_gives_its_channels_up_with_a_code() -> None:
    async with running() as driver, anyio.create_task_group() as tasks:
        tasks.start_soon(driver.give_up, "cancelled")
        await until(lambda: driver.stream.words is not None)
        assert driver.fake.given_up == "cancelled"
        assert driver.stream.words == ("cancelled", "")
        driver.arrive(anyio.EndOfStream())


async def test_the_first_cause_stays_and_phases_go_forward() -> None:
    async with running() as driver:
        first = PeerTimeout("silence")
        driver.lose(first)
        driver.lose(SessionClosed())
        driver.arrive(anyio.EndOfStream())
        await driver.close()
        driver.drain()
        driver.peer_drains()
        assert driver.phase in (Phase.OVER, Phase.SAID)
        assert await driver.wait_closed() is first
    assert driver.fake.cause is first
    assert driver.stream.words == ("peer-timeout", "silence")


async def test_who_aborts_says_nothing() -> None:
    async with running() as driver:
        driver.abort()
        cause = await driver.wait_closed()
    assert isinstance(cause, SessionClosed)
    assert cause.code == "aborted"
    assert driver.stream.words is None


async def test_an_abort_after_the_end_spares_the_words_that_were_not_said_yet() -> None:
    driver = Driven()
    driver.lose(SessionClosed("revoked"))
    driver.abort()
    await driver.run()
    assert driver.stream.words is None
    assert driver.stream.closed
    assert isinstance(driver.cause, SessionClosed)
    assert driver.cause.code == "revoked"


async def test_the_peers_words_are_the_cause() -> None:
    async with running() as driver:
        driver.stream.peer_close = ("draining", "for the night")
        driver.arrive(anyio.EndOfStream())
        driver.arrive(anyio.EndOfStream())
        cause = await driver.wait_closed()
    assert cause.args == SessionClosed("draining", "for the night").args


async def test_a_peer_that_breaks_the_protocol_gets_what_the_mux_says_of_it_and_the_words() -> None:
    async with running() as driver:
        driver.fake.problem = RemoteProtocolError("nonsense")
        driver.arrive(b"?")
        driver.arrive(b"more of it")  # is not read any more by the mux
        driver.arrive(anyio.EndOfStream())
        assert await driver.wait_closed() is driver.fake.problem
    assert driver.stream.sent == [b"GOAWAY"]
    assert driver.stream.words == ("protocol-error", "nonsense")
    assert driver.fake.arrived == []


async def test_a_connection_that_is_lost_is_the_end_and_nobody_can_be_told() -> None:
    async with running() as driver:
        lost = ConnectionLost("cut")
        driver.arrive(lost)
        assert await driver.wait_closed() is lost
    assert driver.stream.words is None


async def test_a_defect_is_the_end_of_the_session_and_not_of_the_block(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as driver:
        driver.fake.problem = ZeroDivisionError("a defect")
        driver.arrive(b"x")
        cause = await driver.wait_closed()
    assert isinstance(cause, ConnectionLost)
    assert isinstance(cause.__cause__, ExceptionGroup)
    assert cause.__cause__.exceptions == (driver.fake.problem,)
    assert "a defect" in caplog.text


async def test_a_peer_that_does_not_listen_to_the_words_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chanlink.session.driver.FAREWELL", 0.02)
    async with running() as driver:
        driver.lose(SessionClosed("revoked"))
        await driver.wait_closed()
    assert driver.stream.words == ("revoked", "")


async def test_a_run_that_is_cancelled_is_over_and_said_so() -> None:
    driver = Driven()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(driver.run)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        driver.lose(ConnectionLost("gone"))
    assert (await driver.wait_closed()).args == ("gone",)
    assert driver.phase is Phase.SAID
    assert driver.stream.closed
