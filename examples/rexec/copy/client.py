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

from ..messages import BadMessage
from ..words import LINE_MAX
from .messages import NAME_MAX, PATH_MAX, PATHS_MAX, SERVICE, SIZE_MAX, CopyError, shown
from .place import Place
from .receiving import receive_files
from .sending import send_files
from .service import run_and_report
from .threads import Threads

__all__ = ["BadMessage", "Copied", "CopyError", "Progress", "copy"]

LINES_MAX = 1_000
"""Problems that are remembered: the other side can say many, each with `words.LINE_MAX` characters."""

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
    labels: tuple[str, str] = ("", ""),
) -> Copied:
    """Copy files, and with ``recursive`` folders, into the folder ``target``, or to that name if there is none.

    ``source`` and ``destination`` are the sessions with the servers where these are; None is here. ``watch`` is called
    now and then with the progress. What each side says of itself begins with its label.

    Each copy has the name of what it is a copy of. What ends with ``.`` or ``..``, or is ``/`` or ``~``, has none: its
    content goes into the folder ``target``. Two sources of one name are an error, before anything is copied.

    Each file keeps its mode and time, and is verified by its hash before it takes the place of what had its name. Of
    one that was interrupted there is a part beside it, from which the next copy goes on if its hash is that of the same
    bytes here. A link is copied as a link if it does not lead out of the folder that is copied.

    What can't be copied is in `Copied.problems`; the rest is copied. Raises `CopyError` when the copy was given up,
    `chanlink.ChannelRefused` when a server does not serve us, another `chanlink.ChannelBroken` when a connection was
    lost. Cancelled: both sides stop.
    """
    names = _names_of([fsencode(one) for one in sources], fsencode(target))
    send = {"paths": [fsencode(one) for one in sources], "names": names, "recursive": recursive, "total": bool(watch)}
    receive = {"path": fsencode(target), "names": names, "recursive": recursive}
    entries, incoming = chanlink.pipe()
    answers, answered = chanlink.pipe()
    listener = _Listener(watch)
    async with anyio.create_task_group() as sides:
        sides.start_soon(_run_side, source, "send", entries, answered, send, listener, labels[0])
        sides.start_soon(_run_side, destination, "receive", incoming, answers, receive, listener, labels[1])
    return listener.copied()


def _names_of(sources: list[bytes], target: bytes) -> list[bytes]:
    """How the copies are called. Raises `CopyError` if two of them are called the same, or something is too long."""
    if len(sources) > PATHS_MAX:
        raise CopyError(f"more than {PATHS_MAX} sources; copy the folder that they are in, with -r")
    for one in [*sources, target]:
        if len(one) > PATH_MAX or len(_name_of(one)) > NAME_MAX:
            raise CopyError(f"{shown(one)}: File name too long")
        if b"\0" in one:
            raise CopyError(f"{shown(one)}: holds a zero byte")
    sources_of: dict[bytes, bytes] = {}
    names = []
    for source in sources:
        name = _name_of(source)
        names.append(name)
        if name and name in sources_of:
            both = f"{shown(sources_of[name])} and {shown(source)}"
            raise CopyError(f"{both} would both become {shown(path.join(target, name))}; copy them one after another")
        sources_of[name] = source
    return names


def _name_of(source: bytes) -> bytes:
    """How the copy is called in a folder; nothing for what has no name of its own."""
    name = path.basename(source.rstrip(b"/"))
    is_home = name.startswith(b"~") and b"/" not in source.rstrip(b"/")
    return b"" if name in (b".", b"..") or is_home else name


async def _run_side(
    session: chanlink.Session | None,
    role: str,
    entries: Any,
    answers: Any,
    arguments: dict[str, Any],
    listener: "_Listener",
    label: str,
) -> None:
    """Have one side of the copy done, here or there, and hear how it goes."""
    words, heard = chanlink.pipe()
    try:
        async with entries, answers, words, heard:
            listen = partial(listener.listen, label, heard)
            if session is None:
                await _do_here(role, entries, answers, arguments, words, listen)
            else:
                ends = {"entries": entries, "answers": answers, "report": words}
                await _have_done(session, {"do": role, **arguments, **ends}, listen)
    except (chanlink.ChanlinkError, CopyError) as exc:
        listener.errors.append(exc)


async def _do_here(
    role: str, entries: Any, answers: Any, arguments: dict[str, Any], words: Any, listen: Callable[[], Awaitable[None]]
) -> None:
    function: Any = send_files if role == "send" else receive_files
    side = partial(function, entries, answers, place=Place(), threads=Threads(), **arguments)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_and_report, side, words)
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


class _Nonsense(Exception):
    """A report that no side would make."""


class _Listener:
    """Hears the reports of both sides, which may say anything, for as long as they like."""

    def __init__(self, watch: Callable[[Progress], None] | None) -> None:
        self.errors: list[chanlink.ChanlinkError | CopyError] = []
        self._watch = watch
        self._progress = Progress()
        self._failures: list[str] = []
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._given_up = False

    async def listen(self, label: str, reports: chanlink.Receiver[Any]) -> None:
        """Until the last word of one side. Raises `CopyError` for what no side would say."""
        try:
            while not self._is_last(await reports.receive(), label):
                pass
        except _Nonsense:
            raise CopyError(f"{label}the other side reports what can't be understood") from None

    def _is_last(self, report: object, label: str) -> bool:
        """Take note of a report, and say whether it is the last word."""
        match report:
            case {"done": counts}:
                self._count(counts, "")
                return True
            case {"failed": str(text)}:
                self._failures += [label + text[:LINE_MAX]] if text else []
                self._given_up = True
                return True
            case {"total": [files, size]}:
                self._progress = self._progress._replace(total_files=_number(files), total_bytes=_number(size))
            case {"at": counts, "name": bytes(name)}:
                self._count(counts, shown(name[-LINE_MAX:]))
            case {"problem": str(text)}:
                _add(self._problems, label + text[:LINE_MAX])
            case {"note": str(text)}:
                _add(self._notes, label + text[:LINE_MAX])
            case _:
                raise _Nonsense
        return False

    def _count(self, counts: object, name: str) -> None:
        match counts:
            case [files, size, spared]:
                counted = _number(files), _number(size), _number(spared)
                if files or size:  # the sender does not count
                    self._progress = Progress(*counted, *self._progress[3:5], name or self._progress.name)
                if self._watch:
                    self._watch(self._progress)
            case _:
                raise _Nonsense

    def copied(self) -> Copied:
        """What has come of it. Raises as `copy`."""
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


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= SIZE_MAX:
        raise _Nonsense
    return value
