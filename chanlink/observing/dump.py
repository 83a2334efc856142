"""What a program is doing, as text: by a call, and on a signal."""

import signal as signals
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from chanlink.arguments import expect
from chanlink.printing import printable, printable_logger
from chanlink.session.session import Session
from chanlink.session.signals import Arriving, received
from chanlink.tasks import tasks_beside

from .report import Name, Report, numbers

logger = printable_logger(__name__)

To = str | PathLike[str] | Callable[[str], object] | None
"""Where a dump goes: a file, to which it is added; a function; None is standard error."""


def state(*sessions: Session) -> dict[str, Any]:
    """What this program is doing now, as a map that JSON and messages can hold.

    ``sessions`` (of those that are given; otherwise of all that tasks of this event loop have), each with its
    ``channels``; ``tasks``, with the ends that they hold and what they wait for; ``pipes`` in memory, as far as tasks
    hold their ends; ``left_out``, the number of tasks and pipes of which there was no room to tell. The names of peers,
    services, tasks and functions are in it, and what was sent is not.

    It looks at what there is, and keeps, waits for and changes nothing. With a thousand tasks that takes some tenths of
    a second, in which the event loop stands still. Raises `RuntimeError` outside of an event loop.
    """
    for session in sessions:
        expect("session", session, Session)
    report = Report(sessions or None, numbers())
    return {"sessions": [report.session(one) for one in report.sessions], **report.process()}


def dump(*sessions: Session) -> str:
    """What this program is doing now, as text for people: what `state` returns, in lines. Raises as that."""
    return "\n".join(map(printable, _lines(state(*sessions)))) + "\n"


@asynccontextmanager
async def dump_on_signal(*which: signals.Signals, to: To = None) -> AsyncGenerator[None, None]:
    """Write a `dump` each time one of these signals comes, as long as the block lasts; the first default is SIGUSR1.

    ``to`` is a file, to which it is added, or a function that gets the text; without it the dump goes to standard
    error. A dump that fails is logged, and the program goes on. The signals are handled in a task of the event loop, so
    that one which comes while the loop stands still has its dump afterwards. In the main thread only (`ConfigError`).
    """
    for one in which:
        expect("which", one, int)
    if to is not None and not callable(to):
        expect("to", to, str, PathLike)
    write = to if callable(to) else _to_stderr if to is None else _to_file(Path(fspath(to)))
    with received(which or (signals.SIGUSR1,)) as arriving:
        async with tasks_beside() as tasks:
            tasks.start_soon(_dump_each, arriving, write)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()


async def _dump_each(arriving: Arriving, write: Callable[[str], object]) -> None:
    while True:
        await arriving()
        try:
            write(dump())
        except Exception:
            logger.exception("a dump failed")


def _to_stderr(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text)
        sys.stderr.flush()


def _to_file(path: Path) -> Callable[[str], None]:
    def write(text: str) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)

    return write


# --- as text --------------------------------------------------------------------------------------


def _lines(found: dict[str, Any]) -> Iterator[str]:
    tasks, pipes, sessions = found["tasks"], found["pipes"], found["sessions"]
    yield f"{_count(len(sessions), 'session')}, {_count(len(pipes), 'pipe')}, {_count(len(tasks), 'task')}"
    if found["left_out"]:
        yield f"{found['left_out']} more tasks and pipes are left out"
    names = {one["id"]: _name(one) for one in tasks}
    held = _held_by(found)
    peers = {(session["id"], session["side"]): session["peer"] for session in sessions}
    for task in tasks:
        yield ""
        yield _task(task)
        if task["waits"]:
            yield f"    waits {waiting_for(task, peers)}"
        if task["group"]:
            yield f"    waits for {_names(task['group'], names)}, which it has started"
        for words in held.get(task["id"], ()):
            yield f"    holds {words}"
    for session in sessions:
        yield ""
        yield f"session {session['id']} with {session['peer']} at {session['address']}, {session['age']:.0f} s old"
        for channel in session["channels"]:
            yield f"    {channel_words(channel)}; held by {holders(channel, names)}"
    for pipe in pipes:
        yield ""
        yield (
            f"pipe {pipe['id']}: {_pipe(pipe)}; sender held by {holders(pipe['sender'], names)};"
            f" receiver held by {holders(pipe['receiver'], names)}"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _task(task: dict[str, Any]) -> str:
    limit = ", with a time limit" if task["limited"] else ""
    return f"task {task['id']} {_name(task)}: {task['place']} ({task['at']}{limit})"


def _name(task: dict[str, Any]) -> str:
    return f"service {task['service']!r} for {task['peer']}" if task["service"] else str(task["name"])


VERBS = {"send": "to send on", "receive": "to receive from", "end": "for the other side of"}


def waiting_for(task: dict[str, Any], peers: dict[tuple[str, str], str]) -> str:
    """What a task waits for, in words."""
    words = [f"{VERBS[one['to']]} {' or '.join(_channel_name(on, peers) for on in one['on'])}" for one in task["waits"]]
    return ", or ".join(words)


def _channel_name(name: Name, peers: dict[tuple[str, str], str]) -> str:
    session, side, number = name
    if not session:
        return f"pipe {number}"
    return f"channel {number} of the session with {peers.get((session, side), session)}"


def _held_by(found: dict[str, Any]) -> dict[int, list[str]]:
    held: dict[int, list[str]] = {}
    for session in found["sessions"]:
        for one in session["channels"]:
            for task in one["held_by"]:
                what = "byte stream" if one["end"] == "bytes" else one["end"]
                held.setdefault(task, []).append(f"the {what} {one['id']} of the session with {session['peer']}")
    for pipe in found["pipes"]:
        for side in ("sender", "receiver"):
            for task in pipe[side]["held_by"]:
                held.setdefault(task, []).append(f"the {side} of pipe {pipe['id']}")
    return held


def _names(tasks: list[int], names: dict[int, str]) -> str:
    return ", ".join(f"task {one}" + (f" {names[one]}" if one in names else "") for one in tasks)


def holders(side: dict[str, Any], names: dict[int, str]) -> str:
    """Who is on one side of a channel, in words."""
    known = [_names(side["held_by"], names)] if side["held_by"] else []
    known += [f"a relay to channel {number} of the session {session}" for session, _, number in side.get("onward", ())]
    if side["others"]:
        known.append("others" if known else "nobody that was found")
    return " and ".join(known) or "nobody"


def channel_words(channel: dict[str, Any]) -> str:
    """A channel of a session, as this side sees it."""
    name = f"service {channel['service']!r}" if channel["service"] else f"in {channel['parent']}"
    counts = [f"sent {channel['sent']}, of which {channel['untaken']} untaken, {channel['queued']} B queued"]
    counts += [f"credit {channel['credit']} B"]
    arrived = [f"taken {channel['taken']}, {channel['arrived']} B arrived"]
    end = channel["end"]
    said = {"sender": counts, "receiver": arrived, "bytes": counts + arrived}[end]
    capacity = "" if channel["capacity"] is None else f" with capacity {channel['capacity']}"
    waits = f", waits: {', '.join(channel['waits'])}" if channel["waits"] else ""
    return f"{channel['id']} {name}: {end}{capacity}, {', '.join(said)}{waits}"


def _pipe(pipe: dict[str, Any]) -> str:
    capacity = "" if pipe["capacity"] is None else f"capacity {pipe['capacity']}, "
    what = "bytes" if pipe["bytes"] else "messages"
    return f"{capacity}sent {pipe['sent']}, taken {pipe['taken']}, {pipe['queued']} {what} wait"
