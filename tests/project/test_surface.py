"""How much a user has to read: top-level names, and parameters of what makes sessions.

Each is a number that stands here, so that nobody makes it larger without knowing. Something new: is it what most
programs write? If not, it belongs into a room with a face (`chanlink.calls`, `.patterns`, `.blocking`, `.testing`).
Options that go together are one object. If it belongs at the top all the same, raise the number in the same commit,
and say in its message what the name is for.
"""

import ast
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import chanlink
from tests.patience import PATIENCE

from .shape import imports

ROOT = Path(chanlink.__file__).parents[1]

ERRORS = 44
OTHERS = 57
PARAMETERS = {
    chanlink.connect: 20,
    chanlink.reconnecting: 17,
    chanlink.accept: 9,
    chanlink.listen: 10,
    chanlink.serve: 14,
}
ADVICE = "is the number in tests/project/test_surface.py, whose first lines say when to change it"


def is_error(name: str) -> bool:
    value = getattr(chanlink, name)
    return isinstance(value, type) and issubclass(value, BaseException)


@pytest.mark.parametrize(("wanted", "number"), [(True, ERRORS), (False, OTHERS)], ids=["errors", "other names"])
def test_there_are_so_many_names_at_the_top(wanted: bool, number: int) -> None:
    names = [name for name in chanlink.__all__ if is_error(name) is wanted]
    assert len(names) == number, f"there are {len(names)}, and {number} {ADVICE}: {', '.join(names)}"


@pytest.mark.parametrize("function", PARAMETERS, ids=lambda function: function.__name__)
def test_what_makes_sessions_has_so_many_parameters(function: Callable[..., Any]) -> None:
    found = list(inspect.signature(function).parameters)
    number = PARAMETERS[function]
    assert len(found) == number, f"there are {len(found)}, and {number} {ADVICE}: {', '.join(found)}"


# --- names are loaded when they are asked for ------------------------------------------------------


def test_each_name_is_loaded_from_where_type_checkers_read_it() -> None:
    tree = ast.parse(Path(chanlink.__file__).read_text())
    read = {name: module for module, name in imports(tree, "chanlink") if module.startswith("chanlink.")}
    assert {name: f"chanlink.{module}" for name, module in chanlink._HOMES.items()} == read
    assert sorted([*read, "__version__"]) == sorted(chanlink.__all__)
    assert set(chanlink.__all__) <= set(dir(chanlink))


def test_to_import_the_package_loads_nothing_of_it() -> None:
    code = """
        import sys, chanlink
        print([name for name in sys.modules if name.startswith("chanlink")])
        print(chanlink.EndOfChannel.__name__, "chanlink.session" in sys.modules)
        print(chanlink.patterns.watch.__name__, hasattr(chanlink, "nonsense"))
        from chanlink import *
        print(Session is chanlink.Session)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT
    )
    assert (done.stdout.splitlines(), done.stderr) == (
        ["['chanlink']", "EndOfChannel False", "watch False", "True"],
        "",
    )
