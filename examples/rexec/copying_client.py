"""Copies files and folders over sessions: there, back, and from one server to another.

::

    async with chanlink.connect("tcp://build:9323", peer=key) as session:
        copied = await copy(["dist"], "/srv/www", destination=session, recursive=True)
        print(copied.files, copied.bytes, copied.problems)

Between two servers, the bytes take the way through this process, which does not look at them: what it made are the
channels.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from os import PathLike, fsencode, path
from typing import Any, NamedTuple

import anyio

import chanlink

from .copying import SERVICE, CopyError, shown
from .copying_places import Place
from .copying_receive import receive_files
from .copying_send import send_files
from .copying_service import attend
from .messages import BadMessage

__all__ = ["BadMessage", "Copied", "CopyError", "Progress", "copy"]

LINES_MAX = 1_000
"""Problems that are remembered: the other side can say many."""

Path = str | bytes | PathLike[str]


class Progress(NamedTuple):
    """How far a copy is."""

    files: int = 0
    bytes: int = 0
    spared: int = 0
    """Of these bytes, those that were there already."""
    total_files: int | None = None
    total_bytes: int | None = None
    """None while the files are being counted."""
    name: str = ""
    """What is being copied."""


class Copied(NamedTuple):
    """A copy that has come to its end."""

    files: int
    bytes: int
    spared: int
    """Of these bytes, those that were there already."""
    problems: list[str]
    """What could not be copied, and why; a line each."""
    notes: list[str]
    """What was left out on purpose, and why."""


async def copy(
    sources: Sequence[Path],
    target: Path,
    *,
    source: chanlink.Session | None = None,
    destination: chanlink.Session | None = None,
    recursive: bool = False,
    watch: Callable[[Progress], None] | None = None,
) -> Copied:
    """Copy files, and with ``recursive`` folders, into the folder ``target``, or to that name if there is none.

    ``source`` and ``destination`` are the sessions with the servers where these are; None is here. ``watch`` is called
    now and then with the progress.

    Each file keeps its mode and time, and is verified by its hash before it takes the place of what had its name. Of
    one that was interrupted there is a part beside it, from which the next copy goes on if its hash is that of the same
    bytes here. A link is copied as a link if it does not lead out of the folder that is copied.

    What can't be copied is in `Copied.problems`; the rest is copied. Raises `CopyError` when the copy was given up,
    `chanlink.ChannelRefused` when a server does not serve us, another `chanlink.ChannelBroken` when a connection was
    lost. Cancelled: both sides stop.
    """
    names = [_name_of(fsencode(one), remote=source is not None) for one in sources]
    send = {"paths": [fsencode(one) for one in sources], "names": names, "recursive": recursive, "total": bool(watch)}
    receive = {"path": fsencode(target), "names": names, "recursive": recursive}
    entries, incoming = chanlink.pipe()
    answers, answered = chanlink.pipe()
    listener = _Listener(watch)
    async with anyio.create_task_group() as sides:
        sides.start_soon(_run_side, source, "send", entries, answered, send, listener)
        sides.start_soon(_run_side, destination, "receive", incoming, answers, receive, listener)
    return listener.copied()


def _name_of(source: bytes, remote: bool) -> bytes:
    """How the copy is called in a folder; nothing if only the other side could say it, which is not to choose."""
    name = path.basename(path.normpath(source))
    if name in (b"", b".", b".."):
        return b"" if remote else path.basename(path.realpath(source))
    return name


async def _run_side(
    session: chanlink.Session | None,
    role: str,
    entries: Any,
    answers: Any,
    arguments: dict[str, Any],
    listener: "_Listener",
) -> None:
    """Have one side of the copy done, here or there, and hear how it goes."""
    words, heard = chanlink.pipe()
    try:
        async with entries, answers, words, heard:
            if session is None:
                await _do_here(role, entries, answers, arguments, words, partial(listener.listen, heard))
            else:
                ends = {"entries": entries, "answers": answers, "report": words}
                await _have_done(session, {"do": role, **arguments, **ends}, partial(listener.listen, heard))
    except (chanlink.ChanlinkError, CopyError) as exc:
        listener.errors.append(exc)


async def _do_here(
    role: str, entries: Any, answers: Any, arguments: dict[str, Any], words: Any, listen: Callable[[], Awaitable[None]]
) -> None:
    function: Any = send_files if role == "send" else receive_files
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(attend, partial(function, entries, answers, place=Place(), **arguments), words)
        await listen()


async def _have_done(session: chanlink.Session, request: dict[str, Any], listen: Callable[[], Awaitable[None]]) -> None:
    requests: chanlink.Sender[Any] = await session.open(SERVICE)
    async with requests:
        await requests.send(request)
        try:
            await listen()
        except chanlink.ChannelError:
            await requests.flush()  # raises if the request was refused: then that is the reason
            raise


class _Listener:
    """Hears the reports of both sides."""

    def __init__(self, watch: Callable[[Progress], None] | None) -> None:
        self.errors: list[chanlink.ChanlinkError | CopyError] = []
        self._watch = watch
        self._progress = Progress()
        self._failures: list[str] = []
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._given_up = False

    async def listen(self, reports: chanlink.Receiver[Any]) -> None:
        """Until the last word of one side."""
        while True:
            match await reports.receive():
                case {"done": counts}:
                    self._count(counts, "")
                    return
                case {"failed": str(text)}:
                    self._failures += [text] if text else []
                    self._given_up = True
                    return
                case {"total": [int(files), int(size)]}:
                    self._progress = self._progress._replace(total_files=files, total_bytes=size)
                case {"at": counts, "name": bytes(name)}:
                    self._count(counts, shown(name))
                case {"problem": str(text)}:
                    _add(self._problems, text)
                case {"note": str(text)}:
                    _add(self._notes, text)
                case _:
                    raise CopyError("the other side reports what can't be understood")

    def _count(self, counts: object, name: str) -> None:
        match counts:
            case [int(files), int(size), int(spared)]:
                if files or size or name:  # the sender does not count
                    self._progress = self._progress._replace(files=files, bytes=size, spared=spared, name=name)
                if self._watch:
                    self._watch(self._progress)

    def copied(self) -> Copied:
        """What has come of it.  Raises as `copy`."""
        if self._failures:
            raise CopyError(self._failures[0])
        if self.errors:
            raise self.errors[0]
        if self._given_up:
            raise CopyError("the other side has given up")
        return Copied(*self._progress[:3], self._problems, self._notes)


def _add(lines: list[str], text: str) -> None:
    if len(lines) < LINES_MAX:
        lines.append(text)
    elif len(lines) == LINES_MAX:
        lines.append("... and more of that")
