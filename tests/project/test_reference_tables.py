"""The tables of the reference are complete, and say what the code says: errors, codes, limits, entries of files."""

import ast
import dataclasses
import re
from functools import cache
from pathlib import Path

import pytest

import chanlink
from chanlink.limits import PeerLimits
from examples.rexec.limits import NAMES
from examples.rexec.policy.file import _READERS
from tests.project.test_protocol_codes import ENDS, LOCAL, SESSIONS, codes_on_the_page

IN_HOSTS = {field.name for field in dataclasses.fields(chanlink.Host)} - {"name"}
PACKAGE = Path(chanlink.__file__).parent
FOLDER = PACKAGE.parent / "docs" / "reference"
ERRORS = [name for name in chanlink.__all__ if isinstance(getattr(chanlink, name), type) and name[0].isupper()]
ERRORS = [name for name in ERRORS if issubclass(getattr(chanlink, name), Exception)]
CALLS = codes_on_the_page("## 12. ", "code | after")
BY_NAME = {"timeout-error"}
"""Stands for all codes that are names of exceptions."""


@cache
def strings() -> set[str]:
    """All that the package says."""
    nodes = (node for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text())))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def rows(page: str, title: str, heading: str = "") -> dict[str, list[str]]:
    """The rows of the tables whose first column has this title, below a heading: the other cells by the first one."""
    text = (FOLDER / page).read_text()
    if heading:
        text = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found: dict[str, list[str]] = {}
    for table in re.findall(rf"^\| {re.escape(title)} \|.*\n\| ---.*\n((?:\|.*\n?)+)", text, re.MULTILINE):
        for line in table.splitlines():
            first, *others = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            name = first.strip("`").split("` and")[0]
            assert name not in found, f"{name} stands twice"
            found[name] = others
    return found


def test_every_error_is_in_the_table_once_with_all_that_is_to_be_said() -> None:
    table = rows("errors.md", "error")
    assert list(table) == list(dict.fromkeys(table))
    assert sorted(table) == sorted(ERRORS)
    assert len(ERRORS) > 30
    assert not [name for name, cells in table.items() if len(cells) != 3 or not all(cells)]


@pytest.mark.parametrize(
    ("heading", "codes"),
    [
        ("Codes of channels and byte streams", ENDS),
        ("Codes of calls", CALLS - {"others"}),
        ("Codes of sessions", (SESSIONS | LOCAL) - {"untrusted"}),
    ],
)
def test_every_code_of_the_protocol_is_in_a_table(heading: str, codes: set[str]) -> None:
    table = rows("errors.md", "code", heading)
    codes = {code for code in codes if re.fullmatch(r"[a-z]+(-[a-z]+)*", code)}
    assert len(codes) > 5
    assert not codes - set(table)
    assert not [code for code, cells in table.items() if len(cells) != 3 or not all(cells)]


@pytest.mark.parametrize("heading", ["Codes of channels and byte streams", "Codes of calls", "Codes of sessions"])
def test_every_code_in_the_tables_is_one_of_ours(heading: str) -> None:
    assert set(rows("errors.md", "code", heading)) - BY_NAME - {"your own"} <= strings() | {"session-lost"}


def test_every_limit_is_in_a_table_with_its_default_and_whether_the_peer_is_told() -> None:
    table = rows("limits.md", "limit")
    fields = {field.name: field for field in dataclasses.fields(chanlink.Limits)}
    assert set(table) == set(fields)
    told = {field.name for field in dataclasses.fields(PeerLimits)}
    for name, (default, unit, is_told, what_happens) in table.items():
        value = fields[name].default
        assert default in ((f"{value:,g}", f"{value:,}") if value is not None else ("None",)), name
        assert unit, name
        assert (is_told == "yes") is (name in told), name
        assert what_happens, name


@pytest.mark.parametrize(
    ("title", "entries"),
    [("hosts.toml", IN_HOSTS), ("policy", set(_READERS))],
    ids=["hosts", "policy"],
)
def test_every_entry_of_a_file_is_in_its_table(title: str, entries: set[str]) -> None:
    table = rows("files.md", title)
    assert set(table) == entries
    assert all(all(cells) for cells in table.values())


def test_every_limit_of_a_policy_is_named() -> None:
    assert set(re.findall(r"`(\w+)`", rows("files.md", "policy")["limits"][-1])) == set(NAMES)
