"""The options of ``rexec run``."""

import pytest

from examples.rexec.cli.parsing import parse
from examples.rexec.cli.run_options import IDLE, RESUME, add_run, check


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--name", "x"], "--name is for --detach"),
        (["--progress", "--share"], "--progress and --share exclude each other"),
        (["-t", "-n"], "-t and -n exclude each other"),
        (["--resume", "5m", "--share"], "--resume and --share exclude each other"),
        (["-t", "--detach"], "-t and --detach exclude each other"),
    ],
)
def test_options_that_exclude_each_other(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = parse(["run", *words, "tcp://x", "--", "true"], [add_run])
    with pytest.raises(SystemExit):
        check(options)
    assert problem in capsys.readouterr().err


def test_variables_and_limits_are_read_where_they_are_given() -> None:
    words = ["run", "-e", "A=b=c", "-e", "D=", "--limit", "memory=1K", "tcp://x", "--", "true"]
    options = parse(words, [add_run])
    assert options.environment == [("A", "b=c"), ("D", "")]
    assert options.limits == [("memory", 1024)]
    assert options.share_for == IDLE


@pytest.mark.parametrize("words", [["-e", "A"], ["-e", "=b"], ["--limit", "memory"], ["--limit", "x=1"]])
def test_what_is_none_is_a_mistake(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["run", *words, "tcp://x", "--", "true"], [add_run])
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ([], 0.0),
        (["-t"], RESUME),
        (["-t", "--resume", "0"], 0.0),
        (["--resume", "5m"], 300.0),
        (["-t", "--share"], 0.0),
    ],
)
def test_with_a_terminal_a_session_may_come_back_without_being_asked_for(words: list[str], seconds: float) -> None:
    options = parse(["run", *words, "tcp://x", "--", "true"], [add_run])
    check(options)
    assert options.resume == seconds
