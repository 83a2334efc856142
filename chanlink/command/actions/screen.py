"""The screen of ``chanlink top``: a report as lines, and a terminal that shows them.

What a server reports is not believed: every field may be missing or anything else, and is printable once it is here.
"""

import os
import shutil
import signal
import sys
import termios
import time
import tty
from typing import Any, Self

import anyio

from chanlink import printable
from chanlink.command.interrupts import heeding
from chanlink.command.output import duration, milliseconds, size, table

from .stdio import Watch

CLEAR, HOME, REST = "\x1b[2J", "\x1b[H", "\x1b[J"
OTHER_SCREEN, OWN_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"
HEAD = ["channel", "end", "sent", "taken", "queued", "arrived", "credit", "waits"]
RIGHT = {2, 3, 4, 5, 6}
LONGEST_NAME = 40


def report(
    sessions: list[dict[str, Any]],
    before: dict[str, int],
    elapsed: float,
    *,
    width: int | None,
    everything: bool,
) -> list[str]:
    """Lines; ``before`` has the volume of each session ``elapsed`` seconds ago."""
    lines = [f"{len(sessions)} session{'' if len(sessions) == 1 else 's'}"]
    for session in sessions:
        name = _text(session, "peer")
        lines += ["", _headline(session, before, elapsed)]
        channels = [one for one in session["channels"] if isinstance(one, dict)]
        shown = [one for one in channels if everything or _is_busy(one)]
        if shown:
            lines += ["  " + line for line in table([HEAD, *(_row(one, name) for one in shown)], RIGHT)]
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


def _row(channel: dict[str, Any], peer: str) -> list[str]:
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
        "; ".join(_waits(channel, peer)),
    ]


def _waits(channel: dict[str, Any], peer: str) -> list[str]:
    """Who waits for whom, in words."""
    waits = channel.get("waits")
    words = {
        "credit": f"{max(1.0, _number(channel, 'sending')):.0f} here for {peer} to take (no credit)",
        "capacity": f"{max(1.0, _number(channel, 'sending')):.0f} here for {peer} to take (capacity)",
        "peer-sends": f"{_number(channel, 'receiving'):.0f} here for {peer} to send",
        "we-take": f"{peer} for somebody here to take",
    }
    return [text for wait, text in words.items() if wait in waits] if isinstance(waits, list) else []


def _text(source: dict[str, Any], name: str) -> str:
    value = source.get(name)
    return printable(value[:256]) if isinstance(value, str) else ""


def _number(source: dict[str, Any], name: str) -> float:
    value = source.get(name)
    return float(value) if isinstance(value, int | float) and 0 <= value < 2**63 else 0.0


class Screen:
    """A terminal that shows reports; a context manager, after which it is as it was."""

    def __enter__(self) -> Self:
        self._before: dict[str, int] = {}
        self._at = 0.0
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()

    def _take(self) -> None:
        self._modes = termios.tcgetattr(0)
        tty.setcbreak(0)
        sys.stdout.write(OTHER_SCREEN + CLEAR)
        sys.stdout.flush()

    def _give_back(self) -> None:
        termios.tcsetattr(0, termios.TCSADRAIN, self._modes)
        sys.stdout.write(OWN_SCREEN)
        sys.stdout.flush()

    def _stop(self) -> None:
        """As Ctrl-Z asks for; returns once we are to go on."""
        self._give_back()
        ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, ours)
        self._take()

    def draw(self, sessions: list[dict[str, Any]], address: str, *, everything: bool) -> None:
        """Show a report, cut to the size that the terminal has now."""
        width, height = shutil.get_terminal_size()
        now = time.monotonic()
        lines = report(sessions, self._before, now - self._at, width=width, everything=everything)
        self._before = {identity_of(one): int(_number(one, "volume")) for one in sessions}
        self._at = now
        if len(lines) > height - 1:
            lines[height - 2 :] = [f"... {len(lines) - height + 2} more lines; --once shows them"]
        title = f"{address}  {time.strftime('%H:%M:%S')}  q: quit"[:width]
        text = "".join(f"{line}\x1b[K\r\n" for line in [f"{BOLD}{title}{PLAIN}", *lines[: height - 1]])
        sys.stdout.write(HOME + text.removesuffix("\r\n") + REST)
        sys.stdout.flush()

    async def until_quit(self) -> None:
        """Return once q is pressed, or the terminal has gone, or somebody wants this process to end."""
        with heeding(signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP) as signals:
            async with anyio.create_task_group() as tasks:

                async def until_signal() -> None:
                    while await anext(signals) == signal.SIGTSTP:
                        self._stop()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(until_signal)
                keyboard = Watch(0)
                while True:
                    await keyboard.ready()
                    if os.read(0, 1) in (b"q", b"Q", b"\x04", b""):
                        break
                tasks.cancel_scope.cancel()
