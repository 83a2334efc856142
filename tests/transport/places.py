"""Where to connect, and where not."""

import socket
from pathlib import Path
from typing import Any

import anyio
import pytest


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def make_stale(path: Path) -> None:
    """What a killed process leaves."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def names(monkeypatch: pytest.MonkeyPatch, *found: tuple[int, tuple[str, int]]) -> None:
    """Let every name have these addresses."""

    async def getaddrinfo(*args: object, **kwargs: object) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 0, "", address) for family, address in found]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
