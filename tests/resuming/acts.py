"""What is done to connections: one act for each, and at last each connection is cut.

Each act begins at a place of one direction, a number of bytes or of frames from where it is. What would only be noticed
by silence, such as a frame that is missing at the end, is followed by a cut a little later, as silence takes seconds.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import anyio
from anyio.abc import TaskGroup

from tests.attacker.man import Connection, Man, Way
from tests.attacker.rules import Rule, changing, doubling, dropping, putting_before, turning_round

FRAMES = 12
"""Acts on frames hit one of so many: the handshake, and the first records."""
PAUSE = 0.2
"""Seconds that an act may take until the connection is cut in any case."""


class Act(NamedTuple):
    """Something that is done to one connection."""

    kind: str
    to_server: bool
    """In which direction."""
    at: int
    """Bytes, or modulo `FRAMES` the number of a frame."""
    pause: float
    """Part of `PAUSE`."""


BYTES = ("reset", "ended", "lost to the client", "lost to the server", "played again", "held", "delayed")
"""Kinds of acts that begin at a byte."""
RULES: dict[str, Callable[[int, Act, Sequence[bytes]], Rule]] = {
    "left out": lambda frame, act, old: dropping(frame),
    "doubled": lambda frame, act, old: doubling(frame),
    "turned round": lambda frame, act, old: turning_round(frame),
    "changed": lambda frame, act, old: changing(frame, lambda data: _flipped(data, act.at)),
    "mixed with an old one": lambda frame, act, old: putting_before(frame, old[act.at % len(old)] if old else b"\0\1x"),
}
"""And at a frame: given its number, and frames of the connection before."""
KINDS = (*BYTES, *RULES)


def random_acts(chance: random.Random, count: int) -> list[Act]:
    """Half of them plain resets, the places as many near the beginning as further on."""
    return [
        Act(
            "reset" if chance.random() < 0.5 else chance.choice(KINDS),
            chance.random() < 0.5,
            int(10 ** chance.uniform(0, 4.6)),
            chance.random(),
        )
        for _ in range(count)
    ]


def _flipped(data: bytes, at: int) -> bytes:
    """One bit changed, but not of the length."""
    changed = bytearray(data)
    if len(data) > 2:
        changed[2 + at % (len(data) - 2)] ^= 1 << at % 8
    return bytes(changed)


class Trouble:
    """Does the acts, to the connection that there is and to each that follows."""

    def __init__(self, man: Man, acts: Sequence[Act], tasks: TaskGroup) -> None:
        self.seen: Counter[str] = Counter()
        """What was done, by kind."""
        self._man = man
        self._acts = iter(acts)
        self._left = len(acts)
        self._tasks = tasks
        self._fewer = anyio.Event()

    def begin(self) -> None:
        """From now on."""
        self._man.prepare = self._meet
        self._meet(self._man.last)

    async def until_left(self, count: int) -> None:
        """Wait until no more acts than these are still to be done."""
        while self._left > count:
            await self._fewer.wait()

    def _meet(self, connection: Connection) -> None:
        act = next(self._acts, None)
        if act is None:
            return
        way = connection.to_server if act.to_server else connection.to_client
        if act.kind in RULES:
            self._at_frame(act, connection, way)
        else:
            way.cut_at(way.sent + act.at, lambda: self._do(act, connection, way))

    def _at_frame(self, act: Act, connection: Connection, way: Way) -> None:
        which = len(way.frames) + act.at % FRAMES
        before = self._man.connections[max(0, connection.number - 1)]
        old = (before.to_server if act.to_server else before.to_client).frames
        inner = RULES[act.kind](which, act, old)

        async def rule(number: int, frame: bytes) -> bytes:
            if number == which:
                self._done(act, connection)
            return await inner(number, frame)

        way.rule = rule

    def _do(self, act: Act, connection: Connection, way: Way) -> None:
        self._done(act, connection)
        match act.kind:
            case "reset":
                connection.cut()
            case "ended":
                connection.end()
            case "lost to the client":
                connection.leave_client()
            case "lost to the server":
                connection.leave_server()
            case "played again":
                self._tasks.start_soon(self._play, connection.to_server.frames)
                connection.cut()
            case "held":
                way.hold()
            case "delayed":
                way.hold()
                self._tasks.start_soon(self._release, way, act.pause * PAUSE / 2)

    async def _play(self, frames: Sequence[bytes]) -> None:
        with suppress(OSError):
            await self._man.play(*frames)

    async def _release(self, way: Way, pause: float) -> None:
        await anyio.sleep(pause)
        way.release()

    def _done(self, act: Act, connection: Connection) -> None:
        self.seen[act.kind] += 1
        self._left -= 1
        self._fewer.set()
        self._fewer = anyio.Event()
        self._tasks.start_soon(self._cut, connection, act.pause * PAUSE)

    async def _cut(self, connection: Connection, pause: float) -> None:
        await anyio.sleep(pause)
        connection.cut()
