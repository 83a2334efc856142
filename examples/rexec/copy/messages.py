"""The copy service: what its two sides say to each other, and how that is checked on arrival.

A copy has a *sender*, which reads files, a *receiver*, which writes them, and whoever asked for it and made the
channels between the two. Each side is a function of channel ends (`sending.send_files`,
`receiving.receive_files`), which runs here or, asked for by one message on a channel to the service `SERVICE`, at
the other side of a session. So the same two functions copy there, back, and between two other machines, whose ends meet
at a relay.

    do         "send" or "receive"
    paths      what to send: a list of paths                       path      where to receive it
    names      how the copies are called: a list of names, one for each path; empty for a path that says none
    recursive  whether folders are meant too
    total      whether to count before ("send" only)
    entries    the end of the channel of entries that this side needs
    answers    the end of the channel of answers that this side needs
    report     a sender: what this side tells to whoever asked

Paths and names are bytes, as the system has them. **Entries**, in the order of the walk:

    {"folder": name, "mode": bits, "mtime": ns}     what follows is in it, until {"leave": True}
    {"link": name, "target": path}                  a symbolic link
    {"file": name, "mode": bits, "mtime": ns, "size": bytes}    a file, in one of three ways:
        with "data" and "digest"        a small one; there is nothing more to say
        with "body"                     one that is not worth a question: a byte stream, then {"digest": hash}
        with neither                    a large one: the sender waits for an answer
                                            {"have": bytes, "digest": hash}     this much of it is here, with this hash
                                            {"skip": True}                      not this one
                                        and goes on with {"from": bytes, "body": byte stream} and {"digest": hash}

Hashes are BLAKE2b with 32 bytes, always of the file from its beginning. A sender that could not read a file as it was
says ``{"digest": None}``: what has arrived of it is kept, for the next time, but never becomes the file. A name in the
outermost folder is one of the names that were asked for: the receiver takes no other. The channel of entries ends when
all were sent; a copy is done when the receiver reports so.

**Reports**: ``{"total": [files, bytes]}``, ``{"at": [files, bytes], "name": path}`` now and then, ``{"problem": text}``
for an entry that can't be copied, ``{"note": text}`` for one that is left out on purpose, and in the end ``{"done":
[files, bytes]}`` or ``{"failed": text}``.
"""

import hashlib
import os
from typing import Any, NamedTuple, Self, TypeVar

import chanlink

from ..messages import BadMessage

SERVICE = "copy"

INLINE = 64 * 1024
"""A file of at most this many bytes travels in its entry."""
ASK = 4 * 1024 * 1024
"""From this many bytes on, the sender asks what is there already: a round trip is short compared with the copy."""
DEPTH_MAX = 256
"""How deep folders may nest: each takes a file descriptor at both sides."""
NAME_MAX = 255
PATH_MAX = 4096
SHOWN_MAX = 800
"""Bytes of a path in a line that has room for a reason, too."""
PATHS_MAX = 32_768
"""Sources of one copy: they travel in one message."""
SIZE_MAX = 2**62
TIME_MAX = 2**63 - 1
"""Nanoseconds, before and after 1970: 292 years."""
MODE_BITS = 0o777
"""What is kept of a mode: a copy gives nobody the rights of another user."""

T = TypeVar("T")


class CopyError(Exception):
    """The copy, or one entry of it, can't be made; the text says why, for people."""


class CopyRequest(NamedTuple):
    """What the service is asked to do."""

    sends: bool
    paths: list[bytes]
    """Of what to send; or the one place where to receive it."""
    names: list[bytes]
    recursive: bool
    total: bool
    entries: Any
    """A sender or a receiver, as ``sends`` says; `answers` is the other kind."""
    answers: Any
    report: chanlink.Sender[Any]

    @classmethod
    def from_message(cls, message: object) -> Self:
        """Read what the other side asked for. Raises `BadMessage`."""
        if not isinstance(message, dict) or message.get("do") not in ("send", "receive"):
            raise BadMessage("it asks neither to send nor to receive")
        sends = message["do"] == "send"
        out, into = (chanlink.Sender, chanlink.Receiver) if sends else (chanlink.Receiver, chanlink.Sender)
        names = [check_name(name) if name else b"" for name in _list(message, "names")]
        paths = [_path(path) for path in (_list(message, "paths") if sends else [message.get("path")])]
        if sends and len(paths) != len(names):
            raise BadMessage("there is not a name for each path")
        return cls(
            sends,
            paths,
            names,
            message.get("recursive") is True,
            message.get("total") is True,
            field(message, "entries", out),
            field(message, "answers", into),
            field(message, "report", chanlink.Sender),
        )


def new_hash(data: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(data, digest_size=32)


def check_name(name: object) -> bytes:
    """The name of one entry of a folder; nothing that could lead elsewhere. Raises `BadMessage`."""
    if not isinstance(name, bytes) or not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise BadMessage(f"{shown(name)} is no name of a file")
    if len(name) > NAME_MAX:
        raise BadMessage(f"{shown(name)} is too long for the name of a file")
    return name


def field(entry: dict[str, Any], name: str, kind: type[T]) -> T:
    """A field of an entry, of this type. Raises `BadMessage`."""
    value = entry.get(name)
    if type(value) is not kind and (kind in (int, bytes) or not isinstance(value, kind)):
        raise BadMessage(f"{name} is missing or of a wrong type")
    return value


def size_field(entry: dict[str, Any], name: str = "size") -> int:
    size = field(entry, name, int)
    if not 0 <= size <= SIZE_MAX:
        raise BadMessage(f"{name} is {size}")
    return size


def mode_and_time(entry: dict[str, Any]) -> tuple[int, int]:
    mode, mtime = field(entry, "mode", int), field(entry, "mtime", int)
    if not 0 <= mode <= MODE_BITS:
        raise BadMessage(f"mode is {mode}")
    if not abs(mtime) <= TIME_MAX:
        raise BadMessage(f"mtime is {mtime}")
    return mode, mtime


def shown(name: object) -> str:
    """A path for people, or rather its end; before it goes to a terminal it has to be made printable."""
    if not isinstance(name, str | bytes):
        return type(name).__name__
    data = os.fsencode(name)
    return ("" if len(data) <= SHOWN_MAX else "...") + data[-SHOWN_MAX:].decode(errors="replace")


def why(path: object, problem: Exception | str) -> str:
    """A line about an entry that can't be copied, and the reason."""
    if isinstance(problem, OSError):
        problem = problem.strerror or problem
    return f"{shown(path)}: {problem}"


def _list(message: dict[str, Any], name: str) -> list[Any]:
    values = field(message, name, list)
    if len(values) > PATHS_MAX:
        raise BadMessage(f"there are more than {PATHS_MAX} {name}")
    return values


def _path(value: object) -> bytes:
    if not isinstance(value, bytes) or b"\0" in value or len(value) > PATH_MAX:
        raise BadMessage("a path is missing, of a wrong type, too long, or holds a zero byte")
    return value
