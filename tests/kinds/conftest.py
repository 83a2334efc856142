"""Servers that all commands of a file talk to."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .programs import Place, served


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="kinds-") as home, served(Path(home)) as place:  # sockets have short paths
        yield place
