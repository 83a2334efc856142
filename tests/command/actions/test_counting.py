"""How far something is."""

import sys
from pathlib import Path

import pytest

from chanlink.command.actions.counting import WIDTH, Counter, bar
from tests.command.terminals import OnTerminal


@pytest.mark.parametrize(
    ("part", "whole", "filled"),
    [(0, 0, 0), (0, 10, 0), (1, 1_000_000, 1), (5, 10, WIDTH // 2), (999_999, 1_000_000, WIDTH - 1), (10, 10, WIDTH)],
)
def test_a_bar_is_full_when_it_is_all_and_not_empty_when_there_is_something(part: int, whole: int, filled: int) -> None:
    assert bar(part, whole) == f"[{'#' * filled}{'.' * (WIDTH - filled)}]"


def test_a_count_says_of_how_many_if_that_is_known() -> None:
    known, unknown = Counter(2_000), Counter(None)
    for counter in (known, unknown):
        counter.add(1_000)
    assert str(known) == f"{bar(1, 2)} 1,000 of 2,000"
    assert str(unknown) == "1,000"


def test_nothing_is_drawn_where_nobody_looks(capfd: pytest.CaptureFixture[str]) -> None:
    with Counter(2) as counter:
        counter.add(1)
        counter.aside()
    assert capfd.readouterr() == ("", "")


PROGRAM = """
from chanlink.command.actions import counting
from chanlink.command.actions.counting import Counter
counting.PATIENCE = SECONDS
with Counter(2) as counter:
    counter.add(1)
    counter.add(1)
    counter.aside()
    print("one", flush=True)
"""


@pytest.mark.slow
def test_it_is_drawn_on_a_terminal_and_taken_away_for_what_is_printed(tmp_path: Path) -> None:
    run = OnTerminal(tmp_path, [sys.executable, "-c", PROGRAM.replace("SECONDS", "0")])
    assert run.end() == 0
    drawn = f"\r{bar(1, 2)} 1 of 2\x1b[K\r\x1b[Kone\r\n"
    assert run.shown == drawn.encode()  # the second one came too soon to be drawn


@pytest.mark.slow
def test_it_is_not_drawn_for_what_is_done_at_once(tmp_path: Path) -> None:
    run = OnTerminal(tmp_path, [sys.executable, "-c", PROGRAM.replace("SECONDS", "60")])
    assert run.end() == 0
    assert run.shown == b"one\r\n"


IN_BACKGROUND = """
import os
if (child := os.fork()) == 0:
    os.setpgid(0, 0)
    {program}
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_it_is_not_drawn_from_the_background(tmp_path: Path) -> None:
    """Another program has the terminal then."""
    program = IN_BACKGROUND.replace("{program}", PROGRAM.strip().replace("SECONDS", "0").replace("\n", "\n    "))
    run = OnTerminal(tmp_path, [sys.executable, "-c", program])
    assert run.end() == 0
    assert run.shown == b"one\r\n"
