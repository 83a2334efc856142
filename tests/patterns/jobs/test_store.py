"""What a queue needs of its store, of each store that there is."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, get_args

import anyio
import pytest
from anyio import create_task_group

from chanlink.patterns.jobs.store import (
    CANCELLED,
    STATES,
    Again,
    Begun,
    Done,
    End,
    Failed,
    Known,
    NewJob,
    State,
    Store,
)
from tests.patience import PATIENCE

from .stores import PLACES, Place

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]

VERBS = {"add", "begin", "renew", "end", "cancel", "changes"}
QUESTIONS = {"find", "retry", "counts", "failed"}
LATER = 3600.0
NO_SUCH_PAGE = Failed("no-such-page", "it ends at 16")


def test_six_verbs_and_four_questions() -> None:
    assert {name for name in vars(Store) if not name.startswith("_")} == VERBS | QUESTIONS | {"lease"}
    assert get_args(State) == STATES


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with PLACES[request.param](request) as place:
        yield place


@asynccontextmanager
async def opened(place: Place, **options: Any) -> AsyncIterator[Store]:
    with anyio.fail_after(PATIENCE):
        async with place.store(**options) as store:
            yield store


@pytest.fixture
async def store(place: Place) -> AsyncIterator[Store]:
    """A new one. It is entered and left in one task: a fixture's own."""
    async with opened(place) as store:
        yield store


async def add(store: Store, *ids: str) -> Sequence[Known]:
    return await store.add([NewJob(id, f"payload of {id}".encode(), False) for id in ids])


async def begin(store: Store, most: int = 100) -> list[tuple[str, int]]:
    """Ids and attempts."""
    return [(job.id, job.attempt) for job in await store.begin(most)]


async def end(store: Store, id: str, attempt: int, outcome: Done | Failed | Again) -> bool:
    [counts] = await store.end([End(id, attempt, outcome)])
    return counts


async def find(store: Store, id: str) -> Known | None:
    [known] = await store.find([id])
    return known


async def counts(store: Store) -> dict[State, int]:
    """Those that are not 0."""
    found = await store.counts()
    assert set(found) == set(STATES)
    return {state: count for state, count in found.items() if count}


def known(id: str, state: State, attempt: int, outcome: Done | Failed | None = None, *, new: bool = False) -> Known:
    return Known(id, state, attempt, outcome, None, new)


# --- jobs are brought and begun -------------------------------------------------------------------


async def test_jobs_begin_in_the_order_in_which_they_came(store: Store) -> None:
    assert await add(store, "b", "a") == [known("b", "waiting", 0, new=True), known("a", "waiting", 0, new=True)]
    await add(store, "c")
    assert await begin(store, 2) == [("b", 1), ("a", 1)]
    assert await begin(store, 2) == [("c", 1)]
    assert await begin(store, 2) == []


async def test_a_job_has_the_payload_that_it_was_brought_with(store: Store) -> None:
    payloads = [b"", b"\0", b"\xc1\xff", bytes(range(256)), bytes(3_000_000)]
    await store.add([NewJob(str(n), payload, n == 1) for n, payload in enumerate(payloads)])
    assert await store.begin(100) == [Begun(str(n), payload, 1, n == 1) for n, payload in enumerate(payloads)]


@pytest.mark.parametrize("id", ["a", "ä€𝄞", "nul\0nul", "'; DROP TABLE jobs; --", "%_\\", " ", "x" * 200, "𝄞" * 200])
async def test_an_id_is_any_text(store: Store, id: str) -> None:
    assert await add(store, id) == [known(id, "waiting", 0, new=True)]
    assert await begin(store) == [(id, 1)]
    assert await end(store, id, 1, NO_SUCH_PAGE)
    assert await store.failed("", 10) == [known(id, "failed", 1, NO_SUCH_PAGE)]
    assert await store.retry([id]) == [known(id, "waiting", 1)]
    assert await store.cancel([id]) == await store.find([id]) == [known(id, "failed", 1, Failed(CANCELLED, ""))]


async def test_ids_that_look_alike_are_different_ones(store: Store) -> None:
    ids = ["a", "A", "a ", "a\0", "á", "a\u0301"]
    assert [one.new for one in await add(store, *ids)] == [True] * len(ids)
    assert [id for id, _ in await begin(store)] == ids


