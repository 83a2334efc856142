"""Runs plans, and at the end of each looks whether every promise was kept.

A plan is a list of steps that hypothesis draws, and shortens when it fails. (Its rule-based machines are not async,
and a loop in a thread beside them would go another way each time; here the same plan goes the same way.)
"""

import gc
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any
from unittest import mock

import anyio
from hypothesis import strategies as st

from . import model
from .model import END, Outcome, check
from .steps import STEPS, accept, closed, held, open_over, receiving
from .world import World

Plan = Sequence[tuple[str, int, int]]
MOST = 120
"""Steps of one plan."""
OFTEN = ("send", "send_end", "send_ends", "receive", "receive", "receive_all", "write")
BYTE = st.integers(0, 255)
NAMES = st.sampled_from([*STEPS, *OFTEN])  # the first one does nothing: so a plan that fails becomes simple
plans = st.integers(1, MOST).flatmap(
    lambda size: st.lists(st.tuples(NAMES, BYTE, BYTE), min_size=size, max_size=size),
)


async def play(plan: Plan, sealed: bool) -> Counter[str]:
    """Do the steps. Raises `Wrong`, or what else went wrong; returns what was done."""
    error: BaseException | None = None
    counts: Counter[str] = Counter()
    async with anyio.create_task_group() as tasks:
        try:
            async with World(tasks, sealed=sealed) as world:
                await _play(world, plan)
                counts = world.counts
        except Exception as exc:  # raised as it is, not in a group
            error = exc
            tasks.cancel_scope.cancel()
    if error is not None:
        raise error
    return counts


async def _play(world: World, plan: Plan) -> None:
    for line in world.lines[:2]:  # a way to and from each site
        for side in (1, 4):
            await open_over(world, line, side)
    await world.turns()
    while await accept(world, 0, 0):
        pass
    for name, a, b in plan:
        done = await STEPS[name](world, a, b)
        world.counts["steps" if done else "steps without anything to do"] += 1
        world.counts[f"step {name}"] += done
        world.look()
        for end in world.ends:
            model.check_counts(end)
    await drain(world)
    for end in world.ends:
        model.check_at_rest(end)
    await wind_up(world)


async def drain(world: World) -> None:
    """Receive all that can be received, and let every end look what has become of the other side."""
    seen: Any = None
    while seen != (seen := _progress(world)):
        await world.turns()
        await world.collect()
        while await accept(world, 0, 0) and world.living():
            await world.turns()
        for end in held(world, "receiver", "bytes", idle="receive"):
            if end.reads_over is None or end.saw_reading is None:
                receiving(world, end, 3)
        for end in held(world, "sender", "bytes", idle="watch"):
            if end.sends_over is None:
                handle = end.handle
                world.begin(end, "watch", lambda _, end=end, handle=handle: world.watch(end, handle))
        await world.turns()


def _progress(world: World) -> tuple[object, ...]:
    return (
        world.counts["messages received"],
        world.counts["bytes received"],
        sum(end.saw_reading is not None for end in world.ends),
        sum(end.saw_sending is not None for end in world.ends),
        sum(end.state == "held" for end in world.ends),
    )


async def wind_up(world: World) -> None:
    """Close everything: nothing is left."""
    for end in list(world.ends):
        for wait in list(end.waits.values()):
            wait.scope.cancel()
    await world.turns(5)
    for end in held(world, "sender", "receiver", "bytes"):
        end.handle.close()
        closed(world, end, END, Outcome("ChannelRefused", "closed"))
    await world.turns()
    await world.collect()
    await world.turns()
    for end in world.ends:
        check(not end.waits, "a task still waits", end, *end.waits)
    for line in world.living():
        for site, session in line.sessions.items():
            left = leftovers(session)
            check(not left, "a session has something left", line, site, left)


def leftovers(session: Any) -> dict[str, object]:
    """What a session still keeps, where there should be nothing."""
    mux = session._mux
    tables = {name: getattr(mux, name) for name in TABLES}
    tables |= {"nested": mux.nested.waiting, "nested and over": mux.nested.over, "forsaken": mux.nested._forsaken}
    tables |= {"borrowers": mux.credit._borrowers, "h2's streams": mux._h2.streams}
    left: dict[str, object] = {name: len(table) for name, table in tables.items() if table}
    if taken := mux.peer_limits.open_channels - mux.slots():
        left["slots"] = taken
    if mux.credit.budget != session._limits.session_budget:
        left["budget"] = mux.credit.budget - session._limits.session_budget
    return left


TABLES = ("streams", "_opening", "_active", "_is_active", "_credit_due")


class Clock:
    """A time that goes on by being asked for: windows grow by it, in each run of a plan in the same way."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        self._now += 0.000_5
        return self._now


def run(plan: Plan, backend: str = "asyncio", *, sealed: bool = False, **options: object) -> Counter[str]:
    """Play on one backend; the same plan always goes the same way. `sealed`: over sockets, in records."""
    if backend == "trio":
        _steady_trio()
    gc.disable()
    gc.freeze()  # so that the machine's own collections only look at what it has made
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=ResourceWarning, message="a .* was forgotten")
            with mock.patch("chanlink.security.stream.clock", Clock()):
                return anyio.run(play, plan, sealed, backend=backend, backend_options=options)
    finally:
        gc.unfreeze()
        gc.enable()


def _steady_trio() -> None:
    """trio runs tasks in a random order: the same one each time."""
    from trio._core import _run

    _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[attr-defined]
    _run._r.seed(1)
