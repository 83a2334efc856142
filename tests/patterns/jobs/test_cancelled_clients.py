"""Clients of a real queue that are cancelled at any step: nothing is lost, and nothing is done twice."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from chanlink.patterns import Job, queue_client, work_queue
from chanlink.testing import session_pair
from tests.patience import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]

STEPS = 40
"""More than any of these takes."""


async def cancelled_after(steps: int, function: Callable[[], Awaitable[Any]]) -> Any:
    """What it returns, or None if it was cancelled after so many steps of another task."""

    async def cancel() -> None:
        for _ in range(steps):
            await checkpoint()
        scope.cancel()

    result = None
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(cancel)
            result = await function()
        tasks.cancel_scope.cancel()
    return result


async def test_who_waits_for_a_job_or_a_result() -> None:
    with anyio.fail_after(PATIENCE):
        async with work_queue() as queue, session_pair(services={"jobs": queue}) as (session, _):
            client = queue_client(session, "jobs")
            async with client.jobs() as work:
                for steps in range(STEPS):
                    ticket = await client.submit(steps)
                    job: Job[Any, Any] | None = None
                    while job is None:
                        job = await cancelled_after(steps, work.__anext__)
                        steps += 1
                    assert job.attempt == 1
                    await job.done([job.value])
                    result = await cancelled_after(steps, ticket.result)
                    assert [job.value] == (result or await ticket.result())
            assert (await client.status()).done == STEPS


async def test_who_submits_may_do_it_again() -> None:
    with anyio.fail_after(PATIENCE):
        async with work_queue() as queue, session_pair(services={"jobs": queue}) as (session, _):
            client = queue_client(session, "jobs")
            async with client.jobs() as work:
                for steps in range(STEPS):
                    await cancelled_after(steps, lambda id=f"{steps}": client.submit(1, id=id))  # type: ignore[misc]
                    ticket = await client.submit(1, id=f"{steps}")
                    job = await anext(work)
                    assert (job.id, job.attempt) == (f"{steps}", 1)
                    await job.done(None)
                    await ticket.result()
            assert (await client.status()).done == STEPS


async def test_a_worker_that_leaves_at_any_step_leaves_no_job_behind() -> None:
    with anyio.fail_after(PATIENCE):
        async with work_queue(attempts=1_000) as queue, session_pair(services={"jobs": queue}) as (session, _):
            client = queue_client(session, "jobs")
            counted: list[int] = []

            async def work_for_a_while() -> None:
                async with client.jobs(slots=2) as work, anyio.create_task_group() as tasks:
                    async for job in work:
                        tasks.start_soon(run, job)

            async def run(job: Job[Any, Any]) -> None:
                async with job:
                    await job.progress()
                    if await job.done(job.value):
                        counted.append(job.value)

            tickets = [await client.submit(number) for number in range(STEPS)]
            steps = 0
            while len(counted) < STEPS and (await client.status()).done < STEPS:
                await cancelled_after(steps % STEPS, work_for_a_while)
                steps += 1
            assert [await ticket.result() for ticket in tickets] == [*range(STEPS)]
            assert len(counted) == len(set(counted))
            status = await client.status()
            assert (status.done, status.failed, status.running, status.waiting) == (STEPS, 0, 0, 0)
