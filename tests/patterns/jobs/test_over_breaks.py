"""A queue whose clients have sessions that outlive their connections, and what a break means to those who work."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
import pytest

import chanlink
from chanlink import Identity, Trust
from chanlink.patterns import QueueClient, queue_client, work_queue
from tests.cutting import CuttingProxy, cutting
from tests.patience import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


class Site(NamedTuple):
    """A queue, and two who may work: the connection of the first goes through the proxy."""

    proxy: CuttingProxy
    first: QueueClient[Any, Any]
    other: QueueClient[Any, Any]


@asynccontextmanager
async def working(silence: float) -> AsyncGenerator[Site, None]:
    server, client = Identity.generate("server"), Identity.generate("client")
    with anyio.fail_after(PATIENCE):
        async with (
            work_queue(silence=silence) as queue,
            chanlink.listen(
                "tcp://127.0.0.1:0", identity=server, trust=Trust.of(client.public_key), services={"jobs": queue}
            ) as listener,
        ):
            address = listener.addresses[0]
            with cutting(address) as proxy:
                async with (
                    chanlink.connect(proxy.address, identity=client, peer=server.public_key, resume=60) as first,
                    chanlink.connect(address, identity=client, peer=server.public_key) as other,
                ):
                    yield Site(proxy, queue_client(first, "jobs"), queue_client(other, "jobs"))


async def test_a_break_that_is_shorter_than_the_silence_is_noticed_by_nobody() -> None:
    async with working(PATIENCE) as site:
        ticket = await site.first.submit(21)
        async with site.first.jobs() as work, await anext(work) as job:
            await job.progress("half")
            site.proxy.cut()
            assert await job.done(job.value * 2)
            assert job.attempt == 1
        assert await ticket.result() == 42
        assert site.proxy.cuts == 1


async def test_after_a_longer_one_another_worker_has_the_job_and_the_first_is_told() -> None:
    async with working(1.0) as site:
        ticket = await site.other.submit(21)
        async with site.first.jobs() as work:
            job = await anext(work)
            async with job:
                site.proxy.go_down()
                async with site.other.jobs() as other_work, await anext(other_work) as again:
                    assert again.attempt == 2
                    assert await again.done(again.value * 2)
                assert await ticket.result() == 42
                site.proxy.go_up()
                await anyio.sleep_forever()  # the block is left when it is told
            assert job.stale
