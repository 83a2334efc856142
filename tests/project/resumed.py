"""Sessions that outlive their connections, in pairs with the other features.

What `interactions` does over a session is done here over one whose connection is cut before it, within it and after it,
by a proxy of real sockets.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

import chanlink
from chanlink import ChannelRefused, ConfigError, ConnectionLost, Session, blocking
from chanlink.patterns import follow, subscribe
from tests.cutting import CuttingProxy, cutting
from tests.patience import until

from .interactions import (
    BLOCKING_USES,
    OPENED,
    SERVER,
    USES,
    WORKS,
    Order,
    Place,
    Receipt,
    ask_once,
    block_types,
    early_and_another_beginning,
    old_peer,
)

RESUME = 30.0
"""Seconds for which a session here may come back; each break is over at once."""


@asynccontextmanager
async def through_a_proxy(place: Place) -> AsyncIterator[CuttingProxy]:
    """The other side, behind something that cuts."""
    async with place.listening() as address:
        with cutting(address) as proxy:
            yield proxy


def connecting(place: Place, address: Any) -> Any:
    return chanlink.connect(
        address, identity=place.client, peer=SERVER.public_key, resume=RESUME, **place.options, **place.client_options
    )


async def until_state(session: Session, state: str) -> None:
    async for now in session.states():
        if now == state:
            return
    raise AssertionError(f"it was over before it was {state}")


@asynccontextmanager
async def cut_now_and_then(proxy: CuttingProxy, session: Session) -> AsyncIterator[None]:
    """Within the block the connection is cut each time when the session has one."""

    async def cut() -> None:
        while True:
            await until_state(session, "open")
            proxy.cut()
            await until_state(session, "away")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cut)
        yield
        tasks.cancel_scope.cancel()


async def resumed(place: Place) -> None:
    """What can be done over a session can be done while it breaks; it remains the same session."""
    async with through_a_proxy(place) as proxy, connecting(place, proxy.address) as place.session:
        await place.be_noted()
        for name in sorted(place.features & USES.keys()) or ["types"]:
            for _ in range(2):
                async with cut_now_and_then(proxy, place.session):
                    await USES[name](place)
            await USES[name](place)
        assert proxy.cuts >= 2
        assert len(place.servers) == 1
        assert not place.server.closed


async def relayed(place: Place) -> None:
    """Its session leads to a relay, whose own one is whole."""
    async with through_a_proxy(place) as proxy, connecting(place, proxy.address) as place.session:
        await place.be_noted()
        async with await place.session.open("ask", Order) as orders, cut_now_and_then(proxy, place.session):
            for number in range(20):
                reply, replies = chanlink.pipe(item_type=Receipt)
                await orders.send(Order("x" * number, reply))
                assert await replies.receive() == Receipt("x" * number, number)
        assert proxy.cuts
        assert len(place.servers) == 1


async def not_with_eager(place: Place) -> None:
    async with place.listening() as address:
        with pytest.raises(ConfigError, match="eager"):
            async with connecting(place, address):
                pass


async def with_a_connectable(place: Place) -> None:
    """A stream has no way back; what makes one has."""
    here, there = chanlink.byte_pipe()
    async with here, there:
        with pytest.raises(ConfigError, match="no way back"):
            async with connecting(place, here):
                pass
    place.features = ()
    async with through_a_proxy(place) as proxy:
        connectable = anyio.TCPConnectable("127.0.0.1", int(proxy.address.rpartition(":")[2]))
        async with connecting(place, connectable) as place.session:
            await place.be_noted()
            proxy.cut()
            await USES["types"](place)
            assert len(place.servers) == 1


async def drained_while_away(place: Place) -> None:
    """It is told when the session is back: what is open goes on, and nothing new begins."""
    async with through_a_proxy(place) as proxy, connecting(place, proxy.address) as place.session:
        await place.be_noted()
        async with (
            await place.session.open("ask", Order) as orders,
            await follow(place.session, "state", int) as state,
            await subscribe(place.session, "news", str),
        ):
            await state.receive()
            proxy.go_down()
            await until_state(place.session, "away")
            place.server.drain()
            proxy.go_up()
            await until_state(place.session, "draining")
            proxy.cut()  # it goes on being one that comes back
            reply, replies = chanlink.pipe(item_type=Receipt)
            await orders.send(Order("tea", reply))
            assert await replies.receive() == Receipt("tea", 3)
            with pytest.raises(ChannelRefused) as refused:
                await place.session.open("ask")
            assert refused.value.code == "draining"


async def linked(place: Place) -> None:
    """A link whose session is away takes calls, and goes on with the same session."""
    async with (
        through_a_proxy(place) as proxy,
        chanlink.reconnecting(
            proxy.address,
            identity=place.client,
            peer=SERVER.public_key,
            resume=RESUME,
            setup=place.set_up,
            **place.options,
        ) as link,
    ):
        session = place.session = await link.session()
        await place.be_noted()
        proxy.go_down()
        async for state in link.states():
            if state == "away":
                break
        assert await link.session() is session
        answers: list[int] = []

        async def call() -> None:
            answers.append(await link.client(WORKS, "works").add(1, 2))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            assert (link.state, answers) == ("away", [])
            proxy.go_up()
        assert answers == [3]
        assert await link.session() is session
        assert len(place.states) == 1
        await until(lambda: link.state == "ready")


async def blocked(place: Place) -> None:
    def thread(proxy: CuttingProxy) -> None:
        with blocking.connect(
            proxy.address, identity=place.client, peer=SERVER.public_key, resume=RESUME, **place.options
        ) as session:
            for name in sorted(place.features & BLOCKING_USES.keys()) or ["types"]:
                use = BLOCKING_USES.get(name, block_types)
                use(place, session)
                proxy.cut()
                use(place, session)

    async with through_a_proxy(place) as proxy:
        await anyio.to_thread.run_sync(partial(thread, proxy))


async def not_with_an_old_server(place: Place) -> None:
    """It grants nothing, so that a connection that is lost is the end of its session."""
    async with old_peer(place, "serve", place.address) as said:
        assert await anext(said) == "ready"
        with cutting(place.address) as proxy:
            async with connecting(place, proxy.address) as session:
                await ask_once(session)
                proxy.cut()
                with pytest.raises(ConnectionLost):
                    raise await session.wait_closed()


RESUMED: dict[str, Callable[[Place], Awaitable[None]]] = {
    "eager": not_with_eager,
    "early": early_and_another_beginning,
    "stream": with_a_connectable,
    "relay": relayed,
    "drain": drained_while_away,
    "reconnecting": linked,
    "blocking": blocked,
    "0.1": not_with_an_old_server,
}


async def run_resumed(pair: frozenset[str], folder: Path) -> None:
    """Do with ``resume`` and another feature what shows that they go together."""
    (other,) = pair - {"resume"}
    place = Place(pair, folder)
    await RESUMED.get(other, resumed)(place)
    if other == "instruments":
        await until(lambda: not place.open_ones())
        assert any(place.counts.samples(OPENED).values())
