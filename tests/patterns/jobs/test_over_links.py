"""A queue whose sessions and servers come and go, and what its clients notice of that."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import JobLost, JobRefused
from chanlink.patterns import Job, QueueClient, WorkQueue, queue_client, work_queue
from chanlink.testing import session_pair
from tests.links.servers import Server, until_state
from tests.patience import PATIENCE, until
from tests.ports import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


@pytest.fixture
def server() -> Server:
    """One that does not run yet."""
    return Server(f"tcp://127.0.0.1:{free_port()}")


@asynccontextmanager
async def linked(server: Server) -> AsyncGenerator[tuple[QueueClient[Any, Any], QueueClient[Any, Any]], None]:
    """One who brings jobs, and one who works."""
    with anyio.fail_after(PATIENCE):
        async with server.link() as one, server.link() as other:
            yield queue_client(one, "jobs"), queue_client(other, "jobs")


async def double(job: Job[Any, Any]) -> None:
    async with job:
        await job.done(job.value * 2)


async def test_a_ticket_goes_on_with_the_next_server_also_if_that_knows_nothing(server: Server) -> None:
    async with linked(server) as (client, workers):
        async with work_queue() as queue, server.running(services={"jobs": queue}):
            ticket = await client.submit(21, id="one")
        async with work_queue() as queue, server.running(services={"jobs": queue}), workers.jobs() as work:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ticket.result)
                await double(await anext(work))
            assert await ticket.result() == 42


async def test_a_session_that_is_lost_is_noticed_by_nobody_who_brings_jobs(server: Server) -> None:
    async with linked(server) as (client, workers), work_queue() as queue:
        async with server.running(services={"jobs": queue}):
            ticket = await client.submit(21, id="one")
        async with server.running(services={"jobs": queue}), workers.jobs() as work:
            await double(await anext(work))
            assert await ticket.result() == 42
            assert ticket.new
            assert (await client.find("one")).new is False


async def test_what_runs_when_a_session_is_lost_is_stale_and_given_again(server: Server) -> None:
    attempts: list[int] = []
    async with linked(server) as (client, workers), work_queue() as queue, workers.jobs(slots=4) as work:
        began = anyio.Event()

        async def run(job: Job[Any, Any]) -> None:
            async with job:
                attempts.append(job.attempt)
                if job.attempt == 1:
                    began.set()
                    await anyio.sleep_forever()
                await job.done(job.value * 2)
            assert job.stale == (job.attempt == 1)

        async def take() -> None:
            async with anyio.create_task_group() as running:
                async for job in work:
                    running.start_soon(run, job)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            async with server.running(services={"jobs": queue}):
                ticket = await client.submit(21)
                await began.wait()
            async with server.running(services={"jobs": queue}):
                assert await ticket.result() == 42
                work.stop()
    assert attempts == [1, 2]


async def test_a_worker_waits_for_a_server_as_long_as_it_takes(server: Server) -> None:
    async with linked(server) as (client, workers), workers.jobs() as work, anyio.create_task_group() as tasks:

        async def take() -> None:
            await double(await anext(work))

        tasks.start_soon(take)
        async with work_queue() as queue, server.running(services={"jobs": queue}):
            ticket = await client.submit(1)
            assert await ticket.result() == 2


async def test_a_server_that_drains_is_left_for_the_next_one(server: Server) -> None:
    async with linked(server) as (client, workers), work_queue() as queue, workers.jobs(slots=2) as work:
        done: list[Any] = []

        async def take() -> None:
            async for job in work:
                async with job:
                    done.append(job.value)
                    await job.done(job.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            async with server.running(services={"jobs": queue}):
                await (await client.submit(1)).result()
                await server.listener.drain(5)
            async with server.running(services={"jobs": queue}):
                await (await client.submit(2)).result()
                work.stop()
    assert done == [1, 2]


async def test_a_link_that_is_closed_is_the_end(server: Server) -> None:
    async with server.link() as link:
        client = queue_client(link, "jobs")
        async with work_queue() as queue, server.running(services={"jobs": queue}):
            ticket = await client.submit(1)
        work = client.jobs()
        async with work:
            await until_state(link, "waiting", "connecting")
    with anyio.fail_after(PATIENCE):
        with pytest.raises(JobLost):
            await ticket.result()
        with pytest.raises(JobRefused, match="no-session"):
            await client.status()


async def test_a_queue_that_is_left_while_a_session_lives_ends_jobs_in_order_and_loses_tickets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chanlink.patterns.jobs.way.PAUSE", 0.01)
    queues: list[WorkQueue[Any, Any]] = []

    async def serve(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
        await queues[0](requests, peer)

    with anyio.fail_after(PATIENCE):
        async with session_pair(services={"jobs": serve}) as (session, _), anyio.create_task_group() as tasks:
            client = queue_client(session, "jobs")
            values: list[Any] = []

            async def take() -> None:
                async with client.jobs() as work:
                    values.extend([job.value async for job in work])
                values.append("ended")

            async with work_queue() as queue:
                queues.append(queue)
                ticket = await client.submit(1)
                await ticket.cancel()
                other = await client.submit(2, id="other")
                tasks.start_soon(take)
                await until(lambda: other)
            with pytest.raises(JobLost, match="draining"):
                await other.result()
            await until(lambda: "ended" in values)
