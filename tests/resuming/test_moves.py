"""A client moves to another address while data flows: its old one is gone, and nobody says so."""

import random
from collections.abc import AsyncIterator, Iterator

import anyio
import pytest

import chanlink
from chanlink import Limits, SessionClosed
from chanlink.testing import local_server
from tests.patience import PATIENCE, until

from .exchange import Exchange
from .namespaces import SERVER, Cable, cable

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def network() -> Iterator[Cable]:
    with cable() as laid:
        yield laid


async def test_a_session_goes_on_at_another_address_with_all_that_was_under_way(network: Cable) -> None:
    exchange = Exchange(random.Random(0))
    network.be(2)
    network.enter(network.server)
    with anyio.fail_after(2 * PATIENCE):  # each step has less, so that the one that hangs is seen
        async with local_server(address=f"tcp://{SERVER}:0", limits=Limits(resume=PATIENCE)) as server:
            network.enter(network.client)
            async with (
                chanlink.connect(
                    server.address, identity=server.identity("client"), peer=server.public_key, resume=PATIENCE
                ) as near,
                anyio.create_task_group() as tasks,
            ):
                far = await server.listener.accept()
                tasks.start_soon(exchange.as_server, far)
                tasks.start_soon(exchange.as_client, near)
                states = near.states()  # not looked at now and then: it may be away for a moment only
                await becomes(states, "open")
                for host in (3, 4):
                    await flow(exchange)
                    network.be(host)
                    near.check()  # who is told of the new network calls this
                    await becomes(states, "away")
                    await becomes(states, "open")
                    await flow(exchange)
                exchange.enough.set()
                await until(lambda: all(count.ended for count in exchange.heard.values()))
                await near.aclose()
            reason = await far.wait_closed()
    exchange.check()
    assert isinstance(reason, SessionClosed)
    assert not reason.code


async def becomes(states: AsyncIterator[str], state: str) -> None:
    """The next state is this one."""
    with anyio.fail_after(PATIENCE):
        assert await anext(states) == state


async def flow(exchange: Exchange) -> None:
    """Let some of everything pass."""
    before = exchange.volume
    await until(lambda: len(exchange.volume) == 5 and min((exchange.volume - before).values(), default=0) > 3)