async def test_a_job_whose_id_is_known_stands_as_it_is(store: Store) -> None:
    await add(store, "a")
    assert await store.add([NewJob("a", b"other", False)]) == [known("a", "waiting", 0)]
    [job] = await store.begin(5)
    assert job == Begun("a", b"payload of a", 1, False)
    assert await add(store, "a") == [known("a", "running", 1)]
    await end(store, "a", 1, Done(b"result"))
    assert await add(store, "a") == [known("a", "done", 1, Done(b"result"))]
    assert await begin(store) == []


async def test_an_id_may_be_twice_in_a_call(store: Store) -> None:
    first, second, other = await store.add(
        [NewJob("a", b"1", False), NewJob("a", b"2", False), NewJob("b", b"3", False)]
    )
    assert (first.new, second.new, other.new) == (True, False, True)
    assert [job.payload for job in await store.begin(5)] == [b"1", b"3"]


async def test_calls_about_nothing_have_no_answers(store: Store) -> None:
    for verb in (store.add, store.end, store.cancel, store.find, store.retry):
        assert list(await verb([])) == []
    assert list(await store.begin(0)) == []


async def test_what_is_begun_by_several_at_the_same_time_begins_once(store: Store) -> None:
    ids = [str(n) for n in range(60)]
    begun: list[tuple[str, int]] = []

    async def worker() -> None:
        while some := await begin(store, 7):
            assert len(some) <= 7
            begun.extend(some)

    await add(store, *ids)
    async with create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(worker)
    assert sorted(begun) == sorted((id, 1) for id in ids)


async def test_what_is_brought_by_several_at_the_same_time_is_new_to_one(store: Store) -> None:
    found: list[bool] = []

    async def bring() -> None:
        found.extend(one.new for one in await add(store, "a", "b"))

    async with create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(bring)
    assert found.count(True) == 2
    assert await counts(store) == {"waiting": 2}


# --- outcomes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outcome", [Done(b""), Done(bytes(100_000)), NO_SUCH_PAGE, Failed("x", ""), Failed("x", "\0ä")]
)
async def test_an_outcome_is_what_was_said(store: Store, outcome: Done | Failed) -> None:
    await add(store, "a", "b")
    await begin(store)
    assert await store.end([End("a", 1, outcome), End("b", 1, Done(b"b"))]) == [True, True]
    state: State = "done" if isinstance(outcome, Done) else "failed"
    assert await store.find(["b", "a", "c"]) == [known("b", "done", 1, Done(b"b")), known("a", state, 1, outcome), None]
    assert await begin(store) == []


@pytest.mark.parametrize("first", [Done(b"1"), NO_SUCH_PAGE])
@pytest.mark.parametrize("second", [Done(b"2"), Failed("other", ""), Again(0.0), Again(5.0)])
async def test_the_first_outcome_counts_and_a_second_one_does_not(store: Store, first: Any, second: Any) -> None:
    await add(store, "a")
    await begin(store)
    assert await end(store, "a", 1, first)
    before = await find(store, "a")
    assert not await end(store, "a", 1, second)
    assert await find(store, "a") == before
    assert await end(store, "a", 1, first), "the same again, as after a store that has failed"


async def test_the_outcome_of_an_older_attempt_counts_if_it_is_the_first(store: Store) -> None:
    await add(store, "a")
    assert await begin(store) == [("a", 1)]
    assert await end(store, "a", 1, Again(0.0))
    assert await begin(store) == [("a", 2)]
    assert await end(store, "a", 1, Done(b"same"))
    assert await find(store, "a") == known("a", "done", 2, Done(b"same"))
    assert not await end(store, "a", 2, Done(b"same")), "the same words, of another attempt"
    assert not await end(store, "a", 2, NO_SUCH_PAGE)
    assert await end(store, "a", 1, Done(b"same"))


async def test_an_outcome_counts_also_while_the_job_waits_for_its_next_attempt(store: Store) -> None:
    await add(store, "a", "b")
    await begin(store)
    await store.end([End("a", 1, Again(0.0)), End("b", 1, Again(LATER))])
    assert await store.end([End("a", 1, Done(b"a")), End("b", 1, NO_SUCH_PAGE)]) == [True, True]
    assert await begin(store) == []
    assert await counts(store) == {"done": 1, "failed": 1}


