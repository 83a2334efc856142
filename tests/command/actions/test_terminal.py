"""A terminal on which lines are shown anew again and again."""

import sys
from pathlib import Path

import pytest

from tests.command.terminals import OnTerminal

pytestmark = pytest.mark.slow
PROGRAM = """
import anyio
from chanlink.command.actions.terminal import is_terminal, renew
drawn, keys = [], []
async def draw(terminal):
    drawn.append(1)
    if len(drawn) > 1 and {fails}:
        raise ValueError("it can't be drawn")
    terminal.show("a name", "q: quit", [f"line {number} " + "x" * 100 for number in range(50)], more="--once")
try:
    anyio.run(renew, draw, 0.01, {b"t": lambda: keys.append("t")})
except ValueError as exc:
    print(exc)
print(len(drawn) > 1, keys, is_terminal())
"""


def on_terminal(home: Path, *, fails: bool) -> OnTerminal:
    return OnTerminal(home, [sys.executable, "-c", PROGRAM.replace("{fails}", str(fails))])


def said_behind(run: OnTerminal) -> list[bytes]:
    """What it has written once the terminal was given back."""
    return run.shown.rpartition(b"\x1b[?1049l")[2].splitlines()


def test_lines_are_cut_to_the_terminal_and_keys_are_called_until_q(tmp_path: Path) -> None:
    run = on_terminal(tmp_path, fails=False)
    run.until(b"more lines", times=2)
    first = run.shown.partition(b"\x1b[J")[0].replace(b"\r", b"").replace(b"\x1b[K", b"").split(b"\n")
    assert len(first) == 20
    assert first[1].startswith(b"line 0 xxx")
    assert all(len(line) == 40 for line in first[1:-1])
    assert first[-1] == b"... 32 more lines; --once shows them"
    assert run.modes != run.before
    run.type(b"txtq")
    run.until(b"\x1b[?1049l")
    assert run.modes == run.before
    assert run.end() == 0
    assert said_behind(run) == [b"True ['t', 't'] True"]


def test_what_goes_wrong_is_said_once_the_terminal_is_as_it_was(tmp_path: Path) -> None:
    run = on_terminal(tmp_path, fails=True)
    assert run.end() == 0
    assert said_behind(run) == [b"it can't be drawn", b"True [] True"]
