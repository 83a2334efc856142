"""Is the peer there?  What is judged by a clock, and what excuses a peer (protocol section 9)."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ConnectionLost, Identity, Limits, PeerTimeout, Session, Trust, clock
from chanlink.session.liveness import Liveness
from examples.rexec.server.service import SERVICE, service
from tests.channels.pairs import session_pair, settle
from tests.echo import ask, echo
from tests.patience import PATIENCE
from tests.rexec.servers import COMMAND, ROOT
from tests.security.test_rekey import sides

pytestmark = pytest.mark.anyio
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])

ALICE, SERVER = Identity.generate("alice"), Identity.generate("server")


# --- the core, by a clock of its own --------------------------------------------------------------------


class Machine:
    """That of a client."""

    def __init__(self, there: bool = True) -> None:
        self.there = there

    def peer_acknowledges(self, seconds: float) -> bool:
        assert seconds == 45
        return self.there


class Story:
    """A peer that answers each PING after a round trip, while it `answers`; and us, who may stand still."""

    def __init__(self, *, answers: bool = True, client: Machine | None = None, round_trip: float = 0.1) -> None:
        self.now = 1_000.0
        self.answers = answers
        self.liveness = Liveness(Limits(), self.now, client)
        self.round_trip = round_trip
        self.pings = 0
        self._answer_at = math.inf

    def interval(self, standing_still: float = 0.0) -> None:
        """What the session does, in the order in which it would after a pause: first that, then the reading."""
        liveness = self.liveness
        self.now += liveness.interval + standing_still
        liveness.look(self.now)
        liveness.check(-math.inf)
        if liveness.asks():
            self.pings += 1
            self._answer_at = self.now + self.round_trip
        if self.answers and self._answer_at < self.now + liveness.interval:
            liveness.heard, self._answer_at = self._answer_at, math.inf

    def go_on(self, seconds: float) -> None:
        for _ in range(round(seconds / self.liveness.interval)):
            self.interval()


def test_a_peer_that_answers_is_there_though_it_says_nothing_else() -> None:
    story = Story()
    story.go_on(3_600)
    assert story.pings == pytest.approx(3_600 / 18, rel=0.2)


def test_a_peer_that_says_nothing_is_asked_once_and_then_gone() -> None:
    story = Story(answers=False)
    story.go_on(45)
    assert story.pings == 1
    with pytest.raises(PeerTimeout, match="nothing came from the peer for 45 s"):
        story.go_on(10)
    assert story.pings == 1


@pytest.mark.parametrize("round_trip", [0.1, 5.0, 14.0])
@pytest.mark.parametrize("at", range(0, 60, 3))
def test_who_has_stood_still_himself_reads_and_asks_before_he_judges(at: int, round_trip: float) -> None:
    """Whenever it happens: before or after a PING has left."""
    story = Story(round_trip=round_trip)
    story.go_on(at)
    for _ in range(5):
        story.interval(standing_still=1_000)
        assert not story.liveness.overdue(story.now - 1_000, 10)
        story.go_on(20)


def test_who_keeps_standing_still_finds_out_all_the_same_that_the_peer_is_gone() -> None:
    story = Story(answers=False)
    with pytest.raises(PeerTimeout):
        for _ in range(60):
            story.interval(standing_still=4)


def test_a_client_whose_machine_acknowledges_is_stopped_and_not_gone() -> None:
    story = Story(answers=False, client=Machine())
    story.go_on(3_500)
    assert story.pings == 1  # more would wait for it, and be a flood when it goes on
    story.answers = True
    story.liveness.heard = story.now
    story.go_on(60)
    story.answers = False
    with pytest.raises(PeerTimeout, match="the client was stopped for more than 3600 s"):
        story.go_on(3_700)


def test_a_client_that_was_stopped_and_whose_machine_is_gone_now_is_gone() -> None:
    machine = Machine()
    story = Story(answers=False, client=machine)
    story.go_on(600)
    machine.there = False
    with pytest.raises(PeerTimeout, match="nothing came"):
        story.interval()


def test_what_a_peer_leaves_undone_counts_only_while_it_is_there() -> None:
    story = Story(client=Machine())
    began = story.now
    story.answers = False  # it is stopped
    story.go_on(1_000)
    assert not story.liveness.overdue(began, 10)
    story.answers = True
    back = story.liveness.heard = story.now
    while story.now < back + 25:
        assert not story.liveness.overdue(began, 30)
        story.interval()
    story.go_on(15)
    assert story.liveness.overdue(began, 30)


def test_new_keys_are_owed_from_when_a_client_is_back() -> None:
    story = Story(answers=False, client=Machine())
    _, server = sides()
    server.write(b"", story.now)  # it asks for new keys
    assert server.sent
    story.go_on(1_000)
    server.keys.check_time(story.liveness.overdue)
    story.answers = True
    back = story.liveness.heard = story.now
    while story.now < back + 25:
        server.keys.check_time(story.liveness.overdue)
        story.interval()
    story.go_on(15)
    with pytest.raises(ConnectionLost, match="renew"):
        server.keys.check_time(story.liveness.overdue)


def test_a_peer_with_nothing_to_say_is_asked_when_that_matters() -> None:
    """Else what it has left undone would be found out at the next keepalive only."""
    story = Story()
    began = story.now
    overdue = False
    while not overdue:
        story.interval()
        overdue = story.liveness.overdue(began, 10)
        assert story.now - began < 18
    assert story.now - began > 10
    assert story.pings >= 1


@pytest.mark.parametrize("client", [None, Machine(), Machine(there=False)], ids=["server", "client", "client gone"])
@pytest.mark.parametrize("talks", [True, False])
def test_a_peer_that_takes_nothing_is_given_up_unless_it_may_be_stopped(client: Machine | None, talks: bool) -> None:
    liveness = Liveness(Limits(), 0.0, client)
    liveness.writing_since = 0.0
    for now in range(1, 29):
        liveness.look(float(now))
        liveness.heard = float(now) if talks else 0.0
        liveness.check(-math.inf)
    may_be_stopped = client is not None and client.there and not talks
    for now in range(29, 40):
        liveness.look(float(now))
        liveness.heard = float(now) if talks else 0.0
        if now >= 32 and not may_be_stopped:
            with pytest.raises(ConnectionLost, match="took nothing for 30 s"):
                liveness.check(-math.inf)
        elif now <= 31 or may_be_stopped:
            liveness.check(-math.inf)
            liveness.check(float(now))  # something has left


def test_what_could_not_leave_while_we_stood_still_may_leave_first() -> None:
    liveness = Liveness(Limits(), 0.0)
    liveness.writing_since = 1.0
    liveness.look(3.0)
    liveness.look(1_000.0)
    liveness.heard = 1_000.0
    liveness.check(-math.inf)
    liveness.look(1_003.0)
    liveness.check(-math.inf)


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="needs CLOCK_BOOTTIME")
def test_the_clock_runs_while_the_machine_is_suspended() -> None:
    before, now, after = time.clock_gettime(time.CLOCK_BOOTTIME), clock.now(), time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= now <= after


# --- an event loop that stands still --------------------------------------------------------------------

QUICK = Limits(keepalive=0.05, peer_timeout=0.2, progress=0.2)


class OtherThread:
    """A server with an event loop of its own, which runs on while ours stands still."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        name, options = self._backend
        anyio.run(self._serve, backend=name, backend_options=options)

    async def _serve(self) -> None:
        trust = Trust.of(ALICE.public_key)
        async with chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=trust, services={"echo": echo}) as here:
            self.address = here.addresses[0]
            self._ready.set()
            await anyio.to_thread.run_sync(self._stop.wait)

    def __enter__(self) -> str:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self.address

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)


