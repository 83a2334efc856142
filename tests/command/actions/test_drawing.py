"""Drawing by graphviz, and what goes wrong with it; asking several servers is what `commands/test_graph` does."""

import shutil

import pytest

from chanlink.command.actions import drawing
from chanlink.command.actions.drawing import drawn
from chanlink.command.problems import Problem
from chanlink.observing.graph.dot import dot
from tests.observing.graph.reports import drawn as picture_of
from tests.observing.graph.reports import two_that_wait

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def graphviz() -> None:
    if shutil.which("dot") is None:
        pytest.skip("graphviz is not installed")


async def test_a_picture_begins_with_the_svg() -> None:
    assert (await drawn(dot(picture_of(*two_that_wait())))).startswith("<svg")


async def test_what_graphviz_says_is_one_line() -> None:
    with pytest.raises(Problem, match="dot failed: "):
        await drawn("digraph {")


async def test_drawing_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "LONGEST_DRAWING", 0.0)
    with pytest.raises(Problem, match="too large"):
        await drawn("digraph {}")