async def test_of_two_outcomes_in_a_call_the_first_counts(store: Store) -> None:
    await add(store, "a")
    await begin(store)
    assert await store.end([End("a", 1, Done(b"1")), End("a", 1, Done(b"2")), End("a", 1, Done(b"1"))]) == [
        True,
        False,
        True,
    ]
    assert await find(store, "a") == known("a", "done", 1, Done(b"1"))


async def test_of_outcomes_that_come_at_the_same_time_one_counts(store: Store) -> None:
    await add(store, "a")
    await begin(store)
    counted: list[bytes] = []

    async def say(result: bytes) -> None:
        if await end(store, "a", 1, Done(result)):
            counted.append(result)

    async with create_task_group() as tasks:
        for n in range(10):
            tasks.start_soon(say, bytes([n]))
    [result] = counted
    assert await find(store, "a") == known("a", "done", 1, Done(result))


async def test_an_unknown_job_has_no_outcome(store: Store) -> None:
    assert await store.end([End("a", 1, outcome) for outcome in (Done(b""), NO_SUCH_PAGE, Again(0.0))]) == [False] * 3
    assert await store.find(["a"]) == [None]


# --- another attempt ------------------------------------------------------------------------------


async def test_a_job_that_comes_back_waits_behind_the_others(store: Store) -> None:
    await add(store, "a", "b")
    assert await begin(store, 1) == [("a", 1)]
    assert await end(store, "a", 1, Again(0.0))
    assert await find(store, "a") == known("a", "waiting", 1)
    await add(store, "c")
    [b, a, c] = await store.begin(5)
    assert (b.id, a, c.id) == ("b", Begun("a", b"payload of a", 2, False), "c")


async def test_only_the_newest_attempt_can_be_followed_by_another_one(store: Store) -> None:
    await add(store, "a")
    await begin(store)
    assert not await end(store, "a", 2, Again(0.0))
    assert await end(store, "a", 1, Again(0.0))
    assert not await end(store, "a", 1, Again(1.0)), "it is not running, and this is not what was said before"
    await begin(store)
    assert not await end(store, "a", 1, Again(1.0))
    assert await find(store, "a") == known("a", "running", 2)


@pytest.mark.parametrize("after", [0.0, 0.25, LATER])
async def test_what_was_counted_counts_again(store: Store, after: float) -> None:
    await add(store, "a")
    await begin(store)
    assert await end(store, "a", 1, Again(after))
    before = await counts(store)
    assert await end(store, "a", 1, Again(after))
    assert await counts(store) == before


async def test_what_was_counted_counts_again_also_when_the_next_attempt_has_begun(store: Store) -> None:
    await add(store, "a")
    await begin(store)
    assert await end(store, "a", 1, Again(0.0))
    assert await begin(store) == [("a", 2)]
    assert await end(store, "a", 1, Again(0.0))
    assert await find(store, "a") == known("a", "running", 2)


async def test_a_delayed_job_waits_until_its_time_has_come_and_that_is_told(store: Store) -> None:
    await add(store, "soon", "later")
    await begin(store)
    assert await store.end([End("later", 1, Again(LATER)), End("soon", 1, Again(0.2))]) == [True, True]
    assert await counts(store) == {"delayed": 2}
    assert await find(store, "soon") == known("soon", "delayed", 1)
    assert await begin(store) == [], "before its time"
    begun: list[tuple[str, int]] = []
    async with aclosing(store.changes()) as changes:  # type: ignore[type-var]
        while not begun:
            assert (await anext(changes)).jobs
            begun = await begin(store)
    assert begun == [("soon", 2)]
    assert await counts(store) == {"delayed": 1, "running": 1}


async def test_whoever_reads_the_changes_already_is_told_of_what_is_delayed_now(store: Store) -> None:
    await add(store, "a")
    await begin(store)
    begun: list[tuple[str, int]] = []

    async def read() -> None:
        async with aclosing(store.changes()) as changes:  # type: ignore[type-var]
            async for _ in changes:
                begun.extend(await begin(store))
                if begun:
                    return

    async with create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.sleep(0.05)
        assert await end(store, "a", 1, Again(0.1))
    assert begun == [("a", 2)]


