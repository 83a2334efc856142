"""The reference has every public name once, and docstrings that say what a caller has to know."""

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.extensions.public import public
from tests.project.shape import attributes_of

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "reference" / "api"
PUBLIC = public()


def own_members(cls: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class that chanlink has written, also those of its bases."""
    for name in dir(cls):
        if not name.startswith("_"):
            member = inspect.getattr_static(cls, name)
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if inspect.isfunction(function) and function.__module__.startswith("chanlink"):
                yield name, function


def callables() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, thing in PUBLIC.items():
        if inspect.isfunction(thing):
            found[name] = inspect.unwrap(thing)
        elif inspect.isclass(thing):
            found |= {f"{name}.{member}": function for member, function in own_members(thing)}
    return found


CALLABLES = callables()
ALWAYS = {"TypeError"}
"""For an argument of another type, which docs/reference/api/README.md says once for all."""


def test_every_public_name_is_on_one_page() -> None:
    shown = [
        name
        for page in FOLDER.glob("*.md")
        for name in re.findall(r"^\.\. (?:auto\w+|py:data):: (\S+)", page.read_text(), re.MULTILINE)
    ]
    assert not [name for name in PUBLIC if shown.count(name) != 1]
    assert len(shown) == len(set(shown))


@pytest.mark.parametrize("name", [name for name, thing in PUBLIC.items() if callable(thing)])
def test_what_is_public_has_a_docstring(name: str) -> None:
    thing = PUBLIC[name]
    assert (vars(thing) if isinstance(thing, type) else {"__doc__": thing.__doc__}).get("__doc__")


FIELDS = [name for name, thing in PUBLIC.items() if dataclasses.is_dataclass(thing) or hasattr(thing, "_fields")]


@pytest.mark.parametrize("name", FIELDS)
def test_every_public_field_says_what_it_is(name: str) -> None:
    """In the string below it, which is where the reference takes it from; without one it is not even shown."""
    (cls,) = tree_of(PUBLIC[name]).body
    assert isinstance(cls, ast.ClassDef)
    for field, below in zip(cls.body, [*cls.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.target.id[0] != "_":
            assert isinstance(below, ast.Expr), f"{name}.{field.target.id} says nothing"
            assert isinstance(below.value, ast.Constant)


@pytest.mark.parametrize("name", CALLABLES)
def test_a_public_callable_says_what_it_does_and_raises(name: str) -> None:
    owner, _, method = name.rpartition(".")
    cls = PUBLIC.get(owner)
    doc = inspect.getdoc(getattr(cls, method) if cls else CALLABLES[name]) or ""  # which may be that of a base
    assert doc
    doc += (cls and cls.__doc__) or ""  # what holds for all methods
    if re.search(r"\b(?:[Rr]aises|[Oo]therwise|[Aa]s) (?:as )?`\w+", doc):  # as another one, which says it
        return
    for raised in all_raised(name):
        assert re.search(rf"\b{raised}\b", doc), f"it raises {raised}, and does not say so"


def all_raised(name: str) -> set[str]:
    """What a callable raises by itself, and by what it calls of its own class, or of the private part of its file."""
    function, owner = CALLABLES[name], PUBLIC.get(name.rpartition(".")[0])
    tree = tree_of(function)
    names = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    called = [vars(sys.modules[function.__module__]).get(one) for one in names if one.startswith("_")]
    called += [inspect.getattr_static(owner, one, None) for one in attributes_of(tree, "self")]
    ours = [one for one in called if inspect.isfunction(one) and one.__module__.startswith("chanlink")]
    return raised_in(tree).union(*(raised_in(tree_of(one)) for one in ours)) - ALWAYS


def tree_of(function: Any) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def raised_in(tree: ast.AST) -> set[str]:
    """The classes of exceptions that a function makes and raises by itself; what ends an iteration is no error."""
    made = [node.exc.func for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    names = {ast.unparse(one).rpartition(".")[2] for one in made}
    return {name for name in names if name[0].isupper() and name not in ("StopAsyncIteration", "StopIteration")}


@pytest.mark.parametrize(("source", "raised"), [("raise A('x')", {"A"}), ("raise", set()), ("raise m.B()", {"B"})])
def test_raised_errors_are_found(source: str, raised: set[str]) -> None:
    assert raised_in(ast.parse(source)) == raised
