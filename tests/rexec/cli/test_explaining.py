"""Errors in one line that says what to do."""

import errno
import subprocess
from pathlib import Path

import pytest

import chanlink
from examples.rexec.cli.explaining import complain, explain
from examples.rexec.messages import BadMessage, StartError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StartError("refused", "no rule names this key"), "refused: no rule names this key"),
        (BadMessage("a request is a map"), "a request is a map"),
        (OSError(errno.ENOENT, "No such file", "/x"), "/x: No such file"),
        (OSError(errno.EPIPE, "Broken pipe"), "can't read or write: Broken pipe"),
        (OSError(errno.EMFILE, "Too many open files", "/x"), "Too many open files (see ulimit -n)"),
        (ExceptionGroup("", [ValueError("a defect"), BadMessage("that")]), "that"),
        (ValueError("a defect"), None),
    ],
)
def test_what_is_no_defect_is_a_line(error: Exception, line: str | None) -> None:
    assert explain(error) == line


def test_a_key_that_is_not_there_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(chanlink.KeyFormatError) as caught:
        chanlink.Identity.load(tmp_path / "none")
    assert "none: No such file or directory; make a key with" in (explain(caught.value) or "")


def test_of_a_key_with_a_passphrase_it_says_what_can_be_done_here(tmp_path: Path) -> None:
    """`chanlink` speaks to programs, which may give it."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", key], check=True)
    with pytest.raises(chanlink.KeyFormatError) as caught:
        chanlink.Identity.load(key)
    said = explain(caught.value)
    assert said is not None
    assert said.startswith(f"{key}: the key has a passphrase, and rexec asks for none; ")
    assert "passphrase=" not in said


def test_what_it_says_is_one_line_that_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    complain("two\nlines, \x1b[31mred")
    said = capsys.readouterr().err
    assert said.startswith("rexec: two")
    assert said.count("\n") == 1
    assert "\x1b" not in said
