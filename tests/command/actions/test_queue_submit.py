"""What jobs are read from."""

import os
from collections.abc import Iterator

import pytest

from chanlink.command.actions import queue_submit
from chanlink.command.actions.queue_submit import Lines, parsed
from chanlink.command.problems import Problem

pytestmark = pytest.mark.anyio


@pytest.fixture
def typed() -> Iterator[int]:
    """Where to write what comes by standard input."""
    kept = os.dup(0)
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    os.close(reading)
    yield writing
    os.dup2(kept, 0)
    os.close(kept)


async def test_lines_come_as_they_are_typed_with_their_numbers_and_empty_ones_are_left_out(typed: int) -> None:
    lines = Lines()
    os.write(typed, b"one\n\n  \ntw")
    assert (await lines.next(), lines.number) == (b"one", 1)
    os.write(typed, b"o\r\nthree")
    assert (await lines.next(), lines.number) == (b"two\r", 4)
    os.close(typed)
    assert (await lines.next(), lines.number) == (b"three", 5)
    assert await lines.next() == b""
    assert await lines.next() == b""


async def test_no_line_at_all_is_the_end(typed: int) -> None:
    os.close(typed)
    assert await Lines().next() == b""


async def test_a_line_that_does_not_end_is_not_kept(typed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_submit, "LONGEST_LINE", 10)
    os.write(typed, b"1\n" + b"x" * 11)
    lines = Lines()
    with pytest.raises(Problem, match="line 2 is longer than a job may be"):
        await lines.next()
    os.close(typed)


def test_what_is_no_json_is_said_with_its_place() -> None:
    assert parsed(b' {"a": [1, 2.5, null]} ', "line 1") == {"a": [1, 2.5, None]}
    for wrong in ("three", "", "[", "[" * 100_000, b"\xff"):
        with pytest.raises(Problem, match=r"^line 3 is no JSON: .*; a text has quotes around it there$"):
            parsed(wrong, "line 3")
