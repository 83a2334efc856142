"""One process of a campaign, and another one in its place when it is gone."""

import signal
import subprocess
import sys
from pathlib import Path

from .queue import TRY_AGAIN

ROOT = Path(__file__).parents[2]
ENDS = (0, TRY_AGAIN, -signal.SIGKILL, -signal.SIGTERM)
"""With which status one may end: SIGTERM may hit it before it listens to that."""


class Process:
    """A module of this package that runs. What it says of errors is in a file, which whoever fails quotes."""

    def __init__(self, folder: Path, name: str, module: str, *arguments: str, clock: Path) -> None:
        self.name = name
        self._errors = folder / f"{name}.errors"
        words = ["tests.queue_kills.by_clock", str(clock), f"tests.queue_kills.{module}", str(folder), *arguments]
        self._words = [sys.executable, "-m", *words]
        self.start()

    def start(self) -> None:
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                self._words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
            )

    def signal(self, number: int) -> None:
        if self.runs:
            self._process.send_signal(number)

    def kill(self) -> None:
        """At once, whether it stands still or not."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def tend(self) -> None:
        """Another one, if it has ended as it may. Raises `AssertionError` for an end that nobody wanted."""
        if not self.runs:
            self.check()
            self.start()

    def check(self) -> None:
        status = self._process.poll()
        assert status in (None, *ENDS), f"{self.name} ended with {status}: {self.said()[-3000:]}"

    def said(self) -> str:
        return self._errors.read_text(errors="replace")
