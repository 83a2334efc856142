"""Shells that complete what somebody types, by the scripts of ``chanlink completion`` and ``rexec completion``."""

import os
import pty
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.command.calls import PATIENCE
from tests.rexec.servers import until

Typed = Sequence[tuple[str, str]]
"""What is typed, and what the shell makes of its last word."""


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


class Terminal:
    """A shell in a terminal, where somebody types."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(command[0], command, {**_environ(folder), "TERM": "vt100", "PS1": "$ "})
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


def _environ(folder: Path) -> dict[str, str]:
    return {"PATH": f"{folder}/bin:{os.environ['PATH']}", "HOME": str(folder)}


@contextmanager
def completing_bash(folder: Path, typed: Typed) -> Iterator[Terminal]:
    """A bash with the script ``bash`` of the folder, when it has completed all of this."""
    with closing(Terminal(folder, "bash", "--norc", "--noprofile", "-i")) as bash:
        bash.type("bind 'set enable-bracketed-paste off'; source ./bash; echo rea''dy\n", "ready\r\n")
        for words, completed in typed:
            bash.type(words, completed.removeprefix(words.split()[-1]))
            bash.type("\x15")
        yield bash


@contextmanager
def completing_zsh(folder: Path, typed: Typed) -> Iterator[Terminal]:
    """The same of zsh."""
    with closing(Terminal(folder, "zsh", "-f", "-i")) as zsh:
        begin = "PS1='> '; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u; source ./zsh"
        zsh.type(f"{begin}; echo rea''dy\n", "ready\r\n")
        for words, completed in typed:
            zsh.type(words, completed.removeprefix(words.split()[-1]).rstrip())
            zsh.type("\x15\n", "> ")
        yield zsh


def fish_completes(folder: Path, line: str) -> list[str]:
    """What a fish with the script ``fish`` of the folder offers; a tab stands before what it says of it."""
    command = ["fish", "--no-config", "-c", f"source ./fish; complete -C {line!r}"]
    environ = {**_environ(folder), "TERM": "dumb"}
    return subprocess.check_output(command, cwd=folder, env=environ, text=True).splitlines()


def assert_fish_completes(folder: Path, typed: Typed) -> None:
    for words, completed in typed:
        (found,) = fish_completes(folder, words.removesuffix("\t"))
        assert found.split("\t")[0] == completed.rstrip().replace("\\", "")
