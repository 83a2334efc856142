"""Fixtures for tests of programs that use chanlink: a plugin for pytest, which finds it by itself.

It is beside the package, as the program is: every run of pytest imports it, in all projects of an environment that has
chanlink, and so it imports nothing of chanlink before a test asks for a fixture.

- `chanlink_pair`: two sessions with keys, joined in memory.
- `chanlink_server`: starts servers with throw-away keys, and connects clients to them.
- `chanlink_services`: what both serve; override it.
- `chanlink_leaks`: what a test that uses one of them leaves behind is an error.

They are asynchronous, and anyio's plugin runs them: on each event loop that the fixture `anyio_backend` names.
"""

from collections.abc import AsyncGenerator, Generator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from chanlink.testing import SessionPair, StartServer
    from chanlink.testing.leaving import Leavings

MAY_LEAK = "chanlink_may_leak"
PLUMBING = "TestRunner._call_in_runner_task"
"""A task of anyio's plugin: it has another one for each fixture and each test."""


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest the markers that there are."""
    config.addinivalue_line("markers", f"{MAY_LEAK}: ends and tasks that this test leaves behind are no error.")


@pytest.fixture
def chanlink_services() -> Mapping[str, Any] | None:
    """The services that `chanlink_pair` and `chanlink_server` serve, by name: none. Override it, in a test module, say.

    Without services, channels come out of `Session.accept`, and sessions out of the listener's ``accept``.
    """
    return None


@pytest.fixture
def chanlink_leaks(request: pytest.FixtureRequest) -> "Generator[Leavings, None, None]":
    """After the test, fail if it has left something: an end that it forgot without closing it, a task that still runs.

    The other fixtures use it. A test that has failed already, or is marked ``chanlink_may_leak``, may leave what it
    wants.
    """
    from chanlink.testing.leaving import Leavings

    leavings, failed_before = Leavings(), request.session.testsfailed
    with leavings.of_ends():
        yield leavings
    if request.session.testsfailed > failed_before:  # this one; it could not close what it wanted to
        return
    if leavings.problems and request.node.get_closest_marker(MAY_LEAK) is None:
        lines = "\n".join(f"  {problem}" for problem in leavings.problems)
        pytest.fail(f"the test has left something behind:\n{lines}", pytrace=False)


@pytest.fixture
async def chanlink_pair(
    request: pytest.FixtureRequest,
    anyio_backend: Any,
    chanlink_services: Mapping[str, Any] | None,
    chanlink_leaks: "Leavings",
) -> "AsyncGenerator[SessionPair, None]":
    """Two sessions with keys, the client's and the server's; the server serves `chanlink_services`.

    It is what `chanlink.testing.session_pair_with_keys` gives. A parameter, if there is one, is a mapping with its
    arguments: ``@pytest.mark.parametrize("chanlink_pair", [{"over": "sockets"}], indirect=True)``.
    """
    from chanlink.testing import session_pair_with_keys
    from chanlink.testing.hosting import hosting

    options = {"services": chanlink_services, **getattr(request, "param", {})}
    async with hosting(chanlink_leaks, PLUMBING) as hosts:
        yield await hosts.enter(session_pair_with_keys(**options))


@pytest.fixture
async def chanlink_server(
    anyio_backend: Any, chanlink_services: Mapping[str, Any] | None, chanlink_leaks: "Leavings"
) -> "AsyncGenerator[StartServer, None]":
    """Starts a server: ``server = await chanlink_server({"echo": echo})``, which serves until the test is over.

    It takes what `chanlink.testing.local_server` takes, and gives the same. Without services it serves
    `chanlink_services`. A test may start several.
    """
    from chanlink.testing import LocalServer, local_server
    from chanlink.testing.hosting import hosting

    async with hosting(chanlink_leaks, PLUMBING) as hosts:

        async def start(services: Mapping[str, Any] | None = None, **options: Any) -> LocalServer:
            return await hosts.enter(local_server(chanlink_services if services is None else services, **options))

        yield start
