"""Registering again and again, through what may happen meanwhile."""

from argparse import Namespace
from typing import Any

import anyio
import pytest

from chanlink import CallLost, CallRefused, ConnectFailed
from chanlink.command.actions import directory_changes
from chanlink.command.actions.directory_changes import _keep
from chanlink.directory import NameTaken, StoreFailed
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio


class Directory:
    """Answers with one error after the other, and then not at all."""

    def __init__(self, *problems: Exception | None) -> None:
        self.problems = list(problems)
        self.asked = 0

    async def register(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.asked += 1
        problem = self.problems.pop(0)
        if problem is not None:
            raise problem


async def test_a_directory_that_was_away_is_told_again_and_one_that_refuses_ends_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_changes, "AGAIN", 0.0)
    passing = [CallRefused("no-session"), CallLost(ConnectFailed("gone")), StoreFailed("full")]
    directory: Any = Directory(None, *passing, None, NameTaken("web1 belongs to another key"))
    options = Namespace(name="web1", addresses=["tcp://x"], service=[], life=0.001)
    with anyio.fail_after(PATIENCE), pytest.raises(NameTaken):
        await _keep(directory, options)
    assert directory.asked == 6
    assert capsys.readouterr().err.count("web1 is not registered now: ") == 3
