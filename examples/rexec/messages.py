"""What travels: requests and their answers, checked on arrival.

A request is the one message on a channel to the service `SERVICE`. To run a command:

    request      "run"
    command      the program's name or path
    args         list of its arguments
    stdio        a byte stream: what the command reads, whose end is its end of file, and what it writes
    stderr       a byte stream: what it writes there; with a terminal it stays empty
    status       a sender: gets one status message, after both outputs have ended
    control      a receiver: brings {"signal": name} and {"resize": [columns, rows]} while the command runs (optional);
                 what a command leaves behind is stopped if it has ended after INT, QUIT or TERM
    directory    where to run it (optional)
    environment  map of variables (optional)
    user         whom to run it as (optional)
    limits       map of what it may use at most, by the names of `limits.NAMES`, to `limits.MOST` (optional)
    terminal     [columns, rows]: it gets a terminal of this size instead of pipes (optional)

With ``detach``, a name or "" for one of the server's choice, there are neither streams nor control: the command goes
on by itself, and the status message tells its name. Besides that there are

    {"request": "list", "status": a sender}
    {"request": "attach", "name": ..., "stdout": a byte stream, "stderr": a byte stream, "status": a sender}
    {"request": "kill", "name": ..., "signal": name or nothing: stop it, "status": a sender}

A word (of the command, a path, a variable) is a str, or bytes if it is not UTF-8. A status is one of

    {"exit": 0 to 255}    {"signal": 1 to 127}    {"error": code, "text": explanation}

where an error means that nothing was run; the codes are the constants below. The first two may have a ``note``: why
the server has stopped it. Further answers are {"detached": name}, {"killed": name} and {"commands": [...]}, which
holds lists as `Listed` has them.

Whole: requests and their answers are one protocol, and what is said above is all of it.
"""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import chanlink

from .limits import checked
from .words import Word, one_line

SERVICE = "rexec"
LIMITS = chanlink.Limits(message_size=1024 * 1024)
"""Of sessions that run commands. The size is half of what Linux takes as the words and variables of a program."""

NOT_FOUND = "not-found"
NOT_PERMITTED = "not-permitted"
NO_SUCH_DIRECTORY = "no-such-directory"
NO_SUCH_USER = "no-such-user"
NO_SUCH_COMMAND = "no-such-command"
NAME_TAKEN = "name-taken"
CANNOT_START = "cannot-start"
REFUSED = "refused"
BAD_REQUEST = "bad-request"
TOO_LONG = "too-long"
"""Our answer is longer than the other side takes."""

STOPPED = "server-stopped"
"""The code with which a server that ends leaves the statuses that it still owes."""
CANCELLED = "cancelled"
"""The code with which a caller that gives up a command leaves its streams."""
PID_MAX = 2**32
SECONDS_MAX = 10.0**10
NAME_MAX = 100

Status = chanlink.Sender[dict[str, Any]]
T = TypeVar("T")


class StartError(Exception):
    """The command was not run. ``code`` is one of the constants of this module, ``text`` the server's explanation.

    Both are one line of bounded length that can be printed, whoever's words they are.
    """

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code = one_line(code)
        self.text = one_line(text)

    def __str__(self) -> str:
        return self.text or self.code


class BadMessage(ValueError):
    """The other side sent a message of a wrong shape."""


class Size(NamedTuple):
    """Of a terminal."""

    columns: int
    rows: int


# --- requests -----------------------------------------------------------------------------------


def run_message(
    argv: Sequence[Word],
    ends: Mapping[str, object],
    *,
    directory: Word | None = None,
    environment: Mapping[Word, Word] | None = None,
    user: str | None = None,
    limits: Mapping[str, int] | None = None,
    terminal: Size | None = None,
    detach: str | None = None,
) -> dict[str, Any]:
    """The message that asks to run a command; ``ends`` are its streams, its control and its status sender, by name."""
    command, *args = map(_outgoing, argv)
    message = {
        "request": "run",
        "command": command,
        "args": args,
        **ends,
        "directory": None if directory is None else _outgoing(directory),
        "environment": {_outgoing(name): _outgoing(value) for name, value in (environment or {}).items()} or None,
        "user": user,
        "limits": dict(limits or {}) or None,
        "terminal": None if terminal is None else list(terminal),
        "detach": detach,
    }
    return {name: value for name, value in message.items() if value is not None}


class Streams(NamedTuple):
    """What connects a command with the caller."""

    stdio: chanlink.ByteStream
    stderr: chanlink.ByteStream
    control: chanlink.Receiver[Any] | None


