"""Which tasks hold which ends, and what each of them waits for. Read on demand; nothing is counted or kept for it."""

import contextlib
from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from types import CodeType, MethodType
from typing import Any, Literal, NamedTuple, cast

import anyio

from chanlink.channels.cases import ReceiveCase, Selection, SendCase
from chanlink.channels.cores import ReceiveCore, SendCore
from chanlink.channels.handle import Handle, ReceiveHandle, SendHandle
from chanlink.channels.selector import _Again, _Once
from chanlink.channels.waiting import Countdown, Ticket
from chanlink.session.ends.relay import UnderWay
from chanlink.session.services import Serving
from chanlink.session.session import Session

from .reach import Held, Reach, Step, is_a, module_of, steps_here, steps_of

MOST_TASKS = 1_000
"""That are looked at in one look."""

Core = SendCore | ReceiveCore
Verb = Literal["send", "receive", "end"]

_HANDLES: dict[CodeType, Verb] = {
    ReceiveHandle._wait_for_item.__code__: "receive",
    SendHandle._until_accepted.__code__: "send",
    SendHandle._until_room.__code__: "send",
    SendHandle._until_taken.__code__: "send",
    SendHandle._until_refused.__code__: "end",
}
"""Where a task waits at an end, and for what."""
_SELECTIONS = (_Once.choose.__code__, _Again.turn.__code__)
_GROUPS = ("TaskGroup.__aexit__", "TaskGroup._aexit", "Nursery._nested_child_finished")
"""Where a task waits for those that it has started: asyncio's and anyio's, asyncio's since Python 3.13, trio's."""
_OWN, _ANYIO, _PYTHON = Path(__file__).parents[1], Path(anyio.__file__).parent, Path(contextlib.__file__).parent
_ROOMS = ("channels", "observing", "security", "session", "transport", "wire", "tasks.py")
_LIBRARIES = tuple(
    map(
        str,
        (*map(_OWN.joinpath, _ROOMS), _ANYIO, _ANYIO.with_name("trio"), _PYTHON / "asyncio", _PYTHON / "contextlib.py"),
    )
)
"""Places that are not what somebody looks for who wants to know where a task is."""


class Wait(NamedTuple):
    """What a task waits for; of several, one is enough."""

    verb: Verb
    """To ``send``, to ``receive``, or that the other side is at an ``end``."""
    core: Core
    end: Handle


class Task(NamedTuple):
    """A task, as it was at a moment."""

    id: int
    name: str
    service: str | None
    """The service whose task it is."""
    peer: str | None
    """Whom it serves."""
    place: str
    """Where it is in the program: ``folder/file.py:12 in function``."""
    at: str
    """What it has called there: ``sleep``, ``Receiver.receive``."""
    waits: tuple[Wait, ...]
    """For one of these. None: for something else, or it runs."""
    turn: int
    """Another number in each wait at an end: as long as it stays the same, the task has not gone on."""
    group: tuple[int, ...]
    """Tasks that it has started, for all of which it waits."""
    limited: bool
    """Whether there is a time limit on what it does, as far as that can be seen."""


class Tasks(NamedTuple):
    """All tasks of an event loop, at a moment. It refers to ends: for use at once, and not to be kept."""

    tasks: list[Task]
    left_out: int
    """How many more there are, about which nothing is known here."""
    handles: dict[Handle, Held]
    """The ends that were found, and the tasks that can use them."""
    on: dict[Core, list[Handle]]
    """The ends on each core."""
    sessions: list[Session]
    """That were found."""

    def holders(self, core: Core) -> Held:
        """Who can use the ends on this core."""
        found = [self.handles[handle] for handle in self.on.get(core, ())]
        tasks = frozenset[int]().union(*(held.tasks for held in found))
        return Held(tasks, any(held.others for held in found) or len(found) < _ends_on(core))


def _ends_on(core: Core) -> int:
    """How many handles there are: of receivers, one that nobody else has."""
    if isinstance(core, ReceiveCore):
        return 1
    return core.shares - (len(core.under_way.relays) if isinstance(core.under_way, UnderWay) else 0)


def look() -> Tasks:
    """What the tasks of this event loop hold, and wait for. Raises `RuntimeError` outside of one."""
    running = anyio.get_running_tasks()
    current = anyio.get_current_task().id
    seen = sorted(running, key=lambda one: (one.id != current, one.name or ""))[:MOST_TASKS]
    coroutines = {one.id: steps_here(look.__code__) if one.id == current else list(steps_of(one.coro)) for one in seen}
    reach = Reach(coroutines)
    handles = reach.handles()
    limits = {one.id for one in seen if any(map(_limits, _blocks(coroutines[one.id])))}
    parents = {one.id: one.parent_id for one in seen}
    tasks = [
        _task(one.id, one.name or "", coroutines[one.id])._replace(
            limited=any(id in limits for id in _line(one.id, parents))
        )
        for one in seen
    ]
    on: dict[Core, list[Handle]] = {}
    for handle in handles:
        for core in handle._cores():
            on.setdefault(core, []).append(handle)
    sessions = {cast(Session, value) for value in reach.values() if is_a(value, Session)}
    return Tasks(tasks, len(running) - len(seen), handles, on, list(sessions))


