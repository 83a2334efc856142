"""Decisions have a number, a date and a status, and their index lists each of them."""

import re
from datetime import date
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
INDEX = FOLDER / "README.md"
DECISIONS = sorted(FOLDER.glob("[0-9]*.md"))
HEAD = re.compile(
    r"# (?P<number>\d{4}): (?P<title>.+)\n"
    r"\n"
    r"Date: (?P<date>\d{4}-\d\d-\d\d)\n"
    r"Status: (?P<status>in force|replaced by \[(?P<by>\d{4})\]\((?P<page>[\w-]+\.md)\))\n"
    r"\n"
)


def head(path: Path) -> re.Match[str]:
    found = HEAD.match(path.read_text())
    assert found, "not: a title with the number, an empty line, `Date:`, `Status:`, an empty line"
    return found


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_a_number_a_date_and_a_status(path: Path) -> None:
    found = head(path)
    assert path.name.startswith(f"{found['number']}-")
    date.fromisoformat(found["date"])


def test_decisions_are_numbered_in_a_row() -> None:
    assert [head(path)["number"] for path in DECISIONS] == [f"{number:04}" for number in range(1, len(DECISIONS) + 1)]


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_what_replaces_a_decision_says_so(path: Path) -> None:
    found = head(path)
    if found["by"]:
        assert found["page"].startswith(f"{found['by']}-")
        assert f"Replaces [{found['number']}]({path.name})" in (FOLDER / found["page"]).read_text()


def test_the_index_lists_each_with_its_title_and_what_replaced_it() -> None:
    lines = [line for line in INDEX.read_text().splitlines() if line.startswith("- ")]
    wanted = []
    for path in DECISIONS:
        found = head(path)
        after = f" ({found['status']})" if found["by"] else ""
        wanted.append(f"- [{found['number']}]({path.name}): {found['title']}{after}")
    assert lines == wanted
