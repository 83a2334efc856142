"""``rexec share``: what it says when nothing is kept."""

from pathlib import Path

import pytest

from examples.rexec.cli.main import main


@pytest.mark.parametrize("option", [[], ["--list"], ["--stop"]])
def test_where_nothing_is_kept_it_says_nothing(
    option: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    (folder := tmp_path / ".cache" / "rexec").mkdir(parents=True, mode=0o700)
    (folder / "x.lock").touch()
    assert main(["share", *option]) == 0
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_others_may_enter_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    (folder := tmp_path / ".cache" / "rexec").mkdir(parents=True)
    folder.chmod(0o755)
    assert main(["share"]) == 255
    assert "(chmod 700)" in capfd.readouterr().err
