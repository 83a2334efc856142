"""The guard: a small process that starts the commands of a server, and ends those that nobody holds any more.

It is a process of its own, with a socket as standard input. It imports nothing but the standard library, and has one
thread. So it forks safely, which a server with its event loop and worker threads does not. And it forks in advance:
the next command is a child that is there already, waiting for its order (`child`).

Each command has a line of its own, a socket. Whoever holds the other end sends the order, then signals, and is told
how it goes. When that end is closed before the command was given free, the command is stopped: TERM to all of its
processes, and KILL to those that are left after the grace. That happens when a caller leaves, and also when the
server itself is killed: the system closes its sockets then. Should the guard be killed, the commands get KILL from
the system (Linux), and the server sees to their children.

To the main socket come `TIMES`, each with four descriptors: the line, and three for the command. Lines of JSON go over
the line of a command:

    to the guard     {"argv": [...], ...}, see `child.become`; then {"signal": n} any number of times; then
                     {"finish": true}
    from the guard   {"pid": n} when it runs, or {"error": [stage, errno]}; then {"exit": n, "late": bool} when it has
                     ended, and so again, with {"gone": true}, when it was stopped and none of its processes is left;
                     {"failed": text} when the guard can't go on with it: it is killed then, and the others go on

``exit`` is as in `subprocess.Popen`, ``late`` tells that the time of the order was up. The command is not reaped
before it is finished: until then its id, and the ids of its group and session, are given to nobody else.

Strings are bytes, each as the character of its number.
"""

import gc
import json
import math
import os
import resource
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from typing import Any

from .child import FILES, Child

TIMES = struct.Struct("dd")
"""What a command may take, infinity if that is not limited, and the grace: both in seconds."""
TICK = 20
"""Milliseconds: how often we look whether the processes of a command that is being stopped are gone; nobody says so."""
QUIET = 1
"""Milliseconds without an event after which a spare child is forked: the processor is for what has just begun."""
LONGEST = 3_600_000
"""Milliseconds: we wait no longer than this at a time, whatever the time of a command is. The system can't count beyond
24 days."""
FAILURE_MAX = 200
Reader = Callable[[], object]


class Stage(Enum):
    """How far a command is."""

    ORDERED = auto()
    """Its line is there, and its order is still to come."""
    STARTING = auto()
    """A child has the order, and is not yet the command."""
    RUNNING = auto()
    ENDED = auto()
    """By itself. It is not reaped: that takes a word of the other side."""
    STOPPING = auto()
    """It got TERM, and gets KILL when the grace is over; its jobs, too."""