@pytest.mark.parametrize("keepalive", [0.05, 15.0], ids=["asked before", "not asked before"])
async def test_a_live_peer_is_not_called_dead_by_who_has_stood_still_himself(
    anyio_backend: Any, keepalive: float
) -> None:
    limits = Limits(keepalive=keepalive, peer_timeout=1.2)
    with OtherThread(anyio_backend) as address:
        async with chanlink.connect(address, identity=ALICE, peer=SERVER.public_key, limits=limits) as session:
            assert await ask(session, "before") == "before"
            await anyio.sleep(0.07)  # a PING may be under way
            time.sleep(1.5)  # what blocks the event loop
            for _ in range(5):  # looks at the peer
                await anyio.sleep(session._driver.liveness.interval)
            assert not session.closed
            assert await ask(session, "after") == "after"


class Standing:
    """An identity whose signer keeps the event loop from running, just before it answers."""

    def __init__(self, identity: Identity, seconds: float) -> None:
        self._identity, self._seconds = identity, seconds
        self.identity = Identity(identity.public_key, self._sign)

    async def _sign(self, data: bytes) -> bytes:
        time.sleep(self._seconds)
        return await self._identity.sign(data)


async def test_a_handshake_in_which_the_server_stood_still_goes_on() -> None:
    slow, limits = Standing(SERVER, 0.8), Limits(handshake=0.3)
    trust = Trust.of(ALICE.public_key)
    async with (
        chanlink.listen(
            "tcp://127.0.0.1:0", identity=slow.identity, trust=trust, limits=limits, services={"echo": echo}
        ) as listener,
        chanlink.connect(listener.addresses[0], identity=ALICE, peer=SERVER.public_key) as session,
    ):
        assert await ask(session, "there") == "there"


