"""What becomes of a value that nobody waits for any more."""

import anyio
import pytest

from chanlink.blocking.jobs import Job

pytestmark = pytest.mark.anyio


async def test_a_job_ends_with_a_value_or_an_error() -> None:
    async def answer() -> int:
        return 5

    async def fail() -> int:
        raise LookupError

    good, bad = Job(answer), Job(fail)
    async with anyio.create_task_group() as tasks:
        good.start(tasks)
        bad.start(tasks)
    assert good.finished.acquire(blocking=False)
    assert bad.finished.acquire(blocking=False)
    assert (good.value, good.error) == (5, None)
    assert isinstance(bad.error, LookupError)


async def test_given_up_before_it_begins_it_never_does() -> None:
    ran: list[object] = []

    async def run() -> None:
        ran.append("it ran")

    before, between = Job(run), Job(run)
    async with anyio.create_task_group() as tasks:
        before.give_up()
        before.start(tasks)
        between.start(tasks)
        between.give_up()
    assert before.settled.acquire(blocking=False)
    assert between.settled.acquire(blocking=False)
    assert ran == []


async def test_given_up_it_is_cancelled_and_over_then() -> None:
    seen: list[str] = []

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("cancelled")

    job = Job(wait)
    async with anyio.create_task_group() as tasks:
        job.start(tasks)
        await anyio.wait_all_tasks_blocked()
        job.give_up()
        job.give_up()
        assert job.settled.locked()
    assert seen == ["cancelled"]
    assert job.settled.acquire(blocking=False)


@pytest.mark.parametrize("when", ["afterwards", "while it returns"])
async def test_a_value_that_nobody_waits_for_is_told(when: str) -> None:
    unwanted: list[str] = []
    go = anyio.Event()

    async def answer() -> str:
        with anyio.CancelScope(shield=True):
            await go.wait()
        return "value"

    job = Job(answer, unwanted.append)
    async with anyio.create_task_group() as tasks:
        job.start(tasks)
        await anyio.wait_all_tasks_blocked()
        if when == "while it returns":
            job.give_up()
        go.set()
    assert job.finished.acquire(blocking=False)
    assert unwanted == ([] if when == "afterwards" else ["value"])
    job.give_up()
    assert unwanted == ["value"]
    assert job.settled.acquire(blocking=False)


async def test_an_event_loop_that_ends_leaves_nobody_waiting() -> None:
    job, never = Job(anyio.sleep_forever), Job(anyio.sleep_forever)
    async with anyio.create_task_group() as tasks:
        job.start(tasks)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    never.refuse()
    for one in (job, never):
        assert one.finished.acquire(blocking=False)
        assert isinstance(one.error, RuntimeError)
