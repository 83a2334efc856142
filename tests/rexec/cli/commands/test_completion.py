"""``rexec completion``: what shells make of its scripts."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.command.shells import assert_fish_completes, completing_bash, completing_zsh, needs
from tests.rexec.servers import ROOT

pytestmark = pytest.mark.slow

TYPED = [
    ("rexec ser\t", "serve "),
    ("rexec run --ident\t", "--identity "),
    ("rexec run --identity a\t", r"a\ key.pub"),
    ("rexec run bui\t", "build "),
]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    (folder / "bin").mkdir()
    (folder / "bin/rexec").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m examples.rexec "$@"\n')
    (folder / "bin/rexec").chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        command = [folder / "bin/rexec", "completion", shell]
        (folder / shell).write_text(subprocess.check_output(command, text=True))
    (folder / "a key.pub").touch()
    (folder / ".config/chanlink").mkdir(parents=True)
    (folder / ".config/chanlink/hosts.toml").write_text('[build]\naddress = "tcp://x"\n')
    return folder


@needs("bash")
def test_bash_completes(scripts: Path) -> None:
    with completing_bash(scripts, TYPED):
        pass


@needs("zsh")
def test_zsh_completes(scripts: Path) -> None:
    with completing_zsh(scripts, TYPED):
        pass


@needs("fish")
def test_fish_completes(scripts: Path) -> None:
    assert_fish_completes(scripts, TYPED)
