"""What `make newcomer` follows, the README, comes to where it says; that its blocks run, test_pasting.py sees."""

import subprocess
import sys

from .newcomer import GOAL
from .pages import ROOT, pasted


def test_the_readme_comes_to_two_programs_of_ones_own() -> None:
    blocks = pasted(ROOT / "README.md")
    (goal,) = [number for number, block in enumerate(blocks) if GOAL in block.text]
    assert {block.file for block in blocks[:goal]} >= {"server.py", "client.py"}


def test_a_python_that_is_not_there_is_said() -> None:
    command = [sys.executable, "-m", "tests.project.newcomer", "no-such-python"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "there is no no-such-python\n")
