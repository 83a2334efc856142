"""What becomes of tests that fail once: in CI they are named, and too many of them are a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.unsteady import MOST

ROOT = Path(__file__).parent.parent
UNSTEADY = """
import pytest
from pathlib import Path

@pytest.mark.parametrize("number", range({count}))
def test_it(number):
    seen = Path(__file__).with_name(str(number))
    before = seen.exists()
    seen.touch()
    assert before and {then}
"""


def run(folder: Path, *, ci: bool, count: int = 1, then: bool = True) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(UNSTEADY.format(count=count, then=then))
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | ({"CI": "true"} if ci else {})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.unsteady", "-p", "no:cacheprovider", "test_it.py"]
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def test_by_hand_a_failure_is_one(tmp_path: Path) -> None:
    done = run(tmp_path, ci=False)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 failed" in done.stdout


def test_in_ci_one_that_passes_then_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, ci=True)
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    assert "unsteady: test_it.py::test_it[0]" in done.stdout
    assert "assert (False" in done.stdout  # why it failed is not lost


def test_in_ci_one_that_fails_twice_is_a_failure(tmp_path: Path) -> None:
    assert run(tmp_path, ci=True, then=False).returncode == pytest.ExitCode.TESTS_FAILED


def test_many_are_a_failure(tmp_path: Path) -> None:
    done = run(tmp_path, ci=True, count=MOST + 1)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert f"{MOST + 1} passed" in done.stdout
