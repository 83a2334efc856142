"""``rexec run --share``: have a keeper run the command.

This is what a warm call consists of, so it imports only what Python has already, or has in no time.
"""

import fcntl
import os
import signal
import socket

from ..descriptors import FAILED, complain, in_background
from ..interrupts import die_of
from .messages import Records, ShareError, check_socket, control_path, record

TYPE_CHECKING = False  # type checkers know this name; typing itself takes its time
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH")
ATTEMPTS = 10


def run_shared(argv: "Sequence[str]") -> int:
    """Run a command line at a keeper, which is started if there is none; returns the exit status."""
    try:
        connection = connect_or_start(control_path())
        before = _terminal_modes()
        try:
            words = map(os.fsencode, argv)
            return converse(connection, "run", os.getcwdb(), os.environb.get(b"TERM", b""), *words)
        finally:
            if before is not None:
                _put_back(before)
    except KeyboardInterrupt:
        die_of(signal.SIGINT)
    except (ShareError, OSError) as exc:
        complain(f"the session can't be shared: {exc}")
        return FAILED


def converse(connection: socket.socket, *request: str | bytes) -> int:
    """Ask for something, with our standard descriptors, and do what the keeper says until it says the status."""
    with connection:
        data = record(*request)
        sent = socket.send_fds(connection, [data], [_standard_input(), 1, 2])
        if sent < len(data):
            connection.sendall(data[sent:])
        got = _forward_signals(connection)
        records = Records()
        while data := _receive(connection):
            records.add(data)
            while (fields := records.take()) is not None:
                match fields:
                    case [b"status", number]:
                        if int(number) == 128 + signal.SIGINT and signal.SIGINT in got:
                            raise KeyboardInterrupt  # as if it had run here: a script that runs us ends, too
                        return int(number)
                    case [b"error", text]:
                        complain(text.decode())
                    case [b"output", text]:
                        print(text.decode())
                    case [b"ask", question]:
                        connection.sendall(record("answer", _ask(question)))
    complain("the keeper of the shared session is gone, and the command with it")
    return FAILED


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def _forward_signals(connection: socket.socket) -> "list[int]":
    """Pass signals on to the command; they are appended to the list that is returned. A second Ctrl-C ends us."""
    got: list[int] = []

    def forward(number: int, frame: "FrameType | None") -> None:
        got.append(number)
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
        try:  # noqa: SIM105 - contextlib would cost as much as everything else here
            connection.sendall(record("signal", signal.Signals(number).name))
        except OSError:
            pass  # the keeper is gone: we are about to see that

    for name in FORWARDED:
        if signal.getsignal(number := getattr(signal, name)) != signal.SIG_IGN:
            signal.signal(number, forward)
    return got


def _ask(question: bytes) -> str | bytes:
    try:
        with open("/dev/tty", "r+b", buffering=0) as terminal:
            terminal.write(question)
            return terminal.readline().strip()
    except OSError:
        return "no terminal"


# --- the terminal -------------------------------------------------------------------------------


def _standard_input() -> int:
    """The descriptor that the command shall read.

    The keeper reads a terminal without being asked by the shell whether it is its turn: so nothing of ours may read
    while another program has the terminal.
    """
    if not os.isatty(0):
        return 0
    if in_background(0):
        return os.open(os.devnull, os.O_RDONLY)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    return 0


def _terminal_modes() -> "list[object] | None":
    """Of our terminal, if we have one: the keeper may change them, and be killed."""
    if not os.isatty(0) or in_background(0):
        return None
    import termios

    return termios.tcgetattr(0)


def _put_back(before: "list[object]") -> None:
    """Only what was changed, and not from the background: that would stop us until somebody says fg."""
    import termios

    if not in_background(0) and termios.tcgetattr(0) != before:
        termios.tcsetattr(0, termios.TCSADRAIN, before)  # type: ignore[arg-type]


# --- the keeper ---------------------------------------------------------------------------------


def connect_or_start(path: str) -> socket.socket:
    """A connection to the keeper; one is started if there is none. Raises `ShareError` or `OSError`."""
    for _ in range(ATTEMPTS):
        connection = try_to_connect(path)
        if connection is not None:
            return connection
        _start(path)
    raise ShareError(f"{path}: the keeper ends as soon as it is started")


def try_to_connect(path: str) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    try:
        check_socket(path)
        connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


def _start(path: str) -> None:
    """Fork a keeper. It listens from this moment on, whatever it still has to import."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = try_to_connect(path)
        if connection is not None:  # somebody was faster
            connection.close()
            return
        listening = _listen(path)
        if not os.fork():
            _become_keeper(listening, path)
        listening.close()
    finally:
        os.close(lock)


def _listen(path: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        if os.path.lexists(path):
            os.unlink(path)
        listening.bind(path)
        listening.listen(128)
    except OSError as exc:
        listening.close()
        raise ShareError(f"{path}: {exc.strerror or exc}") from exc
    finally:
        os.umask(mask)
    return listening


def _become_keeper(listening: socket.socket, path: str) -> None:
    """In the child: hold nothing of the caller's, and never return."""
    status = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        kept = listening.fileno()
        os.closerange(3, kept)
        os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
        os.chdir("/")
        os.umask(0o077)
        from .keeper import keep

        keep(listening, path)
        status = 0
    finally:
        os._exit(status)
