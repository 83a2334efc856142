"""Processes that a work starts for itself. They are children of the client: their processor time counts as its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.bench.ends import ROOT
from tests.bench.meter import Missing

PATIENCE = 60.0
"""Seconds after which a process that does not get ready is given up."""
WORKERS, SLOTS = 3, 8


@contextmanager
def running(
    words: Sequence[str], environment: Mapping[str, str] | None = None, user: str | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process as long as the block; what it says of errors is in the message of the one that ends by itself."""
    environment = {**os.environ, **(environment or {})}
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment, user=user, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


@contextmanager
def module(name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """A module of this package as a process; gives the first line that it says, when it is ready."""
    with running([sys.executable, "-m", f"tests.bench.queues.{name}", *arguments], environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode().strip()
        if not line:
            raise RuntimeError(f"{name} ended with status {process.wait()}")
        if line.startswith("missing "):
            raise Missing(line.removeprefix("missing "))
        yield line


def program(name: str, package: str, places: Sequence[Path] = ()) -> str:
    """Where a program of the system is. Raises `Missing`, which says how to get it."""
    path = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", *map(str, places)]))
    if path is None:
        raise Missing(f"needs {name}: apt-get install {package}")
    return path


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(what: str, is_so: Any) -> None:
    """Ask until it is so."""
    until = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > until:
            raise RuntimeError(f"{what} does not get ready")
        time.sleep(0.05)
