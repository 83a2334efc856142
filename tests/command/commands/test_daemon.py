"""``chanlink daemon``: what its arguments are."""

import pytest

from chanlink.command.cli import make_parser
from chanlink.command.commands import daemon
from chanlink.daemon.folder import DEFAULT
from tests.command.calls import Call

ACTIONS = ["init", "run", "service add", "service remove", "user add", "user remove", "status"]


@pytest.mark.parametrize("action", ["", *ACTIONS])
def test_the_help_has_examples(call: Call, action: str) -> None:
    called = call("daemon", *action.split(), "--help")
    assert called.status == 0
    assert "examples" in called.out
    assert f"chanlink daemon {action}".strip() in called.out


@pytest.mark.parametrize(
    "words", [[], ["service"], ["user"], ["service", "add"], ["user", "add"], ["user", "remove"], ["what"]]
)
def test_what_is_missing_or_unknown_is_wrong_usage(call: Call, words: list[str]) -> None:
    assert call("daemon", *words).status == 2


def test_who_listens_nowhere_listens_at_no_address(call: Call) -> None:
    called = call("daemon", "run", "--no-listen", "--listen", "tcp://127.0.0.1:0")
    assert called.status == 2
    assert "not allowed with" in called.err


def test_the_default_folder_is_that_of_the_library() -> None:
    assert daemon.FOLDER == DEFAULT
    for action in ("status", "init", "run"):
        assert make_parser().parse_args(["daemon", action]).folder == DEFAULT