class Guard:
    """The loop: orders from the main socket, lines of commands, children that end, time."""

    def __init__(self, orders: socket.socket) -> None:
        self.orders = orders
        self.serving = True
        self.wards: set[Ward] = set()
        self.spare: Child | None = None
        self._wants_spare = True
        self._poll = select.poll()
        self._readers: dict[int, tuple[Ward | None, Reader]] = {}
        self._unreaped: set[int] = set()
        self.watch(orders.fileno(), self.take_order)
        wakeups, wakeup = os.pipe()
        os.set_blocking(wakeups, False)
        os.set_blocking(wakeup, False)
        self.watch(wakeups, lambda: self.children_ended(wakeups))
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Until the server is gone, and the last command."""
        while self.serving or self.wards:
            wants_spare = self._wants_spare and self.serving
            events = self._poll.poll((QUIET if self.wards else 0) if wants_spare else self.patience())
            for ward, reader in [self._readers[descriptor] for descriptor, _ in events]:
                work_for(ward, reader)
            if wants_spare and not events:
                self._wants_spare = False
                with suppress(OSError):  # the next order will tell
                    self.spare = Child()
            now = time.monotonic()
            for ward in [ward for ward in self.wards if now >= ward.time_is_up]:
                work_for(ward, ward.stop_late)
            stopping = [ward for ward in self.wards if ward.stage is Stage.STOPPING]
            # Once for all of them: a caller who leaves may leave a thousand, and a look takes some milliseconds.
            sessions = living() if stopping else None
            for ward in stopping:
                work_for(ward, partial(ward.stop_further, sessions))

    def watch(self, descriptor: int, reader: Reader, ward: "Ward | None" = None) -> None:
        """Call the reader, for a ward if it is about one, whenever there is something to read, or the end."""
        self._readers[descriptor] = ward, reader
        self._poll.register(descriptor, select.POLLIN)

    def forget(self, descriptor: int) -> None:
        if self._readers.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def patience(self) -> float | None:
        """In milliseconds."""
        if any(ward.stage is Stage.STOPPING for ward in self.wards):
            return TICK
        first = min((ward.time_is_up for ward in self.wards), default=math.inf)
        return None if first == math.inf else min(max(0.0, (first - time.monotonic()) * 1000), LONGEST)

    def hand_over(self, order: bytes, files: list[int]) -> "Child":
        """Have a child become a command. Raises an `OSError`."""
        child, self.spare, self._wants_spare = self.spare, None, True
        if child is not None and child.send(order, files):
            return child
        return Child(order, files)

    def take_order(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self.orders, TIMES.size, 4)
        except OSError:  # a reset is an end
            data, descriptors = b"", []
        if data and len(descriptors) == 4:
            ward = Ward(self, socket.socket(fileno=descriptors[0]), descriptors[1:], *TIMES.unpack(data))
            self.wards.add(ward)
            work_for(ward, ward.read_line)  # mostly its order is there already
            return
        for descriptor in descriptors:  # the rest did not fit into our table of descriptors
            os.close(descriptor)
        if not data:
            self.serving = False
            self.forget(self.orders.fileno())

    def children_ended(self, wakeups: int) -> None:
        with suppress(BlockingIOError):
            os.read(wakeups, 4096)
        for ward in list(self.wards):
            work_for(ward, ward.look_for_end)
        for pid in list(self._unreaped):
            self.reap(pid)

    def reap(self, pid: int) -> None:
        """Let go of a child, now or once it has ended: one that is stopped (SIGSTOP), say, is not waited for."""
        self._unreaped.add(pid)
        with suppress(ChildProcessError):
            if not os.waitpid(pid, os.WNOHANG)[0]:
                return
        self._unreaped.discard(pid)


def work_for(ward: "Ward | None", work: Reader) -> None:
    """Do some work. What goes wrong with one command is the end of that one, and not of the guard and all others."""
    try:
        work()
    except Exception as exc:
        if ward is None:
            raise
        ward.give_up(exc)


class Ward:
    """One command."""

    def __init__(self, guard: Guard, line: socket.socket, files: list[int], most: float, grace: float) -> None:
        self.guard = guard
        self.line = line
        self.files = files
        self.stage = Stage.ORDERED
        self.pid = 0
        self.late = False
        self.grace = grace
        self.most = most
        self.time_is_up = math.inf
        self._received: list[bytes] = []
        self._status: int | None = None
        self._kill_at = math.inf
        self._jobs_asked = False
        line.setblocking(False)
        guard.watch(line.fileno(), self.read_line, self)

    def read_line(self) -> None:
        try:
            data = self.line.recv(65536)
        except BlockingIOError:
            return
        except OSError:  # a reset is an end
            data = b""
        *ends, rest = data.split(b"\n")
        for end in ends:
            message, self._received = b"".join([*self._received, end]), []
            self._obey(message)
        self._received.append(rest)
        if not data and self in self.guard.wards:
            self.guard.forget(self.line.fileno())
            self._close_files()
            if self.stage is Stage.ORDERED:
                self._forget()
            else:
                self.stop()

    def _obey(self, line: bytes) -> None:
        if self not in self.guard.wards:
            return
        if self.stage is Stage.ORDERED:
            self._start(line)
            return
        message = json.loads(line)
        if "signal" in message:
            self._signal(message["signal"])
        elif "finish" in message and self.stage is Stage.ENDED:
            self._reap()

    def _start(self, order: bytes) -> None:
        try:
            child = self.guard.hand_over(order + b"\n", self.files)
        except OSError as exc:  # too many descriptors, or too many processes
            self._tell({"error": ["start", exc.errno]})
            self._forget()
            return
        self._close_files()
        self.pid = child.pid
        self.stage = Stage.STARTING
        self.time_is_up = time.monotonic() + self.most
        # A folder or a program may be on a file system that does not answer: the others don't wait for that.
        self.guard.watch(child.line.fileno(), partial(self._started, child), self)

    def _started(self, child: "Child") -> None:
        self.guard.forget(child.line.fileno())
        error = child.error()
        if self not in self.guard.wards:
            return
        if error:
            self._tell({"error": json.loads(error)})
            self._reap()
            return
        self._tell({"pid": self.pid})
        if self.stage is Stage.STARTING:
            self.stage = Stage.RUNNING
            self.look_for_end()

    def look_for_end(self) -> None:
        if self._status is not None or self.stage in (Stage.ORDERED, Stage.STARTING):
            return
        self._status = status_of(self.pid)
        if self._status is not None and self.stage is Stage.RUNNING:
            self.stage = Stage.ENDED
            self._tell({"exit": self._status, "late": self.late})

    def stop_late(self) -> None:
        """Its time is up."""
        self.late = True
        self.stop()

    def give_up(self, error: Exception) -> None:
        """An error that should not happen: nothing is left of this command."""
        self._tell({"failed": repr(error)[:FAILURE_MAX]})
        if self.pid:
            self._signal(signal.SIGKILL)
            self._signal_jobs(signal.SIGKILL, living())
            self._reap()
        else:
            self._forget()

    def stop(self) -> None:
        """TERM now, and KILL after the grace."""
        self.time_is_up = math.inf
        if self.stage is Stage.STOPPING:
            return
        self.stage = Stage.STOPPING
        self._kill_at = time.monotonic() + self.grace
        self._signal(signal.SIGTERM)

    def stop_further(self, sessions: "Sessions | None") -> None:
        """Look whether all are gone; kill them when their time is up. Its jobs get their TERM here."""
        if not self._jobs_asked:
            self._jobs_asked = True
            self._signal_jobs(signal.SIGTERM, sessions)
        self.look_for_end()
        now = time.monotonic()
        if self._status is not None and not self._somebody_lives(sessions):
            self._tell({"exit": self._status, "late": self.late, "gone": True})
            self._reap()
        elif now >= self._kill_at + max(self.grace, 1.0):
            self._reap()  # neither ours to kill (another user's), nor to be killed (a disk that does not answer)
        elif now >= self._kill_at:
            self._signal(signal.SIGKILL)
            self._signal_jobs(signal.SIGKILL, sessions)

    def _somebody_lives(self, sessions: "Sessions | None") -> bool:
        if sessions is not None:
            return self.pid in sessions
        with suppress(ChildProcessError):  # as long as it waits for that, it counts
            os.waitpid(self.pid, 0)
        try:
            os.killpg(self.pid, 0)
        except OSError:
            return False
        return True

    def _signal(self, number: int) -> None:
        """To the group; one that has only just been forked has none yet."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            if self._status is None:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, number)
        except PermissionError:  # all that is left runs as another user
            pass

    def _signal_jobs(self, number: int, sessions: "Sessions | None") -> None:
        """To what a shell with job control has put into groups of their own."""
        for pid, group in (sessions or {}).get(self.pid, []):
            if group != self.pid:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)

    def _tell(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # nobody listens any more
            self.line.send(json.dumps(message).encode() + b"\n")

    def _reap(self) -> None:
        self.guard.reap(self.pid)
        self._forget()

    def _forget(self) -> None:
        self._close_files()
        self.guard.wards.discard(self)
        self.guard.forget(self.line.fileno())
        self.line.close()

    def _close_files(self) -> None:
        while self.files:
            os.close(self.files.pop())


def status_of(pid: int) -> int | None:
    """How a child has ended; None while it runs. Where the system lets us, it is not reaped."""
    if hasattr(os, "waitid"):
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    reaped, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if reaped else None


Sessions = dict[int, list[tuple[int, int]]]
"""Processes, and their groups, by session."""


def living() -> Sessions | None:
    """The processes that are not over; see proc(5). None where the system does not tell: not Linux, or no /proc."""
    sessions: Sessions = {}
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return None  # /proc is that of other processes than ours
        for name in os.listdir("/proc"):
            if name.isdigit():
                # One that ends while we look has no line, or an empty one.
                with (
                    suppress(FileNotFoundError, ProcessLookupError, ValueError),
                    open(f"/proc/{name}/stat", "rb") as file,
                ):
                    state, _, group, session = file.read().rpartition(b")")[2].split()[:4]
                    if state not in (b"Z", b"X"):
                        sessions.setdefault(int(session), []).append((int(name), int(group)))
    except OSError:
        return None
    return sessions


def main() -> None:
    """What the process does."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES[1], FILES[1]))
    # It ends when the server does: not earlier, by a signal that is meant for the server and reaches all (systemd).
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_IGN)
    gc.freeze()  # children share what nobody touches
    Guard(socket.socket(fileno=0)).run()
