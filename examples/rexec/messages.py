"""What travels: the request and the status, checked on arrival.

A request is one message on a channel to the service `SERVICE`:

    command      the program's name or path
    args         list of its arguments
    stdin        a byte stream: what the command reads; its end is the command's end of file
    stdout       a byte stream: what it writes
    stderr       a byte stream: what it writes there
    status       a sender: gets one status message, after both outputs have ended
    directory    where to run it (optional)
    environment  map of variables that are set besides the server's own (optional)

A word (of the command, a path, a variable) is a str, or bytes if it is not UTF-8. A status is one of

    {"exit": 0 to 255}    {"signal": 1 to 127}    {"error": code, "text": explanation}

where an error means that nothing was run; the codes are the constants below.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeVar

import chanlink

SERVICE = "rexec"

NOT_FOUND = "not-found"
NOT_PERMITTED = "not-permitted"
NO_SUCH_DIRECTORY = "no-such-directory"
CANNOT_START = "cannot-start"
BAD_REQUEST = "bad-request"

CANCELLED = "cancelled"
"""The code with which a caller that gives up a command leaves its streams."""
LINE_MAX = 1_000

Word = str | bytes
T = TypeVar("T")


class StartError(Exception):
    """The command was not run.  ``code`` is one of the constants of this module, ``text`` the server's explanation."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return self.text or self.code


class BadMessage(ValueError):
    """The other side sent a message of a wrong shape."""


# --- requests -----------------------------------------------------------------------------------


def request_message(
    argv: Sequence[Word], ends: Mapping[str, object], directory: Word | None, environment: Mapping[Word, Word] | None
) -> dict[str, Any]:
    """The message that asks to run a command; ``ends`` are its streams and its status sender, by name."""
    command, *args = map(_outgoing, argv)
    message = {"command": command, "args": args, **ends}
    if directory is not None:
        message["directory"] = _outgoing(directory)
    if environment:
        message["environment"] = {_outgoing(name): _outgoing(value) for name, value in environment.items()}
    return message


class Request(NamedTuple):
    """A command to run, and the ends that connect it to whoever asked for it."""

    argv: list[bytes]
    stdin: chanlink.ByteStream
    stdout: chanlink.ByteStream
    stderr: chanlink.ByteStream
    status: chanlink.Sender[dict[str, Any]]
    directory: bytes | None
    environment: dict[bytes, bytes]

    @classmethod
    def from_message(cls, message: object) -> Self:
        """Read what the other side sent.  Raises `BadMessage`."""
        if not isinstance(message, dict):
            raise BadMessage("a request is a map")
        command = _incoming(message.get("command"), "command")
        if not command:
            raise BadMessage("the command is empty")
        args = _instance(message.get("args"), list, "args")
        directory = message.get("directory")
        return cls(
            [command, *(_incoming(word, "args") for word in args)],
            _instance(message.get("stdin"), chanlink.ByteStream, "stdin"),
            _instance(message.get("stdout"), chanlink.ByteStream, "stdout"),
            _instance(message.get("stderr"), chanlink.ByteStream, "stderr"),
            _instance(message.get("status"), chanlink.Sender, "status"),
            None if directory is None else _incoming(directory, "directory"),
            _variables(message.get("environment", {})),
        )


def _outgoing(word: Word) -> Word:
    """A str stays one if it is UTF-8; what the command line holds beside that are undecodable bytes."""
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


def _instance(value: object, kind: type[T], name: str) -> T:
    if not isinstance(value, kind):
        raise BadMessage(f"{name} is missing or of a wrong type")
    return value


def printable(text: str) -> str:
    """One line without control characters, for logs and terminals: it may be the words of the other side."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:LINE_MAX]


def ends_in(value: object) -> Iterator[chanlink.Sender[Any] | chanlink.Receiver[Any] | chanlink.ByteStream]:
    """Every end that a message holds, wherever it is; one that nobody uses has to be closed."""
    if isinstance(value, chanlink.Sender | chanlink.Receiver | chanlink.ByteStream):
        yield value
    elif isinstance(value, dict):
        for entry in value.values():
            yield from ends_in(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from ends_in(entry)


# --- statuses -----------------------------------------------------------------------------------


def status_message(returncode: int) -> dict[str, Any]:
    """The status of a command that ran; ``returncode`` is as in `subprocess.Popen`, negative for a signal."""
    return {"exit": returncode} if returncode >= 0 else {"signal": -returncode}


def error_message(error: StartError) -> dict[str, Any]:
    """The status of a command that was not run."""
    return {"error": error.code, "text": error.text}


def read_status(message: object) -> int:
    """The return code in a status message.  Raises `StartError` when it says so, else `BadMessage`."""
    match message:
        case {"exit": int(code)} if 0 <= code <= 255:
            return code
        case {"signal": int(number)} if 1 <= number <= 127:
            return -number
        case {"error": str(code), "text": str(text)}:
            raise StartError(code, text)
    raise BadMessage("the server sent a status that can't be read")


def shell_status(returncode: int) -> int:
    """What a shell makes of a return code: 128 + n for signal n."""
    return returncode if returncode >= 0 else 128 - returncode
