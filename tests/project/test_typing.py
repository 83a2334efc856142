"""What type checkers say of programs that use the public names: mypy and pyright, both strict.

The programs in tests/typing are right, and so is every program on a page of the site. In those in tests/typing/wrong
a comment says what each checker finds in its line, ``# mypy: arg-type; pyright: reportArgumentType`` (or ``none``),
and they find that and nothing else.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from .pages import PAGES, ROOT, write_programs

RIGHT = sorted((ROOT / "tests/typing").glob("*.py"))
EXAMPLES = [
    path for name in ("chat", "ping", "queue", "upload", "workers") for path in (ROOT / "examples" / name).glob("*.py")
]
"""Programs to be copied; mypy looks at them with the package."""
WRONG = sorted((ROOT / "tests/typing/wrong").glob("*.py"))
EXPECTED = re.compile(r"# (?=mypy: |pyright: )(?:mypy: (?P<mypy>[\w, -]+))?(?:; )?(?:pyright: (?P<pyright>[\w, ]+))?$")

Found = dict[tuple[str, int], set[str]]
"""The rules that are broken, by file and line."""

needs_pyright = pytest.mark.skipif(
    shutil.which("pyright", path=str(Path(sys.executable).parent)) is None, reason="pyright is not installed here"
)


@pytest.fixture
def programs_of_pages(tmp_path: Path) -> list[Path]:
    """Each in a file of its own, in a folder where rexec can be imported by its name, as when it is installed."""
    (tmp_path / "rexec").symlink_to(ROOT / "examples" / "rexec")
    return [path for page in PAGES for path in write_programs(page, tmp_path)]


def _name(path: str | Path) -> str:
    """Below tests/typing, or of a page."""
    return (ROOT / path).as_posix().removeprefix(f"{ROOT}/tests/typing/")


def expected(checker: str) -> Found:
    found: Found = {}
    for path in WRONG:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if (comment := EXPECTED.search(line)) and comment[checker] not in (None, "none"):
                found[_name(path), number] = set(comment[checker].split(", "))
    return found


def mypy(paths: Iterable[Path], beside: str = "") -> Found:
    # (With another cache than `make lint`, which may run at the same time.)
    arguments = ["--strict", "--output", "json", "--cache-dir", ".mypy_cache/typing", *map(str, paths)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *arguments], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "MYPYPATH": beside},
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    found: Found = defaultdict(set)
    for line in filter(None, done.stdout.splitlines()):
        one = json.loads(line)
        if one["severity"] == "error":
            found[_name(one["file"]), one["line"]].add(one["code"])
    return found


def pyright(paths: Iterable[Path], beside: Path) -> Found:
    """It is a program for Node, which comes with it as a wheel; without that it would load one from the network."""
    arguments = ["--pythonpath", sys.executable, "--outputjson", *map(str, paths)]
    done = subprocess.run(
        [sys.executable, "-m", "pyright", *arguments], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.fspath(beside)},
    )  # fmt: skip
    if not done.stdout.startswith("{"):
        pytest.skip(f"pyright does not run here: {done.stderr[-200:]}")
    said = json.loads(done.stdout)
    assert said["summary"]["filesAnalyzed"] == len(list(paths))
    found: Found = defaultdict(set)
    for one in said["generalDiagnostics"]:
        name, rule = _name(one["file"]), one["rule"]
        follows = name.startswith("wrong/") and rule.startswith("reportUnknown")  # from what is wrong
        saved = rule == "reportMissingTypeStubs"  # what a page saves is found as a library is, and has no py.typed
        if one["severity"] == "error" and not follows and not saved:
            found[name, one["range"]["start"]["line"] + 1].add(rule)
    return found


@pytest.mark.slow
def test_mypy_finds_what_is_wrong_in_its_line_and_nothing_else(programs_of_pages: list[Path], tmp_path: Path) -> None:
    assert RIGHT
    assert WRONG
    assert len(programs_of_pages) >= 20
    assert mypy([*WRONG, *RIGHT, *programs_of_pages], os.fspath(tmp_path)) == expected("mypy")


@pytest.mark.slow
@needs_pyright
def test_pyright_finds_what_is_wrong_in_its_line_and_nothing_else(
    programs_of_pages: list[Path], tmp_path: Path
) -> None:
    assert pyright([*WRONG, *RIGHT, *EXAMPLES, *programs_of_pages], tmp_path) == expected("pyright")
