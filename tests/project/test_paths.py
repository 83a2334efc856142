"""Files and targets that comments, the Makefile and its help speak of are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PATH = re.compile(r"\b(?:tests|chanlink|examples)/[\w/]+\.py\b")
MODULE = re.compile(r"-m ((?:tests|examples)(?:\.\w+)+)")
SOURCES = sorted(
    [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "CONTRIBUTING.md", ROOT / ".ci" / "run"]
    + [path for folder in ("chanlink", "examples", "tests") for path in (ROOT / folder).rglob("*.py")]
)


def test_files_that_sources_name_are_there() -> None:
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        for name in PATH.findall(path.read_text())
        if not (ROOT / name).exists()
    }
    assert not missing


def test_modules_that_the_makefile_runs_are_there() -> None:
    names = MODULE.findall(MAKEFILE)
    assert len(names) > 8
    for name in names:
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name


def targets() -> set[str]:
    (line,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    return set(line.split())


def test_every_target_is_in_the_help_and_the_other_way_round() -> None:
    assert set(re.findall(r'^\t@echo "make ([\w-]+) ', MAKEFILE, re.MULTILINE)) == targets() - {"help", "lint"}


def test_targets_that_are_told_to_contributors_are_there() -> None:
    named = re.findall(r"\bmake ((?:[a-z-]+ ?)+)", "\n".join(re.findall("`.*?`|^\\$ .*", CONTRIBUTING, re.MULTILINE)))
    assert len(named) > 8
    assert {target for line in named for target in line.split()} <= targets()


@pytest.mark.parametrize("target", sorted(targets()))
def test_every_target_is_made(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