class Run(NamedTuple):
    """A command to run. It has streams, or a name to run detached under."""

    argv: list[bytes]
    status: Status
    streams: Streams | None
    detach: str | None
    directory: bytes | None
    environment: dict[bytes, bytes]
    user: str | None
    limits: dict[str, int]
    terminal: Size | None

    def forget_words(self) -> None:
        """Call this once it runs: that may be for days, and its words, perhaps a mebibyte, are not needed again."""
        self.argv.clear()
        self.environment.clear()


class Listing(NamedTuple):
    """Which commands run detached?"""

    status: Status


class Attach(NamedTuple):
    """The output of a detached command."""

    name: str
    status: Status
    stdout: chanlink.ByteStream
    stderr: chanlink.ByteStream


class Kill(NamedTuple):
    """Signal a detached command; 0: stop it."""

    name: str
    status: Status
    number: int


Request = Run | Listing | Attach | Kill


def read_request(message: object) -> Request:
    """Read what the other side sent. Raises `BadMessage`."""
    if not isinstance(message, dict):
        raise BadMessage("a request is a map")
    status = _instance(message.get("status"), chanlink.Sender, "status")
    match message.get("request"):
        case "run":
            return _read_run(message, status)
        case "list":
            return Listing(status)
        case "attach":
            return Attach(_name(message.get("name")), status, _stream(message, "stdout"), _stream(message, "stderr"))
        case "kill":
            name = message.get("signal")
            return Kill(_name(message.get("name")), status, 0 if name is None else signal_number(name))
    raise BadMessage("the request is none that is known here")


def _read_run(message: dict[object, object], status: Status) -> Run:
    command = _incoming(message.get("command"), "command")
    if not command:
        raise BadMessage("the command is empty")
    args = _instance(message.get("args"), list, "args")
    detach, streams = message.get("detach"), None
    if detach is None:
        control = message.get("control")
        if control is not None:
            control = _instance(control, chanlink.Receiver, "control")
        streams = Streams(_stream(message, "stdio"), _stream(message, "stderr"), control)
    directory, user, terminal = message.get("directory"), message.get("user"), message.get("terminal")
    if detach is not None and terminal is not None:
        raise BadMessage("a detached command has no terminal")
    return Run(
        # Most words are bytes already, or plain; there may be a hundred thousand of them.
        [command, *(word if type(word) is bytes and b"\0" not in word else _incoming(word, "args") for word in args)],
        status,
        streams,
        detach if detach in (None, "") else _name(detach),
        None if directory is None else _incoming(directory, "directory"),
        _variables(message.get("environment", {})),
        None if user is None else _name(user, "user"),
        _limits(message.get("limits", {})),
        None if terminal is None else _size(terminal),
    )


def _outgoing(word: Word) -> Word:
    """A str stays a str if it is UTF-8; whatever else the command line holds are bytes that can't be decoded."""
    if isinstance(word, str):
        try:
            word.encode()
        except UnicodeEncodeError:
            return os.fsencode(word)
    return word


def _incoming(word: object, name: str) -> bytes:
    # As bytes the word reaches the command unchanged, whatever the locale of the server is.
    data = word.encode() if isinstance(word, str) else _instance(word, bytes, name)
    if b"\0" in data:
        raise BadMessage(f"{name} holds a zero byte")
    return data


def _variables(value: object) -> dict[bytes, bytes]:
    variables = {}
    for name, text in _instance(value, dict, "environment").items():
        key = _incoming(name, "environment")
        if not key or b"=" in key:
            raise BadMessage("environment holds what is no name of a variable")
        variables[key] = _incoming(text, "environment")
    return variables


def _limits(value: object) -> dict[str, int]:
    limits = {}
    entries: dict[Any, Any] = _instance(value, dict, "limits")
    for name, most in entries.items():
        try:
            limits[name] = checked(_instance(name, str, "limits"), _integer(most, "limits"))
        except ValueError as exc:
            raise BadMessage(str(exc)) from None
    return limits


def _size(value: object) -> Size:
    match value:
        case [columns, rows]:
            return Size(_number(columns, 0xFFFF, "the size of the terminal"), _number(rows, 0xFFFF, "the size"))
    raise BadMessage("the size of a terminal is a list of columns and rows")


def _name(value: object, what: str = "name") -> str:
    name = _instance(value, str, what)
    if not is_name(name):
        raise BadMessage(f"{what} is not a word of at most {NAME_MAX} characters")
    return name


def is_name(text: str) -> bool:
    """Whether a command may run detached under it."""
    return 0 < len(text) <= NAME_MAX and text.isprintable() and " " not in text and not text.startswith("-")


def _number(value: object, most: int, name: str) -> int:
    number = _integer(value, name)
    if not 0 < number <= most:
        raise BadMessage(f"{name} is out of range")
    return number


