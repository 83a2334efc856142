"""Exceptions of signal handlers in threads that wait, and forks: in processes of their own, with real signals."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE

from .conftest import ALICE, SERVER

ROOT = Path(__file__).parents[2]
BACKENDS = {
    "asyncio": "{}",
    "uvloop": "{'backend_options': {'use_uvloop': True}}",
    "trio": "{'backend': 'trio'}",
}
every_backend = pytest.mark.parametrize(
    "options",
    # Text of a program, of which --quick can't know that it says another event loop.
    [pytest.param(text, id=name, marks=[pytest.mark.slow] * (name != "asyncio")) for name, text in BACKENDS.items()],
)

PROGRAM = """
import os, signal, sys, threading, time
import anyio
import chanlink
from chanlink import blocking

signal.alarm({patience})
address = sys.argv[1]
identity, peer = chanlink.Identity.load(sys.argv[2]), chanlink.PublicKey.load(sys.argv[3])
options = {options}

def say(*words):
    print(*words, flush=True)

def ours():
    return len([one for one in threading.enumerate() if one.name.startswith("chanlink.blocking")])

def ask(session, value):
    with session.open("echo") as requests:
        reply, replies = session.pipe()
        requests.send({{"value": value, "reply": reply}})
        with replies:
            return replies.receive(timeout=60)

def connect(where=address):
    return blocking.connect(where, identity=identity, peer=peer, **options)

"""


@pytest.fixture
def keys(tmp_path: Path) -> list[str]:
    ALICE.save(tmp_path / "alice")
    (tmp_path / "server.pub").write_text(str(SERVER.public_key))
    return [str(tmp_path / "alice"), str(tmp_path / "server.pub")]


class Running:
    """A program that waits in one of these ways; it says so first."""

    def __init__(self, server: str, keys: list[str], options: str, body: str) -> None:
        program = PROGRAM.format(patience=PATIENCE, options=options) + body
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, server, *keys],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def interrupt_once_it_waits(self) -> None:
        """Its main thread waits when it sleeps in the kernel, having said that it is about to."""
        assert self.line() == "waiting"
        while not self._sleeps():
            pass
        self.process.send_signal(signal.SIGINT)

    def _sleeps(self) -> bool:
        """Twice, so that it has not merely let another thread go first."""
        stat = Path(f"/proc/{self.process.pid}/task/{self.process.pid}")
        switches = (stat / "status").read_text().partition("voluntary_ctxt_switches:")[2]
        return (stat / "stat").read_text().rpartition(")")[2].split()[0] == "S" and switches == (
            (stat / "status").read_text().partition("voluntary_ctxt_switches:")[2]
        )

    def rest(self) -> list[str]:
        out, err = self.process.communicate(timeout=PATIENCE)
        assert (self.process.returncode, err) == (0, ""), out
        return out.splitlines()


WAITS = {
    "receive": "_, replies = session.pipe(); say('waiting'); replies.receive()",
    "call": "session.call(forever)",
    "iterate": "numbers = session.iterate(slowly); next(numbers); next(numbers)",
    "select": "_, replies = session.pipe(); say('waiting'); session.select(replies)",
    "stream": "stream = session.open_stream('upper'); say('waiting'); stream.receive()",
}
WAITING = """
seen = []
async def forever():
    say("waiting")
    try:
        await anyio.sleep_forever()
    finally:
        seen.append("over")

async def slowly():
    yield 1
    await forever()

with connect() as session:
    try:
        {wait}
    except KeyboardInterrupt:
        say("interrupted", *seen)
    say(ask(session, "it goes on"))
say(ours())
os._exit(0)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@every_backend
@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_a_wait_and_what_is_waited_for(server: str, keys: list[str], options: str, wait: str) -> None:
    running = Running(server, keys, options, WAITING.format(wait=WAITS[wait]))
    running.interrupt_once_it_waits()
    over = " over" if wait in ("call", "iterate") else ""
    assert running.rest() == ["interrupted" + over, "it goes on", "0"]


CONNECTING = """
import socket
silent = socket.create_server(("127.0.0.1", 0))
say("waiting")
try:
    with connect("tcp://127.0.0.1:%d" % silent.getsockname()[1]):
        pass
except KeyboardInterrupt:
    say("interrupted", ours())
silent.close()
"""


@every_backend
def test_ctrl_c_ends_connecting_and_the_thread(server: str, keys: list[str], options: str) -> None:
    running = Running(server, keys, options, CONNECTING)
    running.interrupt_once_it_waits()
    assert running.rest() == ["interrupted 0"]


STUBBORN = """
async def stubborn():
    with anyio.CancelScope(shield=True):
        say("waiting")
        await let_go.wait()

with connect() as session:
    let_go = session.call(make_event)
    try:
        session.call(stubborn)
    except KeyboardInterrupt:
        say("gone at once")
    session.call(set_event)
"""
EVENTS = """
async def make_event(): return anyio.Event()
async def set_event(): let_go.set()
"""


