"""In CI the tests have the same luck each time, and by hand another one."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.luck import in_ci, same_luck, trio_run
from tests.packages.environments import Environment

from .pages import ROOT

PROFILE = "import hypothesis; now = hypothesis.settings(); print(now.derandomize, now.deadline)"


def test_ci_says_that_it_is_ci(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    for program, does in ((".ci/install", "true"), ("make", 'echo "$CI $*"')):
        (tmp_path / program).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / program).chmod(0o755)
    variables = {**_by_hand(), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([tmp_path / ".ci" / "run"], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("true check test ")


@pytest.mark.parametrize(("more", "profile"), [({"CI": "true"}, "True None"), ({}, "False 0:00:00.200000")])
def test_hypothesis_goes_by_that(more: dict[str, str], profile: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROFILE]
    done = subprocess.run(command, cwd=tmp_path, env=_by_hand() | more, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == profile


def _by_hand() -> dict[str, str]:
    """The environment, with nothing in it that hypothesis takes for CI."""
    return {name: value for name, value in os.environ.items() if "CI" not in name and not name.startswith("TEAMCITY")}


def test_other_pythons_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert Environment(tmp_path).variables()["CI"] == "true"


def test_the_tests_go_by_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert not in_ci()
    monkeypatch.setenv("CI", "1")
    assert in_ci()


def test_the_same_name_is_the_same_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", False)  # and as before, afterwards

    def thrown(name: str) -> tuple[float, list[int]]:
        same_luck(name)
        order: list[int] = []

        async def run(number: int) -> None:
            order.append(number)

        async def start() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(run, number)

        trio.run(start)
        return random.random(), order

    one, other = thrown("one"), thrown("other")
    assert one == thrown("one") != other
    assert one[1] != other[1]
