"""What the guard forks: a process that becomes a command, once it has an order."""

import ctypes
import errno
import fcntl
import json
import math
import os
import resource
import signal
import socket
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, NoReturn

GUARD = os.getpid()
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)
"""What commands get, unless their order says less; the guard itself needs some descriptors for each of them."""
PATH = os.defpath.encode()
NO_PROGRAM = b'{"argv": ["."], "environment": ["A="]}'
"""A folder, which a child tries to run before it has an order: memory that it uses for the first time after the fork
has to be copied, and that need not take the time of the command."""
PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
PR_SET_PDEATHSIG = 1
LIMITS = {
    "processor": resource.RLIMIT_CPU,
    "memory": resource.RLIMIT_AS,
    "files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
}


class Child:
    """A process of ours that becomes a command: of the order that it is made with, or else once it is sent one."""

    def __init__(self, order: bytes = b"", files: Sequence[int] = ()) -> None:
        """Raises an `OSError`."""
        self.line, theirs = socket.socketpair()
        with theirs:
            self.pid = os.fork()
            if self.pid == 0:
                be_child(theirs, order, files)
        self.line.setblocking(False)

    def send(self, order: bytes, files: Sequence[int]) -> bool:
        """Give it its order, a line, and its standard descriptors. False: it is gone, and has run nothing.

        It may have been stopped, so nothing waits for it: an order that does not fit into its line is not for it.
        """
        with suppress(OSError):  # somebody has killed it
            if socket.send_fds(self.line, [order], files) == len(order):
                return True
        self.line.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return False

    def error(self) -> bytes:
        """Why it is no command; empty if it is one. Call it when its line can be read: exec closes that."""
        with self.line, suppress(OSError):  # it was killed before it had read all of its order
            return self.line.recv(4096)
        return b""


def be_child(line: socket.socket, order: bytes, files: Sequence[int]) -> NoReturn:
    """What a child does."""
    try:
        os.setsid()
        for number in signal.valid_signals():  # what Python, the guard, and whoever started the server ignore
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        _die_with_guard()
        # Our copies of the guard's descriptors: whatever waits for the end of one must not wait for us.
        os.dup2(1, 0)
        _close_all_but({0, 1, 2, line.fileno(), *files})
        if not order:
            order, files = _wait_for_order(line)
        become(json.loads(order), files, line.fileno())
    except BaseException as exc:  # too many descriptors, also of the whole system
        _report(line.fileno(), "start", exc)
    finally:
        os._exit(127)


def _close_all_but(kept: set[int]) -> None:
    try:
        descriptors = set(map(int, os.listdir("/dev/fd")))
    except OSError:  # there is no /proc
        last = os.sysconf("SC_OPEN_MAX")
        for before, after in pairwise(sorted(kept | {last})):
            os.closerange(before + 1, after)
    else:
        for descriptor in descriptors - kept:
            os.closerange(descriptor, descriptor + 1)  # one is closed already: the list's own


def _wait_for_order(line: socket.socket) -> tuple[bytes, Sequence[int]]:
    with suppress(OSError):
        run_program(json.loads(NO_PROGRAM))
    first, files, _, _ = socket.recv_fds(line, 65536, 3)
    order = bytearray(first)
    while not order.endswith(b"\n"):
        more = line.recv(65536)
        if not more:
            os._exit(0)  # the guard is gone
        order += more
    return bytes(order), files


def _report(error: int, stage: str, exc: BaseException) -> None:
    os.write(error, json.dumps([stage, getattr(exc, "errno", None) or 0]).encode())


def become(order: dict[str, Any], files: Sequence[int], error: int) -> NoReturn:
    """Be the command: what the child does from its order to exec. The order has

    argv, environment (NAME=VALUE), directory or null; terminal: whether the first of the files is to be its
    controlling terminal; user: [name, uid, gid] or null; limits: by the names of `LIMITS`; grace: in seconds.
    """
    stage = "start"
    try:
        for descriptor, file in enumerate(files):
            os.dup2(file, descriptor)
            os.close(file)
        if order["terminal"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        stage = "limits"
        _limit(order["limits"], order["grace"])
        stage = "user"
        if order["user"] is not None:
            if order["terminal"]:
                os.fchown(0, order["user"][1], -1)  # some programs open it by its name
            _switch(*order["user"])
            _die_with_guard()  # the switch has undone it
        stage = "directory"
        if order["directory"] is not None:
            os.chdir(order["directory"].encode("latin-1"))
        stage = "command"
        run_program(order)
    except BaseException as exc:
        _report(error, stage, exc)
    finally:
        os._exit(127)


def _die_with_guard() -> None:
    """Have the system kill us when the guard is killed (Linux); exec does not change that."""
    if PRCTL is not None:
        PRCTL(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != GUARD:
            os.kill(os.getpid(), signal.SIGKILL)


def run_program(order: dict[str, Any]) -> NoReturn:
    """As `os.execvpe`, which takes a millisecond more: each folder that has no such program costs it an exception."""
    argv = [word.encode("latin-1") for word in order["argv"]]
    variables = (entry.encode("latin-1").partition(b"=") for entry in order["environment"])
    environment = {name: value for name, _, value in variables}
    if b"/" in argv[0]:
        _execute(argv[0], argv, environment)
    error: OSError = FileNotFoundError(errno.ENOENT, "not found")
    for folder in environment.get(b"PATH", PATH).split(b":"):
        program = folder + b"/" + argv[0] if folder else argv[0]
        if os.access(program, os.F_OK):
            try:
                _execute(program, argv, environment)
            except OSError as exc:  # there may be one further on
                error = exc
    raise error


def _execute(program: bytes, argv: list[bytes], environment: dict[bytes, bytes]) -> NoReturn:
    """Also runs, by sh, a script that does not say what runs it, as a shell would."""
    try:
        os.execve(program, argv, environment)
    except OSError as exc:
        if exc.errno != errno.ENOEXEC or not _is_text(program):
            raise
        path = program if program.startswith(b"/") else b"./" + program  # lest it looks like an option
        os.execve(b"/bin/sh", [b"sh", path, *argv[1:]], environment)


def _is_text(program: bytes) -> bool:
    """Whether its first line may be one, and not of a program for another machine."""
    with open(program, "rb") as file:
        return b"\0" not in file.read(256).partition(b"\n")[0]


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
