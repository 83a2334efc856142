"""The queue: no job is lost with its worker; examples/queue/README.md kills one, in processes."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import TaskGroup

import chanlink
from examples.queue.job_queue import LARGEST, Job, JobQueue, Work
from tests.patience import PATIENCE

from .programs import Programs

PEER = chanlink.Peer(None, "somebody", "")


class Around:
    """A queue whose services run, those who bring jobs, and workers."""

    def __init__(self, tasks: TaskGroup, jobs: chanlink.Sender[Job], queue: JobQueue) -> None:
        self._tasks = tasks
        self._jobs = jobs
        self._queue = queue

    async def submit(self, number: int) -> chanlink.Receiver[list[int]]:
        result, results = chanlink.pipe(item_type=list[int])
        await self._jobs.send(Job(number, result))
        return results

    async def worker(self, scope: anyio.CancelScope | None = None) -> chanlink.Receiver[Work]:
        """One that has asked for a job. The service that gives it can be cancelled by the scope."""
        asks, asked = chanlink.pipe(item_type=chanlink.Sender[Work])
        worker, work = chanlink.pipe(item_type=Work)

        async def serve() -> None:
            with scope or anyio.CancelScope():
                await self._queue.work(asked, PEER)

        self._tasks.start_soon(serve)
        async with asks:
            await asks.send(worker)
        return work


@asynccontextmanager
async def a_queue() -> AsyncIterator[Around]:
    queue, (jobs, brought) = JobQueue(), chanlink.pipe(item_type=Job)
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks, jobs:
            tasks.start_soon(queue.submit, brought, PEER)
            yield Around(tasks, jobs, queue)
            tasks.cancel_scope.cancel()


async def done(work: chanlink.Receiver[Work], result: list[int]) -> int:
    """The number of the job that is done."""
    job = await work.receive()
    async with job.done:
        await job.done.send(result)
    return job.number


@pytest.mark.anyio
async def test_jobs_are_given_out_in_their_order_and_results_come_back() -> None:
    async with a_queue() as around:
        first, second = await around.submit(1), await around.submit(2)
        assert await done(await around.worker(), [11]) == 1
        assert await done(await around.worker(), [22]) == 2
        assert [await first.receive(), await second.receive()] == [[11], [22]]


@pytest.mark.anyio
async def test_a_job_that_its_worker_did_not_do_is_given_to_the_next_one() -> None:
    async with a_queue() as around:
        result = await around.submit(1)
        job = await (await around.worker()).receive()
        job.done.fail("gave-up")
        assert await done(await around.worker(), [11]) == 1
        assert await result.receive() == [11]


@pytest.mark.anyio
async def test_a_job_is_given_out_again_when_the_session_of_its_worker_is_over() -> None:
    """Its service is cancelled then."""
    async with a_queue() as around:
        result, scope = await around.submit(1), anyio.CancelScope()
        await (await around.worker(scope)).receive()
        scope.cancel()
        assert await done(await around.worker(), [11]) == 1
        assert await result.receive() == [11]


@pytest.mark.anyio
async def test_a_worker_that_has_left_gets_no_job() -> None:
    async with a_queue() as around:
        (await around.worker()).close()
        await around.submit(1)
        assert await done(await around.worker(), [11]) == 1


@pytest.mark.anyio
async def test_who_brought_a_job_and_left_does_no_harm_to_the_worker() -> None:
    async with a_queue() as around:
        (await around.submit(1)).close()
        assert await done(await around.worker(), [11]) == 1
        second = await around.submit(2)
        assert await done(await around.worker(), [22]) == 2
        assert await second.receive() == [22]


@pytest.mark.anyio
@pytest.mark.parametrize("number", [0, -1, LARGEST + 1])
async def test_a_number_that_is_no_job_is_refused_and_the_next_one_is_not(number: int) -> None:
    async with a_queue() as around:
        with pytest.raises(chanlink.ChannelFailed, match="no-job: a number from 1 to 1000000000000000000 is wanted"):
            await (await around.submit(number)).receive()
        await around.submit(1)
        assert await done(await around.worker(), [11]) == 1


@pytest.mark.slow
def test_a_program_that_brings_a_job_and_two_that_work(programs: Callable[[str], Programs]) -> None:
    here, address = programs("queue/jobs.py"), ("--address", "unix:socket")
    here.serve(*address)
    workers = [here.client("work", name, *address) for name in ("alice", "bob")]
    numbers = [str(2 * number) for number in range(2, 22)]
    output, said = here.client("submit", "alice", *address, *numbers).communicate(timeout=PATIENCE)
    assert said == ""
    assert {line.partition(" = ")[0] for line in output.splitlines()} == set(numbers)
    assert all(" = 2" in line for line in output.splitlines())
    for worker in workers:
        worker.terminate()
    did = [worker.communicate(timeout=PATIENCE)[0].splitlines() for worker in workers]
    assert sorted(itertools.chain(*did)) == sorted(f"working on {number}" for number in numbers)
    output, said = here.client("submit", "alice", *address, str(LARGEST + 1)).communicate(timeout=PATIENCE)
    assert (output, said) == ("", "jobs: the sender failed: no-job: a number from 1 to 1000000000000000000 is wanted\n")