async def test_a_handshake_in_which_the_client_stood_still_goes_on() -> None:
    slow = Standing(ALICE, 0.8)
    async with chanlink.listen(
        "tcp://127.0.0.1:0", identity=SERVER, trust=Trust.of(ALICE.public_key), services={"echo": echo}
    ) as listener:
        connection = chanlink.connect(
            listener.addresses[0], identity=slow.identity, peer=SERVER.public_key, timeout=0.3
        )
        async with connection as session:
            assert await ask(session, "there") == "there"


async def test_what_could_not_leave_while_a_closing_side_stood_still_leaves_all_the_same() -> None:
    limits = Limits(close=1.0)
    async with session_pair(limits) as (client, server):
        sender = await client.open("lines")
        receiver = (await server.accept()).end
        count = 0
        with pytest.raises(anyio.WouldBlock):
            while True:
                sender.send_nowait("x" * 1_000)  # more than the window, and it waits for what the other side takes
                count += 1
        sender.close()

        async def stand_still_and_take() -> None:
            await settle()
            time.sleep(1.5)
            for _ in range(count):
                assert len(await receiver.receive()) == 1_000
            with pytest.raises(chanlink.EndOfChannel):
                await receiver.receive()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stand_still_and_take)
            await client.aclose()


async def test_machines_that_were_suspended_renew_the_keys_at_once_and_lose_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asleep, runs, limits = 0.0, clock.now, Limits(keepalive=0.05)
    monkeypatch.setattr(clock, "now", lambda: runs() + asleep)
    async with (
        chanlink.listen(
            "tcp://127.0.0.1:0",
            identity=SERVER,
            trust=Trust.of(ALICE.public_key),
            services={"echo": echo},
            limits=limits,
        ) as listener,
        chanlink.connect(listener.addresses[0], identity=ALICE, peer=SERVER.public_key, limits=limits) as session,
    ):
        assert await ask(session, "evening") == "evening"
        sessions = [session, *listener.sessions]
        for night in (1, 2):
            asleep += 8 * 3_600
            with anyio.fail_after(PATIENCE):
                while min(each._below._keys.epoch for each in sessions) < night:
                    assert await ask(session, "morning") == "morning"
                    await anyio.sleep(limits.keepalive)
            assert not any(each.closed for each in sessions)


# --- a process that is stopped --------------------------------------------------------------------------

CLIENT = """
import anyio, sys, chanlink

async def main():
    me = chanlink.Identity.load(sys.argv[2])
    server, limits = chanlink.PublicKey.parse(sys.argv[3]), chanlink.Limits(stream_window=int(sys.argv[4]))
    async with chanlink.connect(sys.argv[1], identity=me, peer=server, limits=limits) as session:
        async for message in (await session.accept()).end:
            print(len(message), flush=True)

anyio.run(main)
"""


@asynccontextmanager
async def client_process(
    directory: Path, address: str, limits: Limits = QUICK, window: int = QUICK.stream_window
) -> AsyncIterator[tuple[Session, Any]]:
    """The server's session with a client in a process of its own, and that."""
    ALICE.save(directory / "alice")
    async with chanlink.listen(address, identity=SERVER, trust=Trust.of(ALICE.public_key), limits=limits) as listener:
        words = [listener.addresses[0], str(directory / "alice"), str(SERVER.public_key), str(window)]
        async with await anyio.open_process([sys.executable, "-c", CLIENT, *words], stderr=None) as process:
            session = await listener.accept()
            try:
                yield session, process
            finally:
                process.send_signal(signal.SIGCONT)
                process.kill()


async def silent_for(session: Session, seconds: float) -> None:
    """Until nothing has come for so long, or the session is over."""
    with anyio.fail_after(PATIENCE):
        while clock.now() - session._driver.liveness.heard < seconds and not session.closed:
            await anyio.sleep(0.02)


