"""The shape of the code: who imports whom, who does I/O, how long files and functions are, and what errors.py draws."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

import chanlink
from chanlink import errors
from tests.project.clocks import verdicts

ROOT = Path(chanlink.__file__).parent
EXAMPLES = ROOT.parent / "examples"

ROOMS: dict[str, set[str]] = {
    "errors": {"printing"},
    "limits": {"errors"},
    "transport": {"ground"},
    "channels": {"ground"},
    "security": {"ground", "transport"},
    "wire": {"ground"},
    "session": {"ground", "transport", "channels", "security", "wire"},
    "patterns": {"ground", "channels", "wire", "session"},
    "testing": {"chanlink"},
    "command": {"chanlink"},
}
"""A room (or file of the ground) and what its files may import beside their own."""
GROUND = {"printing", "errors", "limits", "bytes_like", "clock", "forks"}
STILL: set[tuple[str, str]] = set()
"""Arrows that the rooms do not allow, and that are to go: the list may only shrink."""
SANS_IO = ("wire", "security.noise", "security.payloads", "security.rekey", "security.admission", "session.liveness")
IO = {"time", "socket", "anyio", "asyncio", "trio", "threading", "os", "select", "selectors", "ssl", "subprocess"}
NEVER = {"asyncio", "trio", "pickle", "threading", "importlib", "marshal", "shelve"}
CALLED = {"eval", "exec", "compile", "__import__"}


def name_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """The full names of the modules that are imported anywhere in a file, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:  # `from . import codec` names a module, `from .codec import End` does not
                inner = f"{base}.{alias.name}"
                yield inner if inner.removeprefix("chanlink.") in MODULES else base


def own_imports(name: str) -> set[str]:
    """The modules of this package that one of them imports."""
    package = "chanlink" + "".join(f".{part}" for part in name.split(".")[:-1])
    if MODULES[name].name == "__init__.py" and name != "__init__":
        package = f"chanlink.{name}"
    found = {full for full in imports(TREES[name], package) if full.split(".")[0] == "chanlink"}
    return {full.removeprefix("chanlink").removeprefix(".") or "__init__" for full in found}


def room_of(name: str) -> str:
    first = name.split(".")[0]
    return "ground" if first in GROUND else "chanlink" if first in ("__init__", "__main__") else first


def may_import(name: str, other: str) -> bool:
    room, there = room_of(name), room_of(other)
    if room in ("chanlink", there) or (name, other) in STILL:
        return True
    if room in ("testing", "command"):  # their exceptions are still to be listed
        return True
    if (room, other) == ("wire", "channels.values"):  # what an end and plain data are
        return True
    return there in ROOMS[room if room != "ground" else name]


@pytest.mark.parametrize("name", MODULES)
def test_a_room_imports_only_what_stands_in_its_row(name: str) -> None:
    assert not [other for other in own_imports(name) if not may_import(name, other)]


def test_what_is_still_allowed_is_still_there() -> None:
    assert not [(name, other) for name, other in STILL if other not in own_imports(name)]


def test_nothing_imports_in_a_circle() -> None:
    """Also not for type checkers, and not inside functions."""
    done: set[str] = set()
    while len(done) < len(MODULES):
        ready = {name for name in MODULES if name not in done and own_imports(name) <= done}
        assert ready, f"a circle among {set(MODULES) - done}"
        done |= ready


def top_levels(name: str) -> set[str]:
    return {full.split(".")[0] for full in imports(TREES[name], "chanlink")}


@pytest.mark.parametrize(
    "name", [name for name in MODULES if f"{name}.".startswith(tuple(f"{one}." for one in SANS_IO))]
)
def test_cores_do_no_io_and_know_no_clock(name: str) -> None:
    assert not top_levels(name) & IO
    asynchronous = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    assert not [node for node in ast.walk(TREES[name]) if isinstance(node, asynchronous)]


@pytest.mark.parametrize("name", MODULES)
def test_no_module_binds_itself_to_a_backend_or_runs_what_a_peer_names(name: str) -> None:
    assert not top_levels(name) & NEVER
    called = {
        node.func.id for node in ast.walk(TREES[name]) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & CALLED


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_examples_use_public_names_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    public = set(chanlink.__all__)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "chanlink":
            assert node.module == "chanlink", f"line {node.lineno}"
            assert {alias.name for alias in node.names} <= public, f"line {node.lineno}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name.split(".")[0] != "chanlink" or alias.name == "chanlink", f"line {node.lineno}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "chanlink":
            assert node.attr in public, f"line {node.lineno}"


def test_the_public_names_are_there() -> None:
    for name in chanlink.__all__:
        assert hasattr(chanlink, name), name


# --- the tests ----------------------------------------------------------------------------------

TESTS = Path(__file__).parent
MEASURES = {TESTS / "patience.py", *TESTS.glob("bench/**/*.py"), *TESTS.glob("*/__main__.py")}


@pytest.mark.parametrize(
    "path", sorted(set(TESTS.rglob("*.py")) - MEASURES), ids=lambda path: str(path.relative_to(TESTS))
)
def test_no_clock_decides_whether_a_test_passes(path: Path) -> None:
    assert not [f"line {line} {problem}" for line, problem in verdicts(path.read_text())]


# --- the tree of errors -------------------------------------------------------------------------

BRANCH = re.compile(r"^(?P<indent>[ |`-]*)(?P<names>\w+(?: \| \w+)*)(?:\s+\(also (?P<also>[\w.]+)\))?")


def drawn() -> dict[str, tuple[str, str | None]]:
    """Name: the class above it, and the foreign one beside it."""
    found: dict[str, tuple[str, str | None]] = {}
    above: list[tuple[int, str]] = []
    assert errors.__doc__ is not None
    for line in errors.__doc__.splitlines():
        match = BRANCH.match(line[4:]) if line.startswith("    ") else None
        if match is None:
            continue
        column = len(match["indent"])
        while above and above[-1][0] >= column:
            above.pop()
        for name in match["names"].split(" | "):
            found[name] = (above[-1][1] if above else "Exception", match["also"])
        above.append((column, name))
    return found


def test_the_tree_that_errors_draws_is_true() -> None:
    tree = drawn()
    assert len(tree) > 25
    classes = {
        name: cls
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, errors.ChanlinkError)
    }
    assert set(tree) == set(classes)
    for name, (parent, also) in tree.items():
        bases = [classes.get(parent, Exception)]
        if also is not None:
            bases.append({"ValueError": ValueError}.get(also) or getattr(anyio, also.removeprefix("anyio.")))
        assert list(classes[name].__bases__) == bases, name


def test_every_error_is_public() -> None:
    assert set(drawn()) <= set(chanlink.__all__)
