"""The two sides of ``chanlink bench``, over a session in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import chanlink
from chanlink import ChannelFailed, ChannelRefused, Peer, Receiver
from chanlink.command.actions.benchmark import SERVICE, Client, serve
from chanlink.testing import session_pair

pytestmark = pytest.mark.anyio
SECONDS = 0.01


@asynccontextmanager
async def client(service: Any = serve) -> AsyncIterator[Client]:
    async with session_pair(services={SERVICE: service}) as (session, _), await session.open(SERVICE) as requests:
        yield Client(requests, session, SECONDS)


async def test_whatever_is_measured_is_more_than_nothing() -> None:
    async with client() as measure:
        assert await measure.pings() > 0
        assert await measure.round_trips(64) > 0
        assert await measure.messages(64) > 0
        assert await measure.bytes_there() > 0
        assert await measure.bytes_back() > 0


async def test_a_request_that_the_service_does_not_know_is_refused() -> None:
    async with session_pair(services={SERVICE: serve}) as (session, _), await session.open(SERVICE) as requests:
        await requests.send("measure everything")
        reason = await requests.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "bad-request"


async def test_runs_do_not_touch_each_other() -> None:
    async with session_pair(services={SERVICE: serve}) as (session, _), await session.open(SERVICE) as requests:
        gone, one = chanlink.pipe()
        reply, _ = chanlink.pipe()
        await requests.send({"take": one, "reply": reply})
        gone.fail("over")
        there, receiver = chanlink.pipe()
        answers, back = chanlink.pipe()
        await requests.send({"echo": receiver, "reply": answers})
        await there.send("still there")
        assert await back.receive() == "still there"


async def test_a_server_that_does_not_count_is_not_believed() -> None:
    async def miscount(requests: Receiver[Any], peer: Peer) -> None:
        async for request in requests:
            async for _ in request["take"]:
                pass
            await request["reply"].send("many")

    async with client(miscount) as measure:
        with pytest.raises(ChannelFailed) as caught:
            await measure.messages(64)
        assert caught.value.code == "bad-answer"
