"""``chanlink completion``: what shells make of its scripts."""

import os
import pty
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import chanlink
from chanlink.command.cli import COMMANDS, make_parser
from tests.command.calls import PATIENCE, run
from tests.rexec.servers import until

pytestmark = pytest.mark.slow

TYPED = [
    ("chanlink keyg\t", "keygen "),
    ("chanlink peers rev\t", "revoke "),
    ("chanlink peers add --tr\t", "--trust "),
    ("chanlink completion fi\t", "fish "),
    ("chanlink ping --ident\t", "--identity "),
    ("chanlink ping --identity a\t", r"a\ key.pub"),
    ("chanlink id a\t", r"a\ key.pub"),
]
"""What is typed, and what the shell makes of its last word."""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    (folder / "bin").mkdir()
    (folder / "bin/chanlink").write_text("#!/bin/sh\nexit 0\n")
    (folder / "bin/chanlink").chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        (folder / shell).write_text(run(folder, "completion", shell)[0])
    (folder / "a key.pub").touch()
    return folder


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


class Terminal:
    """A shell in a terminal, where somebody types."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            path = f"{folder}/bin:{os.environ['PATH']}"
            os.execvpe(command[0], command, {"PATH": path, "HOME": str(folder), "TERM": "vt100", "PS1": "$ "})
        self.text = ""
        self.reading = threading.Thread(target=self._read)
        self.reading.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.descriptor, 4096)
            except OSError:
                return
            if not data:
                return
            self.text += data.decode(errors="replace")

    def type(self, text: str, *expected: str) -> None:
        before = len(self.text)
        os.write(self.descriptor, text.encode())
        until(lambda: all(word in self.text[before:] for word in expected))

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.reading.join(PATIENCE)
        os.close(self.descriptor)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


@needs("bash")
def test_bash_completes(scripts: Path, terminals: list[Terminal]) -> None:
    terminals.append(bash := Terminal(scripts, "bash", "--norc", "--noprofile", "-i"))
    bash.type("bind 'set enable-bracketed-paste off'; source ./bash; echo rea''dy\n", "ready\r\n")
    for typed, completed in TYPED:
        bash.type(typed, completed.removeprefix(typed.split()[-1]))
        bash.type("\x15")
    bash.type("chanlink ping --count \t\t", "--count ")
    bash.type("\x15chanlink p\t\t", "peers", "ping")


@needs("zsh")
def test_zsh_completes(scripts: Path, terminals: list[Terminal]) -> None:
    terminals.append(zsh := Terminal(scripts, "zsh", "-f", "-i"))
    zsh.type("PS1='> '; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u; source ./zsh; echo rea''dy\n",
             "ready\r\n")  # fmt: skip
    for number, (typed, completed) in enumerate(TYPED):
        zsh.type(typed, completed.removeprefix(typed.split()[-1]).rstrip())
        zsh.type("\x15\n", "> ")
        assert number < len(TYPED)
    zsh.type("chanlink p\t", "connect to a server")


@needs("fish")
def test_fish_completes(scripts: Path) -> None:
    def complete(line: str) -> list[str]:
        command = ["fish", "--no-config", "-c", f"source ./fish; complete -C {line!r}"]
        environ = {"PATH": f"{scripts}/bin:{os.environ['PATH']}", "HOME": str(scripts), "TERM": "dumb"}
        return subprocess.check_output(command, cwd=scripts, env=environ, text=True).splitlines()

    for typed, completed in TYPED:
        (found,) = complete(typed.removesuffix("\t"))
        assert found.split("\t")[0] == completed.rstrip().replace("\\", "")
    assert {line.split("\t")[0] for line in complete("chanlink p")} == {"peers", "ping"}
    assert complete("chanlink ping --count ") == []


def test_completion_scripts_name_every_command_and_option(scripts: Path) -> None:
    text = {shell: (scripts / shell).read_text() for shell in ("bash", "zsh", "fish")}
    for command in COMMANDS:
        assert all(command.__name__.rpartition(".")[2].replace("identity", "id") in one for one in text.values())
    assert "--first-use" in text["bash"]
    assert "--first-use" in text["zsh"]
    assert "-l first-use" in text["fish"]
    assert make_parser().prog == "chanlink"
    assert chanlink.__doc__
