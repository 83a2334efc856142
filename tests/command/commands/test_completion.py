"""``chanlink completion``: what shells make of its scripts."""

from pathlib import Path

import pytest

import chanlink
from chanlink.command.cli import COMMANDS, make_parser
from tests.command.calls import run
from tests.command.shells import assert_fish_completes, completing_bash, completing_zsh, fish_completes, needs

pytestmark = pytest.mark.slow

TYPED = [
    ("chanlink keyg\t", "keygen "),
    ("chanlink peers rev\t", "revoke "),
    ("chanlink peers add --tr\t", "--trust "),
    ("chanlink completion fi\t", "fish "),
    ("chanlink ping --ident\t", "--identity "),
    ("chanlink ping --identity a\t", r"a\ key.pub"),
    ("chanlink id a\t", r"a\ key.pub"),
    ("chanlink ping bui\t", "build "),
    ("chanlink cat --peer x bui\t", "build "),
    ("chanlink ping ci\t", "ci-1.example "),
]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    (folder / "bin").mkdir()
    (folder / "bin/chanlink").write_text("#!/bin/sh\nexit 0\n")
    (folder / "bin/chanlink").chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        (folder / shell).write_text(run(folder, "completion", shell)[0])
    (folder / "a key.pub").touch()
    (folder / ".config/chanlink").mkdir(parents=True)
    (folder / ".config/chanlink/hosts.toml").write_text('[build]\n["ci-1.example"]\n[no.name]\n[build.no]\n')
    return folder


@needs("bash")
def test_bash_completes(scripts: Path) -> None:
    with completing_bash(scripts, TYPED) as bash:
        bash.type("chanlink ping --count \t\t", "--count ")
        bash.type("\x15chanlink p\t\t", "peers", "ping")


@needs("zsh")
def test_zsh_completes(scripts: Path) -> None:
    with completing_zsh(scripts, TYPED) as zsh:
        zsh.type("chanlink p\t", "connect to a server")


@needs("fish")
def test_fish_completes(scripts: Path) -> None:
    assert_fish_completes(scripts, TYPED)
    assert {line.split("\t")[0] for line in fish_completes(scripts, "chanlink p")} == {"peers", "ping"}
    assert fish_completes(scripts, "chanlink ping --count ") == []


def test_completion_scripts_name_every_command_and_option(scripts: Path) -> None:
    text = {shell: (scripts / shell).read_text() for shell in ("bash", "zsh", "fish")}
    for command in COMMANDS:
        assert all(command.__name__.rpartition(".")[2].replace("identity", "id") in one for one in text.values())
    assert "--first-use" in text["bash"]
    assert "--first-use" in text["zsh"]
    assert "-l first-use" in text["fish"]
    assert make_parser().prog == "chanlink"
    assert chanlink.__doc__
