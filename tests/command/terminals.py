"""Programs on a terminal, as somebody sees them who sits there."""

import os
import pty
import select
import termios
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .calls import PATIENCE, environment


class OnTerminal:
    """A program on a terminal of 20 lines and some letters; ``shown`` is what it has written so far."""

    def __init__(self, home: Path, command: Sequence[str], *, columns: int = 40) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            size = {"LINES": "20", "COLUMNS": str(columns), "TERM": "vt100"}
            os.execve(command[0], list(command), environment(home, **size))
        self.before = termios.tcgetattr(self.terminal)
        self.shown = b""

    @property
    def modes(self) -> list[object]:
        return termios.tcgetattr(self.terminal)

    def until(self, text: bytes, times: int = 1) -> None:
        """Read until it has shown this."""
        while self.shown.count(text) < times:
            self.shown += self._read()

    def _read(self) -> bytes:
        assert select.select([self.terminal], [], [], PATIENCE)[0], self.shown
        return os.read(self.terminal, 10_000)

    def type(self, keys: bytes) -> None:
        os.write(self.terminal, keys)

    def end(self) -> int:
        """Read until it has ended; returns its exit status."""
        with suppress(OSError):  # the other side of the terminal is closed
            while True:
                self.shown += self._read()
        os.close(self.terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
