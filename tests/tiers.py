"""How much of the tests runs: ``--quick``, what is usual, or ``--everything``.

Quick is for the minute between two edits: it leaves out rexec and the programs as processes, and every event loop but
asyncio's own, and asks most questions once. A test that takes a second or more by itself is marked as slow.

Usual is what `make test` runs, in less than ten minutes: each question on each event loop and over each route, but not
each over each. All routes are tried on asyncio; `ROUTES` says which of them the other event loops have. Routes that
differ only in how their sessions begin have what is marked as the core, and nothing else. uvloop's code
is its sockets and its processes, so behaviour over routes without either is not tried on it, nor are tests that say so
by a mark. Where a test waits for time to pass, which it says by a mark, too, the other event loops have one route.
Where a test has several cases, all of them are tried on asyncio; the other event loops take turns, and so do routes
that are alike. Where hypothesis makes the cases up, it makes a third of what the test says. What only says the same
once more has the mark `everything`.

Processes that share the tests are half as many again as there are cores: a test that waits leaves its core to another.
Each of them begins with what is slow, so that none has a long test left when the others have ended.

Everything is for who has changed the routes or the ends (`make conformance`), or what differs between event loops
(`make test-everything`, which has four tests for three of `make test`).
"""

import os
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import is_hypothesis_test, settings

T = TypeVar("T")

TESTS = Path(__file__).parent
SLOW_FOLDERS = {"rexec", "kinds", "kills", "queue_kills", "soak", "machine", "fuzz", "resuming", "directory_kills"}
OTHER_LOOPS = ("uvloop", "trio")
ROUTES = {"trio": {"memory", "session", "unix"}, "uvloop": {"tcp"}}
"""Those of tests/conformance on event loops but asyncio's own.

A relay is two sessions, and the codec is tried by each session; what is done with a socket does not ask for its family.
"""
ALIKE = (("unix", "tcp"), ("one_relay", "two_relays"))
"""Routes that take turns on asyncio. With those of other event loops, each case is over both families of sockets."""
RARE = {"ws", "vouched", "by_daemon"}
"""Routes whose sessions are those of tcp once they have begun."""
USUAL_PART = 3
"""Of the examples that hypothesis makes up, one in so many."""
TO_WAIT_OVER = "tcp"
"""The route over which other event loops try what waits for time to pass."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="asyncio only, without rexec and without what is slow")
    parser.addoption("--everything", action="store_true", help="every behaviour over every route, on every event loop")


def pytest_xdist_auto_num_workers() -> int:
    """How many ``-n auto`` is."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + (cores + 1) // 2


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Whole folders need not even be imported."""
    if config.getoption("--quick") and collection_path.parent == TESTS and collection_path.name in SLOW_FOLDERS:
        return True
    return None


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What the tier that was asked for does without."""
    if config.getoption("--everything"):
        return
    turns = Turns()
    kept, left = [], []
    for item in items:
        is_kept = _is_quick(item) if config.getoption("--quick") else _is_usual(item, turns)
        (kept if is_kept else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept
    fewer_examples({item.function for item in items if isinstance(item, pytest.Function)})


def fewer_examples(tests: Collection[Any]) -> None:
    """Those of hypothesis among the tests."""
    for test in tests:
        if is_hypothesis_test(test):
            said: settings = test._hypothesis_internal_use_settings
            test._hypothesis_internal_use_settings = settings(said, max_examples=-(-said.max_examples // USUAL_PART))


def slow_first(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the processes that share the tests, each gets a part of the list: all parts begin with what is slow."""
    workers = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    if workers == 1:
        return
    slow, rest = [], []
    for item in items:
        (slow if _is_slow(item) else rest).append(item)
    items[:] = [item for n in range(workers) for some in (slow, rest) for item in part(some, n, workers)]


def part(some: list[T], n: int, parts: int) -> list[T]:
    """The ``n``-th of so many ``parts`` of a list."""
    return some[len(some) * n // parts : len(some) * (n + 1) // parts]


def _is_slow(item: pytest.Item) -> bool:
    folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
    return folder in SLOW_FOLDERS or item.get_closest_marker("slow") is not None


def _is_quick(item: pytest.Item) -> bool:
    is_rare = _name(_params(item).get("route")) in RARE
    return item.get_closest_marker("slow") is None and not _loops(item) and not is_rare


def _is_usual(item: pytest.Item, turns: "Turns") -> bool:
    if item.get_closest_marker("everything") is not None:
        return False
    if item.get_closest_marker("without_sockets") is not None and "uvloop" in _loops(item):
        return False
    waits = item.get_closest_marker("waits") is not None
    route, loops = _params(item).get("route"), _loops(item)
    has_turn = turns.has(item.nodeid.partition("[")[0], _case(item), loops, _name(route))
    return has_turn and is_usual(route, loops, waits=waits, core=item.get_closest_marker("core") is not None)


def _case(item: pytest.Item) -> object:
    words = item.callspec.id.split("-") if hasattr(item, "callspec") else []
    places = {"asyncio", *OTHER_LOOPS, _name(_params(item).get("route"))}
    return tuple(word for word in words if word not in places)


class Turns:
    """Who tries the cases of a test: the first one, all event loops over all routes; of the others, each takes some.

    A case is what the parameters of a test are besides its event loop and its route.
    """

    def __init__(self) -> None:
        self._cases: defaultdict[str, dict[object, int]] = defaultdict(dict)

    def has(self, test: str, case: object, loops: Collection[str], route: str = "") -> bool:
        """Whether it is the turn of these other event loops, or of asyncio over this route."""
        cases = self._cases[test]
        turn = cases.setdefault(case, len(cases))
        if turn == 0:
            return True
        if loops:
            return OTHER_LOOPS[turn % len(OTHER_LOOPS)] in loops
        return all(route == pair[turn % len(pair)] for pair in ALIKE if route in pair)


def is_usual(route: object, loops: Collection[str], *, waits: bool = False, core: bool = False) -> bool:
    """Whether the usual tier has a test over this route, with the other event loops that it names."""
    name = _name(route)
    if name in RARE:
        return core and not loops
    if waits and name and loops:
        return name == TO_WAIT_OVER
    return not name or all(name in ROUTES[loop] for loop in loops)


def _name(route: object) -> str:
    return getattr(route, "__name__", "")


def _loops(item: pytest.Item) -> set[str]:
    return {loop for param in _params(item).values() if (loop := other_loop(param))}


def _params(item: pytest.Item) -> dict[str, object]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def other_loop(param: object) -> str | None:
    """The event loop but asyncio's own that a parameter of a test says that it runs on."""
    match param:
        case (str(backend), {**options}):
            return "uvloop" if options.get("use_uvloop", False) else other_loop(backend)
        case str() if param in OTHER_LOOPS:
            return param
        case _:
            return None
