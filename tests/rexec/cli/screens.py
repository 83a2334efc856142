"""Terminals, and what is seen on them."""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.rexec.servers import PATIENCE, ROOT, until


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


class Screen:
    """A terminal, the client on it, and what it has written."""

    def __init__(self, command: list[Any], columns: int = 100, rows: int = 30) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.environ.update(TERM="xterm")
            # The size has to be there before the client looks.
            os.read(0, 1)
            os.execvp(command[0], list(map(str, command)))
        self.resize(columns, rows)
        os.write(self.descriptor, b"\n")
        self.written = b""
        self.status: int | None = None

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.descriptor, keys.encode())

    def until(self, pattern: str) -> "re.Match[bytes]":
        """Read until it matches what was written since the last match."""
        deadline = time.monotonic() + PATIENCE
        while (match := re.search(pattern.encode(), self.written)) is None:
            assert time.monotonic() < deadline, (pattern, self.written)
            self.read(0.5)
        self.written = self.written[match.end() :]
        return match

    def read(self, patience: float) -> bool:
        if not select.select([self.descriptor], [], [], patience)[0]:
            return False
        try:
            data = os.read(self.descriptor, 65536)
        except OSError:
            return False
        self.written += data
        return bool(data)

    def mode(self) -> list[Any]:
        return termios.tcgetattr(self.descriptor)[:4]

    def until_mode(self, is_so: Callable[[list[Any]], bool]) -> None:
        def now() -> bool:
            self.read(0)
            return is_so(self.mode())

        until(now)

    def wait(self) -> int:
        """The status of the client."""
        deadline = time.monotonic() + PATIENCE
        while self.status is None:
            assert time.monotonic() < deadline, self.written
            self.read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status


@contextmanager
def screen(command: list[Any], **kwargs: Any) -> Iterator[Screen]:
    screen = Screen(command, **kwargs)
    try:
        yield screen
    finally:
        if screen.status is None:
            os.kill(screen.pid, signal.SIGKILL)
            os.waitpid(screen.pid, 0)
        os.close(screen.descriptor)


def is_raw(mode: list[Any]) -> bool:
    return not mode[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
