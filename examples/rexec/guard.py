"""The guard: a small process that starts the commands of a server, and ends those that nobody holds any more.

It runs by itself (``python guard.py``, with a socket as standard input), imports nothing but the standard library,
and has one thread. So it forks quickly and safely, which a server with its event loop and worker threads does not.

Each command has a line of its own, a socket. Whoever holds the other end sends the order, then signals, and is told
how it goes. When that end is closed before the command was given free, the command is stopped: TERM to all of its
processes, and KILL to those that are left after the grace. That happens when a caller leaves, and also when the
server itself is killed: the system closes its sockets then. Should the guard be killed, the commands get KILL from
the system (Linux), and the server sees to their children.

To the main socket come single bytes, each with four descriptors: the line, and three for the command. Lines of
JSON go over the line of a command:

    to the guard     {"argv": [...], ...}, see `become`; then {"signal": n} any number of times; then {"finish": true}
    from the guard   {"pid": n} when it runs, or {"error": [stage, errno]}; then {"exit": n, "late": bool} when it has
                     ended, and so again, with {"gone": true}, when it was stopped and none of its processes is left

``exit`` is as in `subprocess.Popen`, ``late`` tells that the time of the order was up. The command is not reaped
before it is finished: until then its id, and the ids of its group and session, are given to nobody else.

Strings are bytes, each as the character of its number.
"""

import ctypes
import errno
import fcntl
import gc
import json
import math
import os
import resource
import selectors
import signal
import socket
import sys
import termios
import time
from contextlib import suppress
from enum import Enum, auto
from typing import Any, NoReturn

TICK = 0.02
"""How often we look whether the processes of a command that is being stopped are gone: nobody reports that."""
GUARD = os.getpid()
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)
"""What commands get, unless their order says less; we ourselves need some descriptors for each of them."""
IGNORED: list[int] = []
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
LIMITS = {
    "processor": resource.RLIMIT_CPU,
    "memory": resource.RLIMIT_AS,
    "files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
}


class Stage(Enum):
    ORDERED = auto()
    STARTING = auto()
    RUNNING = auto()
    ENDED = auto()
    STOPPING = auto()


