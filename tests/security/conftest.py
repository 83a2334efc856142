"""Connections for handshakes."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from anyio.abc import ByteStream

from .handshakes import byte_by_byte, memory, over_sockets


@pytest.fixture
def one_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the hello is the same everywhere; test_suites.py has the others."""
    monkeypatch.setenv("CHANLINK_SUITES", "chachapoly")


@pytest.fixture(params=["memory", "byte by byte", "tcp", "unix"])
async def ends(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    made: dict[str, Callable[[], AbstractAsyncContextManager[tuple[ByteStream, ByteStream]]]] = {
        "memory": memory,
        "byte by byte": byte_by_byte,
        "tcp": lambda: over_sockets("tcp://127.0.0.1:0"),
        "unix": lambda: over_sockets(f"unix:{tmp_path}/s"),
    }
    async with made[request.param]() as pair:
        yield pair
