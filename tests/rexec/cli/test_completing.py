"""What may stand where somebody types."""

from importlib import import_module
from pathlib import Path

import pytest

from examples.rexec.cli.completing import Candidates, candidates, host_names
from examples.rexec.cli.main import COMMANDS
from examples.rexec.cli.parsing import parse


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".config" / "chanlink").mkdir(parents=True)
    (tmp_path / ".config" / "chanlink" / "hosts.toml").write_text('[build]\naddress = "tcp://x"\n[web-1.x]\n["q"]\n')
    adders = [import_module(f"examples.rexec.cli.commands.{name}").add for name in COMMANDS]
    whole = parse(["completion", "bash"], adders).whole
    return lambda *words: candidates(whole, words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["se"], Candidates(["serve"])),
        (["--ver"], Candidates(["--version"])),
        (["run", "--id"], Candidates(["--identity"])),
        (["run", "--identity", "x"], Candidates([], files=True)),
        (["run", "--wait", ""], Candidates([])),
        (["run", ""], Candidates(["build", "web-1.x"])),
        (["ps", "--json", "b"], Candidates(["build"])),
        (["run", "build", "--", "ls", ""], Candidates([], files=True)),
        (["cp", "-r", "bu"], Candidates(["build:"], files=True)),
        (["serve", "--copy-root", ""], Candidates([], files=True)),
        (["completion", ""], Candidates(["bash", "zsh", "fish"])),
        (["completion", "--f"], Candidates([])),
        (["nosuch", "ru"], Candidates(["run"])),
    ],
)
def test_what_may_stand_there(words: list[str], expected: Candidates, complete: object) -> None:
    assert complete(*words) == expected  # type: ignore[operator]


def test_without_the_file_there_are_no_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert host_names() == []