async def test_nothing_is_told_of_what_the_verbs_have_returned(store: Store) -> None:
    ended: list[str] = []

    async def read() -> None:
        async with aclosing(store.changes()) as changes:  # type: ignore[type-var]
            async for change in changes:
                ended.extend([*change.ended, *change.progressed])

    async with create_task_group() as tasks:
        tasks.start_soon(read)
        await add(store, "a", "b", "c")
        await begin(store)
        await store.renew({"a": b"half"})
        await store.end([End("a", 1, Done(b"a")), End("b", 1, Again(0.0))])
        await store.cancel(["c"])
        await anyio.sleep(0.3)
        tasks.cancel_scope.cancel()
    assert ended == []


# --- cancelled, and tried again by people ---------------------------------------------------------


async def test_what_has_no_outcome_is_cancelled(store: Store) -> None:
    await add(store, "delayed", "done", "running", "waiting")
    await begin(store, 3)
    await store.end([End("delayed", 1, Again(LATER)), End("done", 1, Done(b"x"))])
    ids = ["waiting", "delayed", "running", "done", "unknown", "waiting"]
    cancelled = Failed(CANCELLED, "")
    expected = [
        known("waiting", "failed", 0, cancelled),
        known("delayed", "failed", 1, cancelled),
        known("running", "failed", 1, cancelled),
        known("done", "done", 1, Done(b"x")),
        None,
        known("waiting", "failed", 0, cancelled),
    ]
    assert await store.cancel(ids) == expected
    assert await store.cancel(ids) == await store.find(ids) == expected
    assert await begin(store) == []
    assert await counts(store) == {"done": 1, "failed": 3}


async def test_nothing_counts_of_a_job_that_was_cancelled(store: Store) -> None:
    await add(store, "a")
    await begin(store)
    await store.cancel(["a"])
    for outcome in (Done(b""), NO_SUCH_PAGE, Failed(CANCELLED, ""), Again(0.0)):
        assert not await end(store, "a", 1, outcome)
    assert await find(store, "a") == known("a", "failed", 1, Failed(CANCELLED, ""))


async def test_what_has_failed_waits_again_and_its_attempts_are_counted_anew(store: Store) -> None:
    await add(store, "a", "b", "c")
    await begin(store, 1)
    await end(store, "a", 1, Again(0.0))
    await begin(store)
    assert await end(store, "a", 2, NO_SUCH_PAGE)
    await store.cancel(["b"])
    assert await store.retry(["a", "b", "a"]) == [
        known("a", "waiting", 2),
        known("b", "waiting", 1),
        known("a", "waiting", 2),
    ]
    assert await store.failed("", 10) == []
    begun = {job.id: job for job in await store.begin(10)}
    assert begun == {
        "a": Begun("a", b"payload of a", 3, attached=False, since=2),
        "b": Begun("b", b"payload of b", 2, attached=False, since=1),
    }
    assert [begun[id].tries for id in "ab"] == [1, 1]
    assert not await end(store, "a", 1, Again(0.0)), "an old attempt does not speak for a new one"
    assert await end(store, "a", 3, Again(0.0))
    [again] = await store.begin(10)
    assert (again.attempt, again.since, again.tries) == (4, 2, 2)
    assert await end(store, "a", 4, Done(b"at last"))
    assert await find(store, "a") == known("a", "done", 4, Done(b"at last"))


async def test_other_jobs_are_not_tried_again(store: Store) -> None:
    await add(store, "done", "delayed", "running", "waiting")
    await begin(store, 3)
    await store.end([End("done", 1, Done(b"x")), End("delayed", 1, Again(LATER))])
    before = await counts(store)
    assert await store.retry(["done", "delayed", "running", "waiting", "unknown"]) == [
        known("done", "done", 1, Done(b"x")),
        known("delayed", "delayed", 1),
        known("running", "running", 1),
        known("waiting", "waiting", 0),
        None,
    ]
    assert await counts(store) == before == dict.fromkeys(("done", "delayed", "running", "waiting"), 1)


async def test_those_that_have_failed_are_listed_by_id_page_by_page(store: Store) -> None:
    ids = ["b", "a", "c", "ä", "Z", "cancelled", "done"]
    await add(store, *ids)
    await begin(store)
    await store.cancel(["cancelled"])
    await end(store, "done", 1, Done(b""))
    await store.end([End(id, 1, Failed("no", id)) for id in ids])
    page = await store.failed("", 3)
    assert page == [known(id, "failed", 1, Failed("no", id)) for id in ("Z", "a", "b")]
    assert [one.id for one in await store.failed("b", 3)] == ["c", "ä"]
    assert await store.failed("ä", 3) == []
    assert [one.id for one in await store.failed("aa", 1)] == ["b"], "from behind an id that nobody has"


