"""A server in a thread of its own, and sessions with it for code that waits in the ordinary way."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

import chanlink
from chanlink import Identity, Trust, blocking
from tests.conftest import BACKENDS

from .services import SERVICES

ALICE, SERVER = Identity.generate("alice"), Identity.generate("server")


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server with `SERVICES`."""
    trust = Trust.of(ALICE.public_key)
    block = chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=trust, services=SERVICES)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(block) as listener:
        yield listener.addresses[0]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What `connect` and `loop` are told about the event loop."""
    name, options = request.param
    return {"backend": name, "backend_options": options}


def connected(address: str, **options: Any) -> AbstractContextManager[blocking.Session]:
    return blocking.connect(address, identity=ALICE, peer=SERVER.public_key, **options)


@pytest.fixture
def session(server: str, backend: dict[str, Any]) -> Iterator[blocking.Session]:
    with connected(server, **backend) as session:
        yield session


@pytest.fixture
def loop(backend: dict[str, Any]) -> Iterator[blocking.Loop]:
    with blocking.loop(**backend) as loop:
        yield loop
