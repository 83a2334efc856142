"""The drawings of the site: each is on a page, can be drawn, and shows what is there."""

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from docs.drawings.pictures import PICTURES, layers, message
from tests.test_layers import ROOMS

DOCS = Path(__file__).parents[2] / "docs"
COMMENT = re.compile(r"^<!-- drawing: ([\w-]+): ([^>]+?) -->$", re.MULTILINE)
ASKED = [found for page in sorted(DOCS.rglob("*.md")) for found in COMMENT.findall(page.read_text())]
GRAPHS = {"job", "layers", "life", "waiting"}
NARROW = 360
"""What a telephone has room for."""

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz: .ci/install")


def words(svg: str) -> list[str]:
    return ["".join(each.itertext()) for each in ElementTree.fromstring(svg).iter() if each.tag.endswith("text")]


def test_each_drawing_stands_on_a_page_once_and_is_told_in_words() -> None:
    assert sorted(name for name, _ in ASKED) == sorted(PICTURES)
    assert all(len(text) > 40 for _, text in ASKED)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[needs_dot] if name in GRAPHS else []) for name in PICTURES])
def test_a_drawing_fits_a_telephone_and_has_the_colours_of_its_page(name: str) -> None:
    if name.startswith("plot-"):
        pytest.importorskip("matplotlib")
    svg = PICTURES[name]()
    width = float(re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+)', svg)[1])  # type: ignore[index]
    assert width <= NARROW
    assert words(svg)
    assert "currentColor" in svg
    assert not re.search(r"#(000000|ffffff|000|fff)\b|(?<![-\w])(black|white)(?![-\w])", svg)


@needs_dot
def test_the_rooms_that_are_drawn_are_those_of_the_table() -> None:
    drawn = set(words(layers()))
    assert {room for room in ROOMS if "." not in room} <= drawn


def test_the_way_of_a_message_has_all_steps_of_the_page() -> None:
    page = (DOCS / "explanation" / "design.md").read_text()
    for title in ("The way of a message out", "The way of a message in"):
        steps = re.findall(r"^(_?[A-Z]\w*\.\w+) ", page.partition(f"## {title}")[2].partition("\n## ")[0], re.MULTILINE)
        assert len(steps) > 10
        assert set(steps) <= set(words(message()))
