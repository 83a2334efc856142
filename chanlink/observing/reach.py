"""What tasks can reach: the objects in the frames of their coroutines, what is in these, and who else may have them.

Nothing is kept for this while a program runs. It is read, on demand, as the garbage collector reads it: what a
suspended coroutine refers to is all of its variables, and the blocks that it is in. The variables themselves are never
asked for, as that would keep them alive. What the objects hold is looked at for ends of channels only.

An object to which more refers than was seen here may be used by others, too: by a thread, by a function that nobody
has called yet, by a task that reaches it in a longer way. Only if everything was seen, who holds an end is known.
"""

import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_OPTIMIZED
from types import (
    AsyncGeneratorType,
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple, cast
from weakref import getweakrefcount

from chanlink.channels.cases import BaseCase, Selection
from chanlink.channels.channel import Sending
from chanlink.channels.handle import Closing, Handle
from chanlink.channels.offers import Offer

MOST_OBJECTS = 100_000
"""That are looked at in one look: some fifty milliseconds. What is beyond counts as not seen."""
DEEPEST = 5
"""How many steps from a variable to an end."""
LONGEST = 1_000
"""The length of a collection that is looked through."""

OWN = (Offer, BaseCase, Selection, Sending, Closing)
"""What our own functions make for a call: whatever else refers to it uses no end in it."""
CONTAINERS = (list, tuple, dict, set, frozenset, deque)
FRAMES = (CoroutineType, GeneratorType, AsyncGeneratorType)
WITHIN = (*CONTAINERS, CellType, MethodType, FunctionType, partial)
PLAIN = (str, bytes, int, float, bool, type(None), type, ModuleType, CodeType, FrameType)
NOT_INTO = frozenset({"anyio", "trio", "asyncio", "_asyncio", "uvloop", "outcome", "logging", "contextvars", "h2"})
"""Packages whose objects are not looked into: everything can be reached from an event loop."""
OURS = ("chanlink.patterns.", "chanlink.calls.", "chanlink.channels.cases", "chanlink.channels.offers")
"""Modules of ours whose objects are looked into: what users hold in the place of ends, and what is made for a call."""
COROUTINE = CO_COROUTINE | CO_ASYNC_GENERATOR
HEAP_TYPE = 1 << 9
SELF = 2
"""References to an object that are there because it is asked for their number."""


def is_a(value: object, *kinds: type) -> bool:
    """As `isinstance`, and asks neither the object nor its class: either may answer by a function of the program's."""
    kind = type(value)
    return any(_is_subclass(one, kind) for one in kinds)  # those that are abstract would ask, and keep, the class


def module_of(kind: type) -> str:
    """The module of a class, asked as `is_a` asks; empty if it names none."""
    module = _read_module(kind)
    return module if type(module) is str else ""


_is_subclass = type.__subclasscheck__
_read_module: Callable[[type], object] = type.__dict__["__module__"].__get__
_read_flags: Callable[[type], int] = type.__dict__["__flags__"].__get__


class Step(NamedTuple):
    """A coroutine or generator in which a task waits; of the task that asks, a call."""

    coroutine: Any
    code: CodeType
    line: int

    def runs(self) -> bool:
        return type(self.coroutine) is FrameType

    def refers_to(self) -> list[Any]:
        """Its variables, and the blocks that it is in; of a call, its variables."""
        if type(self.coroutine) is FrameType:
            return list(self.coroutine.f_locals.values()) if self.code.co_flags & CO_OPTIMIZED else []
        return gc.get_referents(self.coroutine)

    def variables(self) -> Iterator[Any]:
        """As `refers_to`, and what it shares with functions in it."""
        for one in self.refers_to():
            if type(one) is not CellType:
                yield one
            elif inside := gc.get_referents(one):
                yield inside[0]


def steps_of(coroutine: object) -> Iterator[Step]:
    """The coroutines of a task that wait for each other, the outermost first."""
    for _ in range(LONGEST):
        if coroutine is None:
            return
        if is_a(coroutine, *FRAMES):
            frame = getattr(coroutine, f"{_prefix(coroutine)}_frame")
            if frame is not None:  # else it is over
                yield Step(coroutine, frame.f_code, frame.f_lineno)
            coroutine = _awaited(coroutine)
        else:  # what `anext` of a generator returns, say, keeps to itself what it stands for
            coroutine = next((one for one in gc.get_referents(coroutine) if is_a(one, *FRAMES)), None)


def steps_here(skip: CodeType) -> list[Step]:
    """As `steps_of`, for the task that asks, but for the calls up to that of `skip`.

    What a coroutine refers to is not told while it runs, so these are asked for their variables after all. Before
    Python 3.13 a call keeps then what it has told, until it returns.
    """
    found: list[Step] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(found) < LONGEST:
        found.append(Step(frame, frame.f_code, frame.f_lineno))
        frame = frame.f_back
    began = next((number for number, step in enumerate(found) if step.code is skip), -1)
    ended = max((number for number, step in enumerate(found) if step.code.co_flags & COROUTINE), default=-1)
    return found[began + 1 : ended + 1][::-1]


def _awaited(coroutine: Any) -> object:
    match coroutine:
        case CoroutineType():
            return coroutine.cr_await
        case AsyncGeneratorType():
            return coroutine.ag_await
    return coroutine.gi_yieldfrom


def _prefix(coroutine: object) -> str:
    return {CoroutineType: "cr", AsyncGeneratorType: "ag", GeneratorType: "gi"}[type(coroutine)]


class Node:
    """An object that was reached."""

    __slots__ = ("depth", "held_by", "opened", "parents", "references", "value")

    def __init__(self, value: object, depth: int) -> None:
        self.value = value
        self.depth = depth
        self.references = 0
        """How many were seen."""
        self.parents: list[Node] = []
        self.held_by: set[int] = set()
        """The tasks in whose frames it is itself."""
        self.opened = False

    def referred_to(self, by: "Node | int", depth: int) -> None:
        """One more reference to it was seen, by another object or by a frame of a task."""
        self.references += 1
        self.depth = min(self.depth, depth)
        if isinstance(by, int):
            self.held_by.add(by)
        else:
            self.parents.append(by)

    def open(self) -> bool:
        """Whether it is to be looked into, which is done once."""
        if self.opened or self.depth >= DEEPEST:
            return False
        self.opened = True
        return True

    def all_seen(self) -> bool:
        """Whether nothing refers to it that was not seen here, be it weakly: who has that can use it, too."""
        return is_a(self.value, *OWN) or (
            sys.getrefcount(self.value) <= self.references + SELF and not getweakrefcount(self.value)
        )


class Held(NamedTuple):
    """Who can use an end."""

    tasks: frozenset[int]
    others: bool
    """Whether somebody may that was not seen."""


class Reach:
    """What some tasks reach. It refers to all of it: for use at once, and not to be kept."""

    def __init__(self, tasks: Mapping[int, Sequence[Step]]) -> None:
        """The steps in which each task waits, by a number for the task."""
        self._nodes: dict[int, Node] = {}
        self._looked_at = 0
        self._steps = {id(step.coroutine) for steps in tasks.values() for step in steps}
        for task, steps in tasks.items():
            for step in steps:
                self._refer(step.refers_to(), task, 1)
        self._look()

    def _look(self) -> None:
        """Look into what was found, until nothing new is there, or enough was seen."""
        waiting = deque(self._nodes.values())
        while waiting and self._looked_at < MOST_OBJECTS:
            node = waiting.popleft()
            if node.open():
                waiting += self._refer(_inside(node.value), node, node.depth + 1)

    def _refer(self, values: Iterable[Any], by: Node | int, depth: int) -> list[Node]:
        """To these values, an object or a task refers; returns what they are here."""
        found = []
        for value in values:
            self._looked_at += 1
            if not is_a(value, *PLAIN) and id(value) not in self._steps:
                node = self._nodes.get(id(value))
                if node is None:
                    node = self._nodes[id(value)] = Node(value, depth)
                node.referred_to(by, depth)
                found.append(node)
        return found

    def values(self) -> Iterator[object]:
        """All that was found."""
        return (node.value for node in self._nodes.values())

    def handles(self) -> dict[Handle, Held]:
        """The ends that can be used, and who can use them."""
        nodes = [node for node in self._nodes.values() if is_a(node.value, Handle)]
        held = [_held(node) for node in nodes]  # before anything here refers to them once more
        handles = [cast(Handle, node.value) for node in nodes]
        return {handle: one for handle, one in zip(handles, held, strict=True) if not handle.is_void}


def _held(handle: Node) -> Held:
    tasks: set[int] = set()
    others, seen, waiting = False, {handle}, [handle]
    while waiting:
        node = waiting.pop()
        others = others or not node.all_seen()
        tasks |= node.held_by
        waiting += [parent for parent in node.parents if parent not in seen]
        seen.update(node.parents)
    return Held(frozenset(tasks), others)


def _inside(value: object) -> Iterable[Any]:
    """What is looked at in an object."""
    if type(value) is FunctionType:
        return () if value.__closure__ is None else (value.__closure__,)
    if is_a(value, *FRAMES):
        return () if _runs(value) else gc.get_referents(value)
    if is_a(value, *CONTAINERS):
        return gc.get_referents(value) if _length(value) <= LONGEST else ()
    return gc.get_referents(value) if is_a(value, *WITHIN) or _is_to_be_opened(type(value)) else ()


def _length(collection: Any) -> int:
    """Of a collection, also of one whose class says something else."""
    kind = next(kind for kind in CONTAINERS if is_a(collection, kind))
    return kind.__len__(collection)


def _runs(coroutine: Any) -> bool:
    return bool(getattr(coroutine, f"{_prefix(coroutine)}_running"))


def _is_to_be_opened(kind: type) -> bool:
    if not _read_flags(kind) & HEAP_TYPE:
        return False
    module = module_of(kind)
    root = module.partition(".")[0]
    return module.startswith(OURS) if root == "chanlink" else root not in NOT_INTO
