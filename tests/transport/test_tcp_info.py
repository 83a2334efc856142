"""What the kernel says of the other machine, and what follows from it."""

import socket
import sys
from collections.abc import Iterator

import pytest

from chanlink.transport.tcp_info import acknowledges, is_there


@pytest.mark.parametrize(
    ("probes", "unacknowledged", "milliseconds", "there"),
    [
        (0, 0, 10, True),
        (3, 5, 44_000, True),  # it has just been there
        (1, 0, 110_000, True),  # a full window, probed every two minutes, and each time it has answered
        (2, 0, 50_000, False),
        (0, 1, 50_000, False),
        (7, 0, 50_000, False),
    ],
)
def test_a_machine_is_there_that_acknowledges_what_it_is_asked(
    probes: int, unacknowledged: int, milliseconds: int, there: bool
) -> None:
    assert is_there(probes, unacknowledged, milliseconds, within=45.0) is there


@pytest.fixture
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        yield near, far


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says so")
def test_a_connection_of_which_nothing_is_asked_is_there_and_is_asked_from_then_on(
    connected: tuple[socket.socket, socket.socket],
) -> None:
    near, _ = connected
    assert not near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert acknowledges(near, 45.0)
    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15


def test_a_connection_that_is_over_is_not_there(connected: tuple[socket.socket, socket.socket]) -> None:
    near, _ = connected
    near.close()
    assert not acknowledges(near, 45.0)


def test_what_is_no_tcp_is_not_known_to_be_there() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert not acknowledges(near, 45.0)


def test_other_systems_are_not_asked(
    connected: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not acknowledges(connected[0], 45.0)