def _line(task: int, parents: dict[int, int | None]) -> Iterator[int]:
    """A task, the one that has started it, and so on."""
    one: int | None = task
    for _ in range(MOST_TASKS):
        if one is None:
            return
        yield one
        one = parents.get(one)


def _task(id: int, name: str, steps: Sequence[Step]) -> Task:
    service, peer = next(filter(None, map(_served, steps)), (None, None))
    waits, turn = next(filter(None, map(_waits, reversed(steps))), ((), 0))
    return Task(id, name, service, peer, *_place(steps), waits, turn, _group(steps), limited=False)


# --- where it is ----------------------------------------------------------------------------------


def _place(steps: Sequence[Step]) -> tuple[str, str]:
    """The place in the program, and what is called there."""
    codes = [step.code for step in steps]
    own = [number for number, code in enumerate(codes) if not code.co_filename.startswith(_LIBRARIES)][-1:]
    own = own or [number for number, code in enumerate(codes) if code.co_filename.startswith(str(_OWN))][:1] or [0]
    if not steps:
        return "", ""
    step, called = steps[own[0]], steps[own[0] + 1 :]
    file = Path(*Path(step.code.co_filename).parts[-2:])
    at = called[0].code.co_qualname if called else "running" if step.runs() else "waiting"
    return f"{file}:{step.line} in {step.code.co_qualname}", at


# --- what it waits for ----------------------------------------------------------------------------


def _waits(step: Step) -> tuple[tuple[Wait, ...], int] | None:
    verb = _HANDLES.get(step.code)
    if verb is not None:
        variables = list(step.variables())
        handle = next(one for one in variables if is_a(one, Handle))
        core = next(one for one in variables if is_a(one, SendCore, ReceiveCore) and one in handle._cores())
        return (Wait(verb, core, handle),), _turn(variables)
    if step.code in _SELECTIONS:
        selection = next(one for one in step.variables() if is_a(one, Selection))
        return tuple(map(_wait_of, _cases(selection))), 0
    return None


def _turn(variables: list[Any]) -> int:
    return next((one.order for one in variables if is_a(one, Ticket)), 0)


def _cases(selection: Selection) -> list[Any]:
    if isinstance(selection, _Again):
        return list(selection.cases.values())
    assert isinstance(selection, _Once)
    return selection._cases


def _wait_of(case: Any) -> Wait:
    verb: Verb = "receive" if isinstance(case, ReceiveCase) else "send" if isinstance(case, SendCase) else "end"
    return Wait(verb, case.core, case.end)


def _group(steps: Sequence[Step]) -> tuple[int, ...]:
    """The tasks that it waits for, at the end of the block in which it has started them."""
    if not steps:
        return ()
    last = next((step for step in reversed(steps) if step.code.co_qualname in _GROUPS), None)
    if last is None:
        return ()
    kind = last.code.co_qualname.partition(".")[0]
    group: Any = next((one for one in last.variables() if _is_of_library(one, kind)), None)
    members: Any = getattr(group, "child_tasks", None) or getattr(group, "_tasks", ())
    return tuple(map(id, members))  # trio has a public name for them, asyncio and anyio have not


# --- what else is known of it ---------------------------------------------------------------------


def _served(step: Step) -> tuple[str, str] | None:
    """The service, and the peer, if this is where a service is called."""
    if step.code is not Serving._serve.__code__:
        return None
    variables = list(step.variables())
    serving: Serving = next(one for one in variables if is_a(one, Serving))
    scope = next(one for one in variables if type(one).__name__ == "CancelScope")
    return serving.served(scope)


def _blocks(steps: Sequence[Step]) -> Iterator[object]:
    """What the steps of a task refer to, and what the blocks do that they are in."""
    for one in _blocks_of(steps):
        yield one
        if module_of(type(one)) == "contextlib":  # a block that was written as a generator
            yield from _blocks_of(list(steps_of(getattr(one, "gen", None))))


def _blocks_of(steps: Sequence[Step]) -> Iterator[object]:
    for step in steps:
        for one in step.variables():
            yield one
            if type(one) is MethodType:  # the function that is called when a block is left
                yield one.__self__


def _is_of_library(one: object, *names: str) -> bool:
    """Whether this is of a class that is called so, of those that make tasks: others may have the same name."""
    return module_of(type(one)).partition(".")[0] in ("anyio", "trio", "asyncio") and type(one).__name__ in names


def _limits(one: object) -> bool:
    """Whether this ends what goes on in a block, after some time."""
    if type(one) is Countdown:
        return True
    if not _is_of_library(one, "CancelScope", "TaskGroup", "Timeout"):
        return False
    match type(one).__name__:
        case "CancelScope":
            return getattr(one, "deadline", inf) != inf
        case "TaskGroup":
            return getattr(getattr(one, "cancel_scope", None), "deadline", inf) != inf
        case "Timeout":
            return one.when() is not None  # type: ignore[attr-defined]
    return False
