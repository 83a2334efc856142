"""`MemoryStore`: what it forgets, and when. What all stores do is in test_store.py."""

from contextlib import suppress

import anyio
import pytest

from chanlink.patterns.jobs.memory import MemoryStore
from chanlink.patterns.jobs.store import Again, Done, End, Failed, NewJob
from tests.patience import PATIENCE, processor_time

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


async def done(store: MemoryStore, *ids: str) -> None:
    await store.add([NewJob(job_id, b"job", False) for job_id in ids])
    begun = await store.begin(len(ids))
    assert [job.id for job in begun] == [*ids]
    assert all(await store.end([End(job.id, job.attempt, Done(b"done")) for job in begun]))


async def test_ended_jobs_are_forgotten_when_there_are_too_many() -> None:
    store = MemoryStore(most_ended=2)
    await done(store, "a", "b", "c")
    assert [known and known.id for known in await store.find(["a", "b", "c"])] == [None, "b", "c"]
    assert (await store.counts())["done"] == 2


async def test_ended_jobs_are_forgotten_when_they_are_too_old() -> None:
    store = MemoryStore(keep=0)
    await done(store, "a")
    await anyio.sleep(0.001)
    assert await store.find(["a"]) == [None]


async def test_a_delayed_job_is_a_change_when_its_time_has_come() -> None:
    store = MemoryStore()
    await store.add([NewJob("a", b"job", False), NewJob("b", b"job", False)])
    changes = store.changes()
    await store.begin(2)
    await store.end([End("a", 1, Again(3600)), End("b", 1, Again(0.01))])
    assert await store.begin(1) == []
    with anyio.fail_after(PATIENCE):
        assert (await anext(changes)).jobs
    assert [(job.id, job.attempt) for job in await store.begin(2)] == [("b", 2)]
    await changes.aclose()  # type: ignore[attr-defined]


async def test_what_was_retried_is_not_due_at_the_time_of_an_older_delay() -> None:
    store = MemoryStore()
    await store.add([NewJob("a", b"job", False)])
    await store.begin(1)
    await store.end([End("a", 1, Again(0.01))])
    await store.cancel(["a"])
    await store.retry(["a"])
    await store.begin(1)
    await store.end([End("a", 2, Again(3600))])
    await anyio.sleep(0.02)
    assert await store.begin(1) == []
    assert (await store.counts())["delayed"] == 1


async def test_delayed_jobs_that_were_cancelled_leave_nothing_behind() -> None:
    store = MemoryStore(most_ended=0)
    await store.add([NewJob("kept", b"job", False)])
    await store.begin(1)
    await store.end([End("kept", 1, Again(3600))])
    for number in range(1000):
        job_id = str(number)
        await store.add([NewJob(job_id, b"job", False)])
        await store.begin(1)
        await store.end([End(job_id, 1, Again(24 * 3600.0))])
        await store.cancel([job_id])
    assert len(store._delayed) < 200
    assert "kept" in [job_id for _, job_id in store._delayed]


async def test_failed_jobs_come_in_the_order_of_their_ids() -> None:
    store = MemoryStore()
    await store.add([NewJob(job_id, b"job", False) for job_id in "cabd"])
    for job in await store.begin(3):
        await store.end([End(job.id, job.attempt, Failed("bad", job.id))])
    await store.cancel(["d"])
    assert [known.id for known in await store.failed("", 2)] == ["a", "b"]
    assert [known.id for known in await store.failed("b", 9)] == ["c"]


async def begin_behind(others: int) -> float:
    """The processor time in which fifty jobs begin, behind so many that don't wait any more."""
    store, ids = MemoryStore(), [str(n) for n in range(others)]
    await store.add([NewJob(job_id, b"", False) for job_id in [*ids, *(f"behind-{n}" for n in range(150))]])
    await store.cancel(ids)

    def begin_some() -> None:
        for _ in range(50):
            with suppress(StopIteration):  # it never waits
                store.begin(1).send(None)

    return processor_time(begin_some)


async def test_to_begin_a_job_costs_the_same_behind_many_that_have_left() -> None:
    assert await begin_behind(100_000) < 5 * await begin_behind(10)


def test_its_bounds_are_numbers() -> None:
    for wrong in ("x", None):
        with pytest.raises(TypeError, match="keep"):
            MemoryStore(keep=wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="most_ended"):
            MemoryStore(most_ended=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 0"):
        MemoryStore(keep=-1)
    with pytest.raises(ValueError, match="at least 0"):
        MemoryStore(most_ended=-1)
