"""``rexec key``."""

from pathlib import Path

import pytest

import chanlink
from examples.rexec.cli.main import main


def test_it_prints_our_public_key_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = chanlink.Identity.generate("ours")
    ours.save(tmp_path / "key")
    assert main(["key", "--identity", str(tmp_path / "key")]) == 0
    assert capsys.readouterr() == (f"{ours.public_key}\n", "")


def test_a_key_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "--identity", str(tmp_path / "none")]) == 255
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "make a key with" in err
