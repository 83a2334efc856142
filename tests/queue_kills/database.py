"""A PostgreSQL server whose clock is that of the campaign, which can be restarted, and whose connections can be cut."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.postgres import Server, program

HOW = ("fast", "immediate")
"""In order, and as if it was killed."""


class Database(Server):
    """It runs at once; `close` it."""

    def __init__(self, environment: dict[str, str]) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="postgres-")), fsync="on", full_page_writes="on")
        self._environment = environment
        self.start()

    def start(self) -> None:
        with _environment(self._environment):
            super().start()

    def restart(self, how: str) -> None:
        """Stop it in one of these ways, and start it."""
        self.stop(how)
        self.start()

    def cut(self) -> None:
        """All its connections."""
        words = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
        subprocess.run([program("psql") or "psql", self.conninfo, "-c", words], check=True, capture_output=True)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """Processes that are started in this block have this besides."""
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        for name in more:
            del os.environ[name]
        os.environ.update(before)


def is_here() -> bool:
    """Whether PostgreSQL is installed."""
    return program("initdb") is not None and program("pg_ctl") is not None
