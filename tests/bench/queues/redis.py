"""A Redis server for one run, on a port of its own."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .processes import free_port, program, running, wait_for


@contextmanager
def redis(folder: Path, *, kept: bool) -> Iterator[str]:
    """Its URL. Kept: each write is on the disk before it is answered; else nothing is, and all lives in memory."""
    port = free_port()
    words = [program("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    words += ["--save", "", "--loglevel", "warning"]
    words += ["--appendonly", "yes", "--appendfsync", "always"] if kept else ["--appendonly", "no"]
    with running(words):
        wait_for("redis-server", lambda: _answers(port))
        yield f"redis://127.0.0.1:{port}/0"


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
