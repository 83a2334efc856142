"""What ``pytest --quick`` leaves out: rexec and the programs as processes, and every event loop but asyncio's own.

It is for the minute between two edits, and asks most questions once. Whoever is done with a change runs ``make check``,
which leaves out nothing. A test that takes a second or more by itself is marked as slow.
"""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FOLDERS = {"rexec", "kinds", "kills", "soak", "machine", "fuzz"}
OTHER_LOOPS = ("uvloop", "trio")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="asyncio only, without rexec and without what is slow")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Whole folders need not even be imported."""
    if config.getoption("--quick") and collection_path.parent == TESTS and collection_path.name in FOLDERS:
        return True
    return None


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """If it was asked for."""
    if config.getoption("--quick"):
        config.hook.pytest_deselected(items=[item for item in items if not _is_quick(item)])
        items[:] = [item for item in items if _is_quick(item)]


def _is_quick(item: pytest.Item) -> bool:
    params = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return item.get_closest_marker("slow") is None and not any(map(is_of_another_loop, params))


def is_of_another_loop(param: object) -> bool:
    """Whether a parameter of a test says that it runs on one of them."""
    match param:
        case (str(backend), {**options}):
            return backend in OTHER_LOOPS or options.get("use_uvloop", False)
        case str():
            return param in OTHER_LOOPS
        case _:
            return False
