"""From a command line to options."""

import pytest

from examples.rexec.cli.commands import key, ps
from examples.rexec.cli.parsing import parse
from examples.rexec.cli.run_options import add_run


def mistake(*argv: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        parse(argv, [add_run, key.add, ps.add])
    assert caught.value.code == 255
    said = capsys.readouterr().err
    assert said.startswith("rexec: ")
    assert said.count("\n") == 1
    return said


def test_what_follows_the_first_two_dashes_are_the_words_of_the_command() -> None:
    options = parse(["run", "-n", "tcp://x", "--", "ls", "--", "-n"], [add_run])
    assert (options.address, options.no_stdin, options.words) == ("tcp://x", True, ["ls", "--", "-n"])


def test_with_a_shell_all_that_follows_the_address_is_the_command_as_with_ssh() -> None:
    """What rsync and git write."""
    options = parse(
        ["run", "--shell", "-n", "build", "rsync", "--server", "-vlogDtpre.iLsfxCIvu", ".", "/x"], [add_run]
    )
    assert (options.address, options.no_stdin) == ("build", True)
    assert options.words == ["rsync", "--server", "-vlogDtpre.iLsfxCIvu", ".", "/x"]
    assert parse(["run", "--shell", "build", "git-upload-pack '/x y'"], [add_run]).words == ["git-upload-pack '/x y'"]
    assert parse(["run", "build", "--shell", "--", "ls", "--", "x"], [add_run]).words == ["ls", "--", "x"]


def test_mistakes_say_what_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    assert "write -- before the command: rexec run [OPTION]... ADDRESS -- ls -l" in mistake(
        "run", "tcp://x", "ls", "-l", capsys=capsys
    )
    assert "no command is given; write it after --" in mistake("run", "tcp://x", capsys=capsys)
    assert "no command is given; write it after --" in mistake("run", "tcp://x", "--shell", capsys=capsys)
    assert "no command is given; write it after --" in mistake("run", "--shell", "tcp://x", capsys=capsys)
    assert "only run takes a command" in mistake("ps", "tcp://x", "--", "ls", capsys=capsys)
    assert "unrecognized arguments: --nosuch;" in mistake("ps", "--nosuch", "tcp://x", "more", capsys=capsys)


def test_only_what_was_added_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["key"], [key.add]).action is key.action
    with pytest.raises(SystemExit):
        parse(["ps", "tcp://x"], [key.add])
