"""How much of the tests runs: ``--quick``, what is usual, or ``--everything``.

Quick is for the minute between two edits: it leaves out rexec and the programs as processes, and every event loop but
asyncio's own, and asks most questions once. A test that takes a second or more by itself is marked as slow.

Usual is what `make test` runs, in less than ten minutes: each question on each event loop and over each route, but not
each over each. All routes are tried on asyncio; `ROUTES` says which of them the other event loops have. uvloop's code
is its sockets and its processes, so behaviour over routes without either is not tried on it, nor are tests that say so
by a mark. Where a test waits for time to pass, which it says by a mark, too, the other event loops have one route.

Processes that share the tests are half as many again as there are cores: a test that waits leaves its core to another.

Everything is for who has changed the routes or the ends, and takes some minutes more: `make conformance`.
"""

import os
from collections.abc import Collection
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SLOW_FOLDERS = {"rexec", "kinds", "kills", "queue_kills", "soak", "machine", "fuzz", "resuming", "directory_kills"}
OTHER_LOOPS = ("uvloop", "trio")
ROUTES = {"trio": {"memory", "session", "unix"}, "uvloop": {"tcp"}}
"""Those of tests/conformance on event loops but asyncio's own.

A relay is two sessions, and the codec is tried by each session; what is done with a socket does not ask for its family.
"""
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
    kept = _is_quick if config.getoption("--quick") else _is_usual
    config.hook.pytest_deselected(items=[item for item in items if not kept(item)])
    items[:] = [item for item in items if kept(item)]


def _is_quick(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is None and not _loops(item)


def _is_usual(item: pytest.Item) -> bool:
    if item.get_closest_marker("without_sockets") is not None and "uvloop" in _loops(item):
        return False
    waits = item.get_closest_marker("waits") is not None
    return is_usual(_params(item).get("route"), _loops(item), waits=waits)


def is_usual(route: object, loops: Collection[str], *, waits: bool = False) -> bool:
    """Whether the usual tier has a test over this route, with the other event loops that it names."""
    name = getattr(route, "__name__", "")
    if waits and name and loops:
        return name == TO_WAIT_OVER
    return not name or all(name in ROUTES[loop] for loop in loops)


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