# --- what is old ----------------------------------------------------------------------------------


async def test_the_oldest_are_forgotten_when_too_many_have_ended(place: Place) -> None:
    async with opened(place, most_ended=10) as store:
        for n in range(30):
            await add(store, f"{n:02}")
            await begin(store)
            await end(store, f"{n:02}", 1, Done(b"") if n % 2 else NO_SUCH_PAGE)
        await add(store, "waiting")
        await until_forgotten(store, 10)
        left = [one.id for one in await store.find([f"{n:02}" for n in range(30)]) if one is not None]
        assert left == [f"{n:02}" for n in range(20, 30)]
        assert await counts(store) == {"waiting": 1, "done": 5, "failed": 5}
        assert [one.new for one in await add(store, "00")] == [True]


async def test_those_that_have_ended_long_ago_are_forgotten(place: Place) -> None:
    async with opened(place, keep=0.1) as store:
        await add(store, "a", "b", "c", "d")
        await begin(store, 3)
        await store.end([End("a", 1, Done(b"")), End("b", 1, NO_SUCH_PAGE), End("c", 1, Again(LATER))])
        await store.cancel(["d"])
        await until_forgotten(store, 0)
        assert await store.find(["a", "b", "d"]) == [None] * 3
        assert await find(store, "c") == known("c", "delayed", 1)


async def until_forgotten(store: Store, left: int) -> None:
    """The changes are read, as a queue does."""

    async def read() -> None:
        async for _ in store.changes():
            pass

    async with create_task_group() as tasks:
        tasks.start_soon(read)
        while True:
            found = await counts(store)
            if found.get("done", 0) + found.get("failed", 0) <= left:
                break
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


# --- stores that end, and others after them -------------------------------------------------------


async def test_another_store_at_the_same_place_has_the_same_jobs(place: Place) -> None:
    if not place.outlives:
        pytest.skip("what is in memory ends with it")
    ids = ["again", "cancelled", "delayed", "done", "failed", "running", "waiting"]
    async with opened(place) as store:
        await add(store, *ids)
        await begin(store, 6)
        await store.end([End("again", 1, Again(0.0)), End("delayed", 1, Again(LATER))])
        await store.end([End("done", 1, Done(b"result")), End("failed", 1, NO_SUCH_PAGE)])
        await store.cancel(["cancelled"])
        before = await store.find(ids)
        counted = await counts(store)
    async with opened(place) as store:
        before = [known("running", "waiting", 1) if one and one.id == "running" else one for one in before]
        counted = {**counted, "running": 0, "waiting": 3}
        assert await store.find(ids) == before
        assert await counts(store) == {state: count for state, count in counted.items() if count}
        assert [one.id for one in await store.failed("", 10)] == ["failed"]
        assert await store.end([End("done", 1, Done(b"result")), End("done", 1, Done(b"other"))]) == [True, False]
        assert await end(store, "again", 1, Again(0.0)), "what was counted before counts again"


async def test_attempts_of_a_queue_that_is_gone_are_followed_by_the_next_ones(place: Place) -> None:
    if not place.outlives:
        pytest.skip("what is in memory ends with it")
    async with opened(place) as store:
        await add(store, "a", "b")
        assert await begin(store, 1) == [("a", 1)]
    async with opened(place) as store:
        assert await begin(store) == [("b", 1), ("a", 2)], "behind those that waited"
        assert await end(store, "a", 1, Done(b"of the one that was given up")), "it knows nothing of it, and is done"
        assert not await end(store, "a", 2, Done(b"too late"))


async def test_who_is_cancelled_leaves_a_store_that_goes_on(store: Store) -> None:
    ids = [str(n) for n in range(50)]

    async def bring(id: str) -> None:
        await add(store, id)

    for number, id in enumerate(ids):
        async with create_task_group() as tasks:
            tasks.start_soon(bring, id)
            for _ in range(number % 5):
                await anyio.sleep(0)
            tasks.cancel_scope.cancel()
    kept = [one.id for one in await store.find(ids) if one is not None]
    assert [id for id, _ in await begin(store)] == kept
    assert [one.id for one in await add(store, *ids)] == ids
    expected = {"running": len(kept), "waiting": 50 - len(kept)}
    assert await counts(store) == {state: count for state, count in expected.items() if count}
