"""The rooms of rexec: who imports whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import examples.rexec

ROOT = Path(examples.rexec.__file__).parent

ROOMS: dict[str, set[str]] = {
    "__init__": set(),
    "attempts": set(),
    "limits": set(),
    "logs": set(),
    "pumps": set(),
    "room": set(),
    "settings_file": set(),
    "words": set(),
    "peers": {"words"},
    "messages": {"limits", "words"},
    "client": {"attempts", "pumps", "words", "messages"},
    "policy": {"limits", "logs", "settings_file", "words", "messages"},
    "guard": set(),
    "server": {"logs", "peers", "pumps", "room", "settings_file", "words", "messages", "policy"},
    "copy": {"attempts", "logs", "peers", "room", "settings_file", "words", "messages", "policy"},
    "cli": {"__init__", "limits", "logs", "pumps", "words", "messages", "client"},
    "cli.share": {"attempts", "room", "settings_file", "messages", "client", "cli"},
    "cli.commands": {
        "attempts",
        "logs",
        "pumps",
        "room",
        "settings_file",
        "words",
        "messages",
        "client",
        "policy",
        "server",
        "copy",
        "cli",
        "cli.share",
    },
    "cli.main": {"logs", "cli", "cli.commands"},
    "__main__": {"cli", "cli.share", "cli.main"},
    "demo": set(),
}
"""A room (a folder, or a file beside the folders) and the rooms that its files may import besides their own.

What is not above a room in this list is not in its row, so no arrow runs up and none in a circle.
"""
EMPTY = ("", "cli", "cli.share", "guard", "policy", "copy")
"""Rooms whose ``__init__`` imports nothing: a call that shares a session, the guard and others import little."""
BY_NAME = {"cli.main": "cli.commands"}
"""What is imported by a name that is made at run time."""


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def room_of(name: str) -> str:
    """The innermost room that holds a module."""
    parts = name.removesuffix(".__init__").split(".")
    return next(room for end in range(len(parts), 0, -1) if (room := ".".join(parts[:end])) in ROOMS)


def own_imports(name: str) -> Iterator[str]:
    """The modules of rexec that one of them imports, also inside functions and for type checkers."""
    package = name.split(".")[:-1]
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                inner, outer = ".".join([*base, alias.name]), ".".join(base)
                face = f"{outer}.__init__".removeprefix(".")
                yield inner if inner in MODULES else outer if outer in MODULES else face


@pytest.mark.parametrize("name", MODULES)
def test_a_room_imports_only_what_stands_in_its_row(name: str) -> None:
    room = room_of(name)
    assert not {other for other in own_imports(name) if room_of(other) not in ROOMS[room] | {room}}


def test_no_row_holds_what_stands_below_it() -> None:
    order = list(ROOMS)
    assert not [(room, other) for room in order for other in ROOMS[room] if order.index(other) >= order.index(room)]


@pytest.mark.parametrize("room", [room for room in ROOMS if (ROOT / room.replace(".", "/")).is_dir()])
def test_no_file_of_a_room_imports_in_a_circle(room: str) -> None:
    inside = {name for name in MODULES if room_of(name) == room}
    done: set[str] = set()
    while inside - done:
        ready = {name for name in inside - done if set(own_imports(name)) & inside <= done}
        assert ready, f"a circle among {inside - done}"
        done |= ready


def test_every_row_is_of_a_room_and_holds_no_more_than_is_needed() -> None:
    needed: dict[str, set[str]] = {room: set() for room in ROOMS}
    for name in MODULES:
        needed[room_of(name)] |= {room_of(other) for other in own_imports(name)}
    for room, other in BY_NAME.items():
        needed[room].add(other)
    assert {room for room in ROOMS if not any(room_of(name) == room for name in MODULES)} == set()
    assert {(room, other) for room in ROOMS for other in ROOMS[room] - needed[room]} == set()


@pytest.mark.parametrize("room", EMPTY)
def test_rooms_that_are_entered_quickly_import_nothing_at_their_door(room: str) -> None:
    tree = ast.parse((ROOT / room.replace(".", "/") / "__init__.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


@pytest.mark.parametrize("name", MODULES)
def test_no_module_names_the_package_that_it_is_in(name: str) -> None:
    """It is installed under another name than here."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not [module for module in modules if module.split(".")[0] == "examples"]


# --- the tests ----------------------------------------------------------------------------------

TESTS = Path(__file__).parent
WITHOUT = {
    "demo": "`make demo` runs it, and it says whether all was as it should be",
    "__main__": "each call of the program in the other tests",
}
"""Files without a test file of their own, and what tests them; the list may only shrink."""


def test_every_file_has_a_test_file_of_its_path() -> None:
    files = [name for name in MODULES if not name.endswith("__init__")]
    assert {name for name in files if not its_tests(name).is_file()} == set(WITHOUT)


def its_tests(name: str) -> Path:
    *folders, file = name.split(".")
    return TESTS.joinpath(*folders, f"test_{file}.py")
