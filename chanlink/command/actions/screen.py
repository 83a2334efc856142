"""What ``chanlink top`` shows: a report as lines.

What a server reports is not believed: every field may be missing or anything else, and is printable once it is here.
"""

import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from chanlink import printable
from chanlink.command.output import duration, milliseconds, size, table

HEAD = ["channel", "end", "sent", "taken", "queued", "arrived", "credit", "waits"]
RIGHT = {2, 3, 4, 5, 6}
LONGEST_NAME = 40
STILL = 5.0
"""Seconds, from which on it is shown that nothing goes on."""


def report(
    sessions: list[dict[str, Any]],
    before: dict[str, int],
    elapsed: float,
    *,
    width: int | None,
    everything: bool,
    still: Mapping[tuple[str, float], float] = MappingProxyType({}),
) -> list[str]:
    """Lines; ``before`` has the volume of each session ``elapsed`` seconds ago, ``still`` the seconds in which nothing
    has gone on in a channel. A map without channels tells of the tasks."""
    tasks = _tasks(one for one in sessions if "channels" not in one)
    sessions = [one for one in sessions if "channels" in one]
    lines = [f"{len(sessions)} session{'' if len(sessions) == 1 else 's'}"]
    for session in sessions:
        name = _text(session, "peer")
        lines += ["", _headline(session, before, elapsed)]
        channels = [one for one in session["channels"] if isinstance(one, dict)]
        shown = [one for one in channels if everything or _is_busy(one)]
        if shown:
            seconds = [still.get((identity_of(session), _number(one, "id")), 0.0) for one in shown]
            rows = [_row(one, name, for_seconds, tasks) for one, for_seconds in zip(shown, seconds, strict=True)]
            lines += ["  " + line for line in table([HEAD, *rows], RIGHT)]
        hidden = len(channels) - len(shown) + _number(session, "left_out")
        if hidden:
            lines.append(f"  {hidden:.0f} idle channel{'' if hidden == 1 else 's'}")
    return [line[:width] for line in lines]


def _headline(session: dict[str, Any], before: dict[str, int], elapsed: float) -> str:
    parts = [
        f"{_text(session, 'peer')} at {_text(session, 'address')}",
        f"{duration(_number(session, 'age'))} old",
        size(_number(session, "volume")),
        f"round trip {milliseconds(_number(session, 'round_trip'))} ms",
        _text(session, "suite"),
    ]
    identity = identity_of(session)
    if identity in before and elapsed > 0:
        parts.insert(3, f"{size((_number(session, 'volume') - before[identity]) / elapsed)}/s")
    if _number(session, "unaccepted"):
        parts.append(f"{_number(session, 'unaccepted'):.0f} not accepted")
    return ", ".join(part for part in parts if part)


def identity_of(session: dict[str, Any]) -> str:
    """What a session is known by from one report to the next."""
    return f"{_text(session, 'key')} {_text(session, 'address')}"


def _is_busy(channel: dict[str, Any]) -> bool:
    return bool(channel.get("waits")) or any(_number(channel, name) for name in ("queued", "arrived", "sending"))


def _tasks(heads: Iterable[dict[str, Any]]) -> dict[int, str]:
    """What tasks are called, by their number, and where they are."""
    listed = next((head.get("tasks") for head in heads), None)
    tasks = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return {
        one["id"]: f"{_text(one, 'service') or _text(one, 'name')} at {_text(one, 'place')}"
        for one in tasks
        if isinstance(one.get("id"), int)
    }


def _row(channel: dict[str, Any], peer: str, for_seconds: float, tasks: dict[int, str]) -> list[str]:
    is_bytes = channel.get("end") == "bytes"
    show = size if is_bytes else lambda count: f"{count:.0f}"
    parent = f"in {_number(channel, 'parent'):.0f}" if channel.get("parent") is not None else "-"
    name = _text(channel, "service") or parent
    sends, receives = channel.get("end") != "receiver", channel.get("end") != "sender"
    return [
        f"{_number(channel, 'id'):.0f} {name[:LONGEST_NAME]}",
        _text(channel, "end") + (" relayed" if channel.get("relayed") else ""),
        show(_number(channel, "sent")) if sends else "",
        show(_number(channel, "taken")) if receives else "",
        size(_number(channel, "queued")) if sends else "",
        size(_number(channel, "arrived")) if receives else "",
        size(_number(channel, "credit")) if sends else "",
        "; ".join([*_waits(channel, peer, for_seconds), *_holders(channel, tasks)]),
    ]


def _holders(channel: dict[str, Any], tasks: dict[int, str]) -> list[str]:
    """Which tasks hold its end, if the server was asked for that."""
    listed = channel.get("held_by")
    held = [tasks[one] for one in listed if isinstance(one, int) and one in tasks] if isinstance(listed, list) else []
    return [f"held by {', '.join(held)}"] if held else []


def _waits(channel: dict[str, Any], peer: str, for_seconds: float) -> list[str]:
    """Who waits for whom, in words, and for how long nothing has gone on."""
    waits = channel.get("waits")
    words = {
        "credit": f"{max(1.0, _number(channel, 'sending')):.0f} here for {peer} to take (no credit)",
        "capacity": f"{max(1.0, _number(channel, 'sending')):.0f} here for {peer} to take (capacity)",
        "peer-sends": f"{_number(channel, 'receiving'):.0f} here for {peer} to send",
        "we-take": f"{peer} for somebody here to take",
    }
    found = [text for wait, text in words.items() if wait in waits] if isinstance(waits, list) else []
    return [*found, f"for {duration(for_seconds)}"] if found and for_seconds >= STILL else found


class Still:
    """How long nothing has gone on in channels in which somebody waits, as far as one has looked."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, float], tuple[list[float], float]] = {}

    def look(self, sessions: list[dict[str, Any]], now: float) -> dict[tuple[str, float], float]:
        """Seconds, for each of them, by its session and number."""
        since = {}
        for session in sessions:
            for one in session.get("channels", ()):
                if isinstance(one, dict) and one.get("waits"):
                    name = identity_of(session), _number(one, "id")
                    counts = [
                        _number(one, count) for count in ("sent", "taken", "untaken", "arrived", "queued", "credit")
                    ]
                    known = self._since.get(name)
                    since[name] = known if known is not None and known[0] == counts else (counts, now)
        self._since = since
        return {name: now - began for name, (_, began) in since.items()}


def _text(source: dict[str, Any], name: str) -> str:
    value = source.get(name)
    return printable(value[:256]) if isinstance(value, str) else ""


def _number(source: dict[str, Any], name: str) -> float:
    value = source.get(name)
    return float(value) if isinstance(value, int | float) and 0 <= value < 2**63 else 0.0


class Looks:
    """One report after the other, as lines: with what has gone on since the last one."""

    def __init__(self, *, tasks: bool, everything: bool) -> None:
        self.tasks = tasks
        """Whether tasks are to be shown."""
        self._everything = everything
        self._still = Still()
        self._before: dict[str, int] = {}
        self._at = 0.0

    def switch_tasks(self) -> None:
        """The key t."""
        self.tasks = not self.tasks

    def lines(self, sessions: list[dict[str, Any]], *, width: int) -> list[str]:
        """The next report."""
        now = time.monotonic()
        still = self._still.look(sessions, now)
        elapsed = now - self._at
        lines = report(sessions, self._before, elapsed, width=width, everything=self._everything, still=still)
        self._before = {identity_of(one): int(_number(one, "volume")) for one in sessions}
        self._at = now
        return lines
