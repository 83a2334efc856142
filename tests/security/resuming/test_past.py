"""What is known of the connections that a session had."""

import pytest

from chanlink.security.resuming.past import Past
from tests.security.wires import sealed_pair

pytestmark = pytest.mark.anyio


async def test_what_was_given_up_counts_and_is_closed_once_that_is_asked_for() -> None:
    past, volumes = Past(), []
    for number in range(1, 4):
        near, far = sealed_pair()
        past.begin()
        assert past.begun == number
        assert past.epoch(near) == number - 1, "a new connection has new keys"
        await near.send(bytes(1_000))
        await far.receive()
        volumes.append(near.volume)
        assert past.volume(near) == sum(volumes)
        past.give_up(near)
        assert past.volume(None) == sum(volumes)
        assert past.epoch(None) == number - 1
        socket = near._transport._sock  # type: ignore[attr-defined]
        assert socket.fileno() >= 0
        await past.close()
        assert socket.fileno() < 0
        await far.aclose()