class Guard:
    """The loop: orders from the main socket, lines of commands, children that end, time."""

    def __init__(self, orders: socket.socket) -> None:
        self.orders = orders
        self.serving = True
        self.wards: set[Ward] = set()
        self.selector = selectors.DefaultSelector()
        self.selector.register(orders, selectors.EVENT_READ, self.take_order)
        wakeups, wakeup = os.pipe()
        os.set_blocking(wakeups, False)
        os.set_blocking(wakeup, False)
        self.selector.register(wakeups, selectors.EVENT_READ, lambda: self.children_ended(wakeups))
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Until the server is gone, and the last command."""
        while self.serving or self.wards:
            timeout = self.patience()
            for key, _ in self.selector.select(timeout):
                key.data()
            stopping = [ward for ward in self.wards if ward.stage is Stage.STOPPING]
            sessions = living() if stopping else None
            for ward in stopping:
                ward.stop_further(sessions)
            now = time.monotonic()
            for ward in [ward for ward in self.wards if now >= ward.time_is_up]:
                ward.late = True
                ward.stop()

    def patience(self) -> float | None:
        if any(ward.stage is Stage.STOPPING for ward in self.wards):
            return TICK
        first = min((ward.time_is_up for ward in self.wards), default=math.inf)
        return None if first == math.inf else max(0.0, first - time.monotonic())

    def take_order(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self.orders, 1, 4)
        except OSError:  # a reset is an end
            data, descriptors = b"", []
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        if data and len(descriptors) == 4:
            self.wards.add(Ward(self, socket.socket(fileno=descriptors[0]), descriptors[1:]))
            return
        for descriptor in descriptors:  # the rest did not fit into our table of descriptors
            os.close(descriptor)
        if not data:
            self.serving = False
            self.selector.unregister(self.orders)

    def children_ended(self, wakeups: int) -> None:
        with suppress(BlockingIOError):
            os.read(wakeups, 4096)
        for ward in list(self.wards):
            ward.look_for_end()


class Ward:
    """One command."""

    def __init__(self, guard: Guard, line: socket.socket, files: list[int]) -> None:
        self.guard = guard
        self.line = line
        self.files = files
        self.stage = Stage.ORDERED
        self.pid = 0
        self.late = False
        self.grace = 0.0
        self.time_is_up = math.inf
        self._received = b""
        self._status: int | None = None
        self._kill_at = math.inf
        line.setblocking(False)
        guard.selector.register(line, selectors.EVENT_READ, self.read_line)

    def read_line(self) -> None:
        try:
            data = self.line.recv(65536)
        except BlockingIOError:
            return
        except OSError:  # a reset is an end
            data = b""
        *messages, self._received = (self._received + data).split(b"\n")
        for message in messages:
            self._obey(json.loads(message))
        if not data and self in self.guard.wards:
            self.guard.selector.unregister(self.line)
            self._close_files()
            if self.stage is Stage.ORDERED:
                self._forget()
            else:
                self.stop()

    def _obey(self, message: dict[str, Any]) -> None:
        if "argv" in message and self.stage is Stage.ORDERED:
            self._start(message)
        elif self not in self.guard.wards or not self.pid:
            return
        elif "signal" in message:
            self._signal(message["signal"])
        elif "finish" in message and self.stage is Stage.ENDED:
            self._reap()

    # --- the start ---

    def _start(self, order: dict[str, Any]) -> None:
        errors = error = -1
        try:
            errors, error = os.pipe()
            self.pid = os.fork()
        except OSError as exc:  # too many descriptors, or too many processes
            if errors != -1:
                os.close(errors)
                os.close(error)
            self._tell({"error": ["start", exc.errno]})
            self._forget()
            return
        if self.pid == 0:
            become(order, self.files, error)
        os.close(error)
        self._close_files()
        self.stage = Stage.STARTING
        self.grace = order["grace"]
        self.time_is_up = time.monotonic() + order["time"] if order["time"] else math.inf
        # A folder or a program may be on a file system that does not answer: the others don't wait for that.
        self.guard.selector.register(errors, selectors.EVENT_READ, lambda: self._started(errors))

    def _started(self, errors: int) -> None:
        error = os.read(errors, 4096)
        self.guard.selector.unregister(errors)
        os.close(errors)
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

    # --- the end ---

    def look_for_end(self) -> None:
        if self._status is not None or self.stage in (Stage.ORDERED, Stage.STARTING):
            return
        self._status = status_of(self.pid)
        if self._status is None:
            return
        if self.stage is Stage.RUNNING:
            self.stage = Stage.ENDED
            self._tell({"exit": self._status, "late": self.late})

    def stop(self) -> None:
        """TERM now, and KILL after the grace."""
        self.time_is_up = math.inf
        if self.stage is Stage.STOPPING:
            return
        self.stage = Stage.STOPPING
        self._kill_at = time.monotonic() + self.grace
        self._signal(signal.SIGTERM)
        self._signal_jobs(signal.SIGTERM, living())

    def stop_further(self, sessions: "Sessions | None") -> None:
        """Look whether all are gone; kill them when their time is up."""
        self.look_for_end()
        now = time.monotonic()
        if self._status is not None and not self._somebody_lives(sessions):
            self._tell({"exit": self._status, "late": self.late, "gone": True})
            self._reap()
        elif now >= self._kill_at + max(self.grace, 1.0):
            self._forget()  # neither ours to kill (another user's), nor to be killed (a disk that does not answer)
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
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._forget()

    def _forget(self) -> None:
        self._close_files()
        self.guard.wards.discard(self)
        with suppress(KeyError, ValueError):
            self.guard.selector.unregister(self.line)
        self.line.close()

    def _close_files(self) -> None:
        while self.files:
            os.close(self.files.pop())


def status_of(pid: int) -> int | None:
    """How a child has ended; None while it runs.  Where the system lets us, it is not reaped."""
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
    """The processes that are not over; see proc(5).  None where the system does not tell (not Linux)."""
    sessions: Sessions = {}
    try:
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{name}/stat", "rb") as file:
                    state, _, group, session = file.read().rpartition(b")")[2].split()[:4]
                    if state not in (b"Z", b"X"):
                        sessions.setdefault(int(session), []).append((int(name), int(group)))
    except OSError:
        return None
    return sessions


# --- the child ----------------------------------------------------------------------------------


def become(order: dict[str, Any], files: list[int], error: int) -> NoReturn:
    """Be the command: what the child does between fork and exec.  The order has

    argv, environment (NAME=VALUE), directory or null; terminal: whether the first of the files is to be its
    controlling terminal; user: [name, uid, gid] or null; limits: by the names of `LIMITS`; time: what it may take, or
    null, and grace: both in seconds.
    """
    stage = "start"
    try:
        os.setsid()
        for descriptor, file in enumerate(files):
            os.dup2(file, descriptor)
        if order["terminal"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for number in IGNORED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        stage = "limits"
        _limit(order["limits"], order["grace"])
        stage = "user"
        if order["user"] is not None:
            if order["terminal"]:
                os.fchown(0, order["user"][1], -1)  # some programs open it by its name
            _switch(*order["user"])
        if sys.platform == "linux":  # after the switch, which would undo it
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != GUARD:
                os.kill(os.getpid(), signal.SIGKILL)
        stage = "directory"
        if order["directory"] is not None:
            os.chdir(order["directory"].encode("latin-1"))
        stage = "command"
        argv = [word.encode("latin-1") for word in order["argv"]]
        variables = (entry.encode("latin-1").partition(b"=") for entry in order["environment"])
        execute(argv, {name: value for name, _, value in variables})
    except BaseException as exc:
        os.write(error, json.dumps([stage, getattr(exc, "errno", None) or 0]).encode())
    finally:
        os._exit(127)


def execute(argv: list[bytes], environment: dict[bytes, bytes]) -> NoReturn:
    """As `os.execvpe`, which takes a millisecond more: each folder that has no such program costs it an exception."""
    if b"/" in argv[0]:
        os.execve(argv[0], argv, environment)
    error: OSError = FileNotFoundError(errno.ENOENT, "not found")
    for folder in os.get_exec_path(environment):  # type: ignore[arg-type]
        program = os.path.join(os.fsencode(folder), argv[0])
        if os.access(program, os.F_OK):
            try:
                os.execve(program, argv, environment)
            except OSError as exc:  # there may be one further on
                error = exc
    raise error


def _limit(limits: dict[str, int], grace: float) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, FILES)
    for name, most in limits.items():
        _, hard = resource.getrlimit(LIMITS[name])
        # Whoever uses up the processor gets XCPU first, and KILL after the grace.
        top = most + math.ceil(grace) if name == "processor" else most
        if hard != resource.RLIM_INFINITY:
            most, top = min(most, hard), min(top, hard)
        resource.setrlimit(LIMITS[name], (most, top))


def _switch(name: str, uid: int, gid: int) -> None:
    if (os.geteuid(), os.getegid()) != (uid, gid):
        os.initgroups(name, gid)
        os.setgid(gid)
        os.setuid(uid)


if __name__ == "__main__":
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES[1], FILES[1]))
    # It ends when the server does: not earlier, by a signal that is meant for the server and reaches all (systemd).
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_IGN)
    # What Python and whoever started the server ignore, too: a command begins with nothing ignored.
    IGNORED = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
    gc.freeze()  # children share what nobody touches
    Guard(socket.socket(fileno=0)).run()
