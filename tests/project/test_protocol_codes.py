"""The codes that are sent are those of the protocol page, and the other way round (sections 3.2 and 6)."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import chanlink

ROOT = Path(chanlink.__file__).parent
PAGE = (ROOT.parent / "docs" / "reference" / "protocol.md").read_text()
APPLICATIONS = {"patterns", "command", "testing"}
"""Rooms that are built on the library: their codes are theirs."""
CODE = re.compile(r"[a-z]+(-[a-z]+)*")
POSITIONS = {"discard": 0, "forsake": 0, "reject": 0, "refuse": 0, "fail": 0, "give_up": 0, "Reason": 1, "_discard": 1}
"""Where a code stands in a call, by what is called."""
LOCAL = {"draining", "exhausted", "aborted"}
"""Of `SessionClosed` on the side that finds it; a session that is aborted says nothing."""


def codes_on_the_page(heading: str, column: str) -> set[str]:
    """Those of the table below a heading whose first column has this title."""
    section = PAGE.partition(f"\n{heading}")[2]
    table = section.partition(f"| {column} |")[2].partition("\n\n")[0]
    return {code for line in table.splitlines()[2:] for code in re.findall(r"`([^`]+)`", line.split("|")[1])}


ENDS = codes_on_the_page("## 6. Last words", "code | said by")
SESSIONS = codes_on_the_page("### 3.2 Closing", "code of a close record")
RETURNS = codes_on_the_page("### 3.7 Resuming", "code of the welcome")


@cache
def trees() -> list[ast.Module]:
    files = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] not in APPLICATIONS]
    return [ast.parse(path.read_text()) for path in files]


def calls() -> Iterator[tuple[str, ast.Call]]:
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield getattr(node.func, "attr", None) or getattr(node.func, "id", ""), node


def said(names: dict[str, int]) -> set[str]:
    """The codes in calls of these; no code is empty."""
    found = set()
    for name, call in calls():
        if name in names and len(call.args) > names[name]:
            code = call.args[names[name]]
            if isinstance(code, ast.Constant) and isinstance(code.value, str) and code.value:
                found.add(code.value)
    return found


@cache
def strings() -> set[str]:
    return {
        node.value
        for tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_codes_are_lower_case_words_with_hyphens() -> None:
    assert len(ENDS) > 20
    assert len(SESSIONS) > 4
    assert [code for code in ENDS | SESSIONS if not CODE.fullmatch(code)] == []


def test_every_code_that_is_sent_is_on_the_page() -> None:
    found = said(POSITIONS)
    assert len(found) > 10
    assert found <= ENDS
    assert said({"SessionClosed": 0, "send_close": 0}) - LOCAL <= SESSIONS | RETURNS


@pytest.mark.parametrize("code", sorted(ENDS | SESSIONS | RETURNS))
def test_every_code_of_the_page_is_one_of_ours(code: str) -> None:
    assert code in strings()
