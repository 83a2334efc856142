"""A server that ends and comes again."""

import pytest

from tests.ports import free_port

from .servers import Server


@pytest.fixture
def server() -> Server:
    """One that does not run yet."""
    return Server(f"tcp://127.0.0.1:{free_port()}")