def address_of(kind: str, directory: Path) -> str:
    return f"unix:{directory}/s" if kind == "unix" else "tcp://127.0.0.1:0"


only_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, which tells what TCP was acknowledged")


@pytest.mark.slow
@only_linux
@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_a_client_that_is_stopped_goes_on_where_it_was(kind: str, tmp_path: Path) -> None:
    async with client_process(tmp_path, address_of(kind, tmp_path)) as (session, process):
        sender = await session.open("lines")
        await sender.send("before")
        assert (await process.stdout.receive()).strip() == b"6"
        process.send_signal(signal.SIGSTOP)
        await sender.send("while it is stopped")
        await silent_for(session, 4 * QUICK.peer_timeout)
        assert not session.closed
        process.send_signal(signal.SIGCONT)
        await sender.send("after")
        await sender.flush()
        assert not session.closed


@pytest.mark.slow
@only_linux
@one_backend
async def test_a_client_that_is_stopped_for_too_long_is_given_up(tmp_path: Path) -> None:
    limits = Limits(keepalive=0.05, peer_timeout=0.2, client_stopped=0.5)
    async with client_process(tmp_path, "tcp://127.0.0.1:0", limits) as (session, process):
        process.send_signal(signal.SIGSTOP)
        with anyio.fail_after(PATIENCE):
            problem = await session.wait_closed()
        assert isinstance(problem, PeerTimeout)
        assert "stopped for more than 0.5 s" in str(problem)


@pytest.mark.slow
@only_linux
@one_backend
@pytest.mark.parametrize("window", [QUICK.stream_window, 2**28], ids=["the window is full", "the connection is full"])
async def test_who_writes_to_a_stopped_client_waits_and_keeps_no_more_than_it_may(window: int, tmp_path: Path) -> None:
    async with client_process(tmp_path, "tcp://127.0.0.1:0", window=window) as (session, process):
        sender = await session.open("lines")
        await sender.send("before")
        assert (await process.stdout.receive()).strip() == b"6"
        process.send_signal(signal.SIGSTOP)
        async with anyio.create_task_group() as tasks:

            async def pour() -> None:
                while True:
                    await sender.send("x" * 10_000)

            tasks.start_soon(pour)
            await silent_for(session, 5 * QUICK.peer_timeout)
            assert not session.closed
            assert math.isfinite(session._driver.liveness.writing_since) == (window > QUICK.stream_window)
            assert sender._send_core.outlet.stream.outgoing.queued < QUICK.send_queue + 20_000
            tasks.cancel_scope.cancel()
        process.send_signal(signal.SIGCONT)
        with anyio.fail_after(PATIENCE):
            await sender.flush()


@only_linux
@one_backend
async def test_a_command_goes_on_when_its_caller_does(tmp_path: Path) -> None:
    """Ctrl-Z, and later fg: its input and output go on, and its status arrives."""
    ALICE.save(tmp_path / "alice")
    trust = Trust.of(ALICE.public_key)
    async with (
        service() as rexec,
        chanlink.listen(
            "tcp://127.0.0.1:0", identity=SERVER, trust=trust, services={SERVICE: rexec}, limits=QUICK
        ) as listener,
    ):
        keys = ["--identity", str(tmp_path / "alice"), "--peer", str(SERVER.public_key)]
        script = "echo begun; read line; echo $line; seq 100000; exit 7"
        command = [*COMMAND, "run", *keys, listener.addresses[0], "--", "sh", "-c", script]
        async with await anyio.open_process(command, cwd=ROOT, stderr=None) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert (await process.stdout.receive()).strip() == b"begun"
            (session,) = listener.sessions
            os.kill(process.pid, signal.SIGSTOP)
            await silent_for(session, 4 * QUICK.peer_timeout)
            os.kill(process.pid, signal.SIGCONT)
            await process.stdin.send(b"a line\n")
            output = b"".join([data async for data in process.stdout])
            assert output.split()[:2] == [b"a", b"line"]
            assert output.split()[-1] == b"100000"
            assert await process.wait() == 7


def test_another_connection_has_all_the_time_from_then_on() -> None:
    liveness = Liveness(Limits(), 0.0)
    for now in range(44):
        liveness.look(float(now))
    liveness.returned(43.0)
    for now in range(44, 80):
        liveness.look(float(now))
        assert liveness.asks() is (now == 59)
        liveness.check(-math.inf)