def _integer(value: object, name: str) -> int:
    if isinstance(value, bool):
        raise BadMessage(f"{name} is no number")
    return _instance(value, int, name)


def _stream(message: dict[object, object], name: str) -> chanlink.ByteStream:
    return _instance(message.get(name), chanlink.ByteStream, name)


def _instance(value: object, kind: type[T], name: str) -> T:
    if not isinstance(value, kind):
        raise BadMessage(f"{name} is missing or of a wrong type")
    return value


_PLAIN = (bytes, str, int)
_SEVERAL = (list, tuple)
_ENDS = (chanlink.Sender, chanlink.Receiver, chanlink.ByteStream)


def ends_in(value: object) -> Iterator[chanlink.Sender[Any] | chanlink.Receiver[Any] | chanlink.ByteStream]:
    """Every end that a message or a request holds, wherever it is; one that nobody uses has to be closed."""
    left: list[Any] = [value]
    while left:  # it may have a hundred thousand lists and words
        entry = left.pop()
        if isinstance(entry, dict):
            entry = list(entry.values())
        if isinstance(entry, _SEVERAL):
            left += [inner for inner in entry if type(inner) not in _PLAIN]
        elif isinstance(entry, _ENDS):
            yield entry


# --- while a command runs -----------------------------------------------------------------------


def read_control(message: object) -> int | Size:
    """The number of a signal, or a new size. Raises `BadMessage`."""
    match message:
        case {"signal": name}:
            return signal_number(name)
        case {"resize": size}:
            return _size(size)
    raise BadMessage("a control message is none that is known here")


def signal_number(name: object) -> int:
    """The number of a signal ("TERM" or "SIGTERM") on this system. Raises `BadMessage`."""
    text = _instance(name, str, "signal").removeprefix("SIG")
    try:
        return signal.Signals[f"SIG{text}"]
    except KeyError:
        raise BadMessage("there is no signal of this name") from None


# --- statuses -----------------------------------------------------------------------------------


class Listed(NamedTuple):
    """A detached command, as the other side lists it."""

    name: str
    command: str
    """Its words, quoted as for a shell."""
    pid: int
    seconds: float
    """Since its start; once it has ended: from start to end."""
    status: int | None
    """None while it runs; ``-n`` if signal n ended it."""


def status_message(returncode: int, note: str = "") -> dict[str, Any]:
    """The status of a command that ran; ``returncode`` is as in `subprocess.Popen`, negative for a signal."""
    status: dict[str, Any] = {"exit": returncode} if returncode >= 0 else {"signal": -returncode}
    return {**status, "note": note} if note else status


def error_message(error: StartError) -> dict[str, Any]:
    """The status of a command that was not run."""
    return {"error": error.code, "text": error.text}


def read_status(message: object) -> tuple[int, str]:
    """The return code in a status message, and its note. Raises `StartError` when it says so, else `BadMessage`."""
    match message:
        case {"exit": int(code)} if 0 <= code <= 255 and code is not True and code is not False:
            return code, _note(message)
        case {"signal": int(number)} if 1 <= number <= 127 and number is not True:
            return -number, _note(message)
    raise _unexpected(message)


def _note(message: Any) -> str:
    note = message.get("note", "")
    return one_line(note) if isinstance(note, str) else ""


def read_name(message: object, entry: str) -> str:
    """The name in an answer. Raises as `read_status`."""
    match message:
        case {"detached": str(name)} if entry == "detached" and is_name(name):
            return name
        case {"killed": str(name)} if entry == "killed":
            return name
    raise _unexpected(message)


def read_list(message: object) -> list[Listed]:
    """The detached commands. Raises as `read_status`."""
    match message:
        case {"commands": [*commands]}:
            return [_read_listed(command) for command in commands]
    raise _unexpected(message)


def _read_listed(message: object) -> Listed:
    match message:
        case [str(name), str(command), int(pid), int() | float() as seconds, int() | None as status] if (
            is_name(name)
            and 0 <= pid <= PID_MAX
            and 0 <= seconds <= SECONDS_MAX
            and (status is None or -127 <= status <= 255)
        ):
            return Listed(name, command, pid, float(seconds), status)
    raise _unexpected(message)


def _unexpected(message: object) -> StartError | BadMessage:
    match message:
        case {"error": str(code), "text": str(text)}:
            return StartError(code, text)
    return BadMessage("the server sent an answer that can't be read")


def shell_status(returncode: int) -> int:
    """What a shell makes of a return code: 128 + n for signal n."""
    return returncode if returncode >= 0 else 128 - returncode