@every_backend
def test_a_second_ctrl_c_does_not_wait(server: str, keys: list[str], options: str) -> None:
    running = Running(server, keys, options, EVENTS + STUBBORN)
    running.interrupt_once_it_waits()
    while running.process.poll() is None:  # the first is being waited for, however long that takes to get there
        running.process.send_signal(signal.SIGINT)
        try:
            running.process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    out = running.process.communicate()[0]
    assert "gone at once" in out or running.process.returncode != 0


STORM = """
import random

class Alarm(Exception): pass

armed = alarms = 0

def ring(number, frame):
    "Some times in a row, also while the first is being dealt with."
    global armed, alarms
    if armed:
        armed -= 1
        alarms += 1
        raise Alarm

def ring_often(thread):
    while not over:
        time.sleep(random.random() / 2000)
        signal.pthread_kill(thread, signal.SIGUSR1)

def feed(sender):
    with sender:
        for number in range(COUNT):
            sender.send(number)

def value_of(selected):
    if selected.error is not None:
        raise selected.error
    return selected.value

signal.signal(signal.SIGUSR1, ring)
COUNT = {count}
over = False
with connect() as session, session.open("numbers") as requests:
    {receiver}
    got = []
    ringing = threading.Thread(target=ring_often, args=[threading.get_ident()])
    ringing.start()
    while not over:
        try:
            armed = random.choice([0, 1, 2, 4])
            got.append({receive})
            armed = 0
        except Alarm:
            armed = 0
        except chanlink.EndOfChannel:
            armed = 0
            over = True
    ringing.join()
    say(len(got), got == list(range(COUNT)), alarms > 10)
"""
REMOTE = "sender, receiver = session.pipe(); requests.send({'to': sender, 'count': COUNT})"
RENDEZVOUS = "sender, receiver = session.pipe(0); threading.Thread(target=feed, args=[sender]).start()"
STORMS = {
    "over a session": (REMOTE, "receiver.receive()"),
    "a rendezvous in memory": (RENDEZVOUS, "receiver.receive()"),
    "with timeouts": (REMOTE, "receiver.receive(timeout=5)"),
    "select": (REMOTE, "value_of(session.select(receiver))"),
}


@pytest.mark.slow
@every_backend
@pytest.mark.parametrize("storm", STORMS)
def test_no_message_is_lost_in_a_storm_of_signals(server: str, keys: list[str], options: str, storm: str) -> None:
    receiver, receive = STORMS[storm]
    running = Running(server, keys, options, STORM.format(count=1500, receiver=receiver, receive=receive))
    assert running.rest() == ["1500 True True"]


BLOCKS = """
import contextlib, gc

class Alarm(Exception): pass

armed = 0

def ring(number, frame):
    global armed
    if armed:
        armed -= 1
        raise Alarm

def ring_often(thread):
    while not over:
        time.sleep(random.random() / 2000)
        signal.pthread_kill(thread, signal.SIGUSR1)

entered = left = 0

@contextlib.asynccontextmanager
async def block():
    global entered, left
    entered += 1
    try:
        yield
    finally:
        left += 1

import random
signal.signal(signal.SIGUSR1, ring)
over = False
with connect() as session:
    ringing = threading.Thread(target=ring_often, args=[threading.get_ident()])
    ringing.start()
    for _ in range(300):
        try:
            armed = random.choice([1, 2, 3])
            with session.enter(block()):
                session.call(anyio.sleep, 0.001)
            armed = 0
        except Alarm:
            armed = 0
    over = True
    ringing.join()
    while gc.collect() or left < entered:
        time.sleep(0.01)
    say(entered > 100, ask(session, "it goes on"))
"""


@every_backend
def test_a_block_is_left_however_many_signals_come(server: str, keys: list[str], options: str) -> None:
    assert Running(server, keys, options, BLOCKS).rest() == ["True it goes on"]


FORK = """
with connect() as session:
    requests = session.open("echo")
    reply, replies = session.pipe()
    numbers = session.iterate(count)
    next(numbers)
    if (pid := os.fork()) == 0:
        for use in (session.ping, session.pipe, requests.close, lambda: replies.receive(timeout=1), numbers.close):
            try:
                use()
            except chanlink.ConfigError as exc:
                say("forked" in str(exc))
        del numbers
    else:
        os.waitpid(pid, 0)
        say(ask(session, "the parent goes on"))
if pid == 0:
    say("the child has left the block")
    os._exit(0)
os._exit(0)
"""
COUNT = """
async def count():
    while True:
        yield 1
"""


@every_backend
def test_a_forked_process_touches_nothing(server: str, keys: list[str], options: str) -> None:
    running = Running(server, keys, options, "import warnings; warnings.simplefilter('ignore')" + COUNT + FORK)
    assert running.rest() == ["True"] * 5 + ["the child has left the block", "the parent goes on"]
