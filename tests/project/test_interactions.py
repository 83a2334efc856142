"""The page about how features go together: each pair has one row, and each row is done or names what shows it."""

import re
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest

from tests.patience import PATIENCE

from .interactions import ROOT, run_pair
from .resumed import run_resumed

PAGE = (ROOT / "docs" / "reference" / "interactions.md").read_text()
FEATURES = re.findall(r"^\| `([\w.]+)` \|", PAGE.partition("| | feature |")[2].partition("\n\n")[0], re.MULTILINE)
"""In the order of the page."""
ROW = re.compile(
    r"^\| `(?P<one>[\w.]+)` \| `(?P<other>[\w.]+)` \| (?P<outcome>[^|]+) \| (?P<test>[^|]*)\|$", re.MULTILINE
)
NAMED = re.compile(r"`(?P<file>[\w/]+)`: `(?P<test>test_\w+)`")
WORKS, WRONG, MEANS = "works", "a `ConfigError`", "means: "


class Row(NamedTuple):
    one: str
    other: str
    outcome: str
    test: str


ROWS = [Row(*(part.strip() for part in match.groups())) for match in ROW.finditer(PAGE)]
RUN = [row for row in ROWS if not row.test]
TOLD = [row for row in ROWS if row.test]


def called(row: Row) -> str:
    return f"{row.one}-{row.other}"


def test_each_pair_of_features_has_one_row() -> None:
    assert len(FEATURES) > 8
    assert len(set(FEATURES)) == len(FEATURES)
    assert [(row.one, row.other) for row in ROWS] == list(combinations(FEATURES, 2))


def test_nothing_else_is_in_the_table() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(lines) == len(FEATURES) + len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=called)
def test_a_pair_works_is_an_error_or_means_something(row: Row) -> None:
    assert row.outcome in (WORKS, WRONG) or row.outcome.startswith((f"{WORKS}: ", f"{WRONG}: ", MEANS))


@pytest.mark.parametrize("row", TOLD, ids=called)
def test_what_a_row_names_is_a_test(row: Row) -> None:
    named = list(NAMED.finditer(row.test))
    assert named, row.test
    for match in named:
        source = (ROOT / "tests" / f"{match['file']}.py").read_text()
        assert re.search(rf"^ *(async )?def {match['test']}\(", source, re.MULTILINE), match[0]


@pytest.mark.anyio
@pytest.mark.parametrize("row", RUN, ids=called)
async def test_a_pair_of_which_no_test_is_named_is_done_here(row: Row, tmp_path: Path) -> None:
    with anyio.fail_after(PATIENCE):
        run = run_resumed if "resume" in (row.one, row.other) else run_pair
        await run(frozenset({row.one, row.other}), tmp_path)
