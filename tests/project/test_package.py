"""What pyproject.toml says about the package is true: extras, Pythons, bounds."""

import re
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "chanlink").rglob("*.py")]


def test_extras_that_pages_and_errors_name_are_there() -> None:
    named = {
        extra.strip()
        for path in PAGES
        for extras in re.findall(r"\bchanlink\[([a-z, ]+)\]", path.read_text())
        for extra in extras.split(",")
    }
    assert {"ssh", "typed"} <= named <= EXTRAS.keys()


def test_the_extra_all_is_all_of_them() -> None:
    (every,) = map(Requirement, EXTRAS["all"])
    assert every.extras == EXTRAS.keys() - {"all"}


def test_what_belongs_to_an_extra_is_there_for_the_tests_of_it() -> None:
    tested = {Requirement(line).name for line in PYPROJECT["dependency-groups"]["dev"]}
    # The interface of OpenTelemetry comes with the rest of it.
    wanted = {Requirement(line).name for lines in EXTRAS.values() for line in lines}
    assert wanted - {"chanlink", "opentelemetry-api"} <= tested


def test_every_dependency_has_a_lowest_version() -> None:
    for line in [*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]:
        requirement = Requirement(line)
        operators = {bound.operator for bound in requirement.specifier}
        assert requirement.name == "chanlink" or ">=" in operators, line


def test_what_a_user_gets_has_a_highest_version_too() -> None:
    for line in PROJECT["dependencies"]:
        assert "<" in {bound.operator for bound in Requirement(line).specifier}, line


def test_the_pythons_of_the_classifiers_are_those_that_pip_takes() -> None:
    allowed = SpecifierSet(PROJECT["requires-python"])
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert pythons == [f"3.{minor}" for minor in range(11, 14)]
    assert all(python in allowed for python in pythons)
    assert "3.10" not in allowed


def test_no_address_is_made_up() -> None:
    """Until the project has a host name of its own: names that can't lead to somebody else."""
    for address in PROJECT["urls"].values():
        assert re.match(r"https://chanlink\.invalid(/|$)", address)
