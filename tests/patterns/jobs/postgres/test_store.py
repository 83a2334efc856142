"""Several stores of one queue, and a database that comes and goes."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from anyio import create_task_group

from chanlink.errors import ConfigError, StoreError
from chanlink.patterns.jobs.postgres import store as module
from chanlink.patterns.jobs.postgres import watching
from chanlink.patterns.jobs.postgres.store import PostgresStore
from chanlink.patterns.jobs.store import Again, Changes, Done, End, NewJob
from tests.patience import PATIENCE
from tests.postgres import Server, new_server

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

Opened = Callable[..., Any]


@pytest.fixture
def opened(postgres: Server, queue: str) -> Opened:
    """A store of the queue of this test, on any server."""

    @asynccontextmanager
    async def opened(server: Server = postgres, conninfo: str = "", **options: Any) -> AsyncIterator[PostgresStore]:
        with anyio.fail_after(PATIENCE):
            async with PostgresStore(f"{server.conninfo} {conninfo}", queue, **options) as store:
                yield store

    return opened


async def add(store: PostgresStore, *ids: str, attached: bool = False) -> None:
    await store.add([NewJob(id, b"", attached) for id in ids])


async def begin(store: PostgresStore, most: int = 100) -> list[tuple[str, int]]:
    return [(job.id, job.attempt) for job in await store.begin(most)]


async def end(store: PostgresStore, id: str, attempt: int, outcome: Done | Again = Done(b"")) -> bool:  # noqa: B008
    [counts] = await store.end([End(id, attempt, outcome)])
    return counts


async def news(store: PostgresStore, wanted: Callable[[Changes], object]) -> None:
    """Until it comes."""
    async with aclosing(store.changes()) as changes:  # type: ignore[type-var]
        async for change in changes:
            if wanted(change):
                return


async def begin_when_told(store: PostgresStore, most: int) -> list[tuple[str, int]]:
    """As soon as there is something to begin."""
    async with aclosing(store.changes()) as changes:  # type: ignore[type-var]
        async for change in changes:
            if change.jobs and (begun := await begin(store, most)):
                return begun
    raise AssertionError("changes have no end")


# --- several stores -------------------------------------------------------------------------------


async def test_what_one_store_does_the_other_one_is_told(opened: Opened) -> None:
    async with opened() as one, opened() as other:
        await add(one, "a")
        await news(other, lambda change: change.jobs)
        assert await begin(other) == [("a", 1)]
        await news(one, lambda change: "a" in change.progressed)
        await other.renew({"a": b"half"})
        await news(one, lambda change: "a" in change.progressed)
        assert [known.progress for known in await one.find(["a"])] == [b"half"]
        assert await end(other, "a", 1)
        await news(one, lambda change: "a" in change.ended)
        assert [known.outcome for known in await one.find(["a"])] == [Done(b"")]


async def test_others_are_told_at_once(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when they look for themselves."""
    monkeypatch.setattr(watching, "LOOK", 3600.0)
    async with opened() as one, opened() as other:
        await add(one, "a", "b")
        await news(other, lambda change: change.jobs)
        await begin(other)
        await end(other, "a", 1)
        await news(one, lambda change: "a" in change.ended)
        await one.cancel(["b"])
        await news(other, lambda change: "b" in change.ended)
        await one.retry(["b"])
        await news(other, lambda change: change.jobs)


async def test_what_is_delayed_is_told_in_time(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK", 3600.0)
    async with opened() as one, opened() as other:
        await add(one, "a")
        await begin(one)
        await end(one, "a", 1, Again(0.3))
        await news(one, lambda change: change.jobs)
        await news(other, lambda change: change.jobs)


async def test_several_stores_begin_each_job_once(opened: Opened) -> None:
    ids = [f"{n:03}" for n in range(300)]
    begun: list[tuple[str, int]] = []

    async def work(store: PostgresStore) -> None:
        while len(begun) < len(ids):
            jobs = await begin(store, 7)
            begun.extend(jobs)
            assert all([await end(store, id, attempt) for id, attempt in jobs])

    async with opened() as one, opened() as two, opened() as three:
        await add(one, *ids)
        async with create_task_group() as tasks:
            for store in (one, two, three):
                tasks.start_soon(work, store)
        assert sorted(begun) == [(id, 1) for id in ids]
        assert (await two.counts())["done"] == len(ids)


async def test_of_outcomes_that_two_stores_have_one_counts(opened: Opened) -> None:
    async with opened() as one, opened() as other:
        await add(one, *"abcdefgh")
        await begin(one)
        counted: list[bool] = []

        async def say(store: PostgresStore, ids: str, result: bytes) -> None:
            counted.extend(await store.end([End(id, 1, Done(result)) for id in ids]))

        async with create_task_group() as tasks:
            tasks.start_soon(say, one, "abcdefgh", b"one")
            tasks.start_soon(say, other, "hgfedcba", b"other")
        assert sorted(counted) == [False] * 8 + [True] * 8


async def test_an_attached_job_begins_where_it_was_added_last(opened: Opened) -> None:
    async with opened() as one:
        async with opened() as other:
            await add(one, "a", "b", attached=True)
            assert await begin(other) == []
            await add(other, "b", attached=True)
            assert await begin(other) == [("b", 1)]
            assert await begin(one) == [("a", 1)]
            assert await end(one, "a", 1, Again(0.0))
            assert await begin(other) == []
            await add(other, "a", attached=True)
            assert await begin(one) == []
        assert sorted(await begin(one)) == [("a", 2), ("b", 2)], "its home is left"


async def test_what_ran_where_a_queue_was_left_goes_on_at_once(opened: Opened) -> None:
    async with opened(lease=3600.0) as one:
        async with opened(lease=3600.0) as other:
            await add(other, "a")
            await begin(other)
        assert await begin_when_told(one, 1) == [("a", 2)]


async def test_two_queues_of_one_database_know_nothing_of_each_other(postgres: Server, queue: str) -> None:
    async with PostgresStore(postgres.conninfo, queue) as one, PostgresStore(postgres.conninfo, f"{queue}-2") as other:
        await add(one, "a")
        assert await begin(other) == []
        assert await other.find(["a"]) == [None]


# --- processes that die, or are stopped -----------------------------------------------------------


@contextmanager
def process(server: Server, queue: str, lease: float) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", process.__module__.replace("test_store", "process")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*command, server.conninfo, queue, str(lease)], text=True, **pipes) as running:  # type: ignore[call-overload]
        try:
            yield running
        finally:
            running.kill()


async def line(running: "subprocess.Popen[str]") -> str:
    assert running.stdout is not None
    return (await anyio.to_thread.run_sync(running.stdout.readline)).strip()


async def renewing(store: PostgresStore) -> None:
    while True:
        await store.renew({})
        await anyio.sleep(store.lease / 3)


LEASE = 3.0
# What a server or a process does is the same on all of them, and it takes seconds.
one_loop = pytest.mark.parametrize("anyio_backend", ["asyncio"])
two_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@one_loop
@pytest.mark.slow
async def test_the_jobs_of_a_process_that_was_killed_come_back(postgres: Server, queue: str, opened: Opened) -> None:
    async with opened(lease=LEASE) as store, create_task_group() as tasks:
        tasks.start_soon(renewing, store)
        await add(store, "a", "b")
        with process(postgres, queue, LEASE) as other:
            assert [await line(other) for _ in range(3)] == ["a 1", "b 1", "that is all"]
            other.kill()
            assert await begin_when_told(store, 100) == [("a", 2), ("b", 2)]
        tasks.cancel_scope.cancel()


@one_loop
@pytest.mark.slow
async def test_a_process_that_was_stopped_goes_on_and_its_outcome_counts_if_it_is_the_first(
    postgres: Server, queue: str, opened: Opened
) -> None:
    async with opened(lease=LEASE) as store, create_task_group() as tasks:
        tasks.start_soon(renewing, store)
        await add(store, "a", "b", "c")
        with process(postgres, queue, LEASE) as other:
            assert [await line(other) for _ in range(4)] == ["a 1", "b 1", "c 1", "that is all"]
            other.send_signal(signal.SIGSTOP)
            assert await begin_when_told(store, 2) == [("a", 2), ("b", 2)]
            assert await end(store, "a", 2)
            other.send_signal(signal.SIGCONT)
            assert other.stdin is not None
            for id, counts in (("a", "False"), ("b", "True"), ("c", "True")):
                other.stdin.write(f"{id} 1\n")
                other.stdin.flush()
                assert await line(other) == counts
        assert not await end(store, "b", 2)
        assert (await store.counts())["done"] == 3
        tasks.cancel_scope.cancel()


# --- a database that comes and goes ---------------------------------------------------------------


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A server that may be stopped."""
    with new_server() as server:
        yield server


async def again(verb: Callable[[], Any]) -> Any:
    """As a queue does: until the store can do it."""
    while True:
        with suppress(StoreError):
            return await verb()
        await anyio.sleep(0.02)


@one_loop
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["immediate", "fast"])
async def test_a_server_that_is_started_anew_goes_on_with_all_that_was_answered(
    own: Server, opened: Opened, mode: str
) -> None:
    stored: list[str] = []
    errors: list[StoreError] = []

    async def bring(store: PostgresStore, worker: int) -> None:
        for n in range(1_000_000):
            id = f"{worker}-{n}"
            try:
                await add(store, id)
            except StoreError as exc:
                errors.append(exc)
                await again(lambda id=id: add(store, id))  # type: ignore[misc]
            stored.append(id)

    async with opened(own) as store:
        async with create_task_group() as tasks:
            for worker in range(4):
                tasks.start_soon(bring, store, worker)
            await until(lambda: len(stored) > 50)
            await anyio.to_thread.run_sync(own.stop, mode)
            before = len(stored)
            await until(lambda: len(errors) > 0)
            await anyio.to_thread.run_sync(own.start)
            await until(lambda: len(stored) > before + 50)
            tasks.cancel_scope.cancel()
        assert None not in await store.find(stored)
        ids = {id for id, _ in await begin(store, 10**6)}
        assert set(stored) <= ids
        await news_after_end(store, opened(own))
    assert all("\n" not in str(error) for error in errors)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await anyio.sleep(0.01)


async def news_after_end(store: PostgresStore, opening: Any) -> None:
    """What others do is seen again."""
    async with opening as other, create_task_group() as tasks:
        tasks.start_soon(news, store, lambda change: "0-0" in change.ended)
        await end(other, "0-0", 1)


@two_loops
@pytest.mark.slow
async def test_connections_that_are_cut_are_made_anew(postgres: Server, queue: str, opened: Opened) -> None:
    """All of them, again and again, in the middle of everything; but only when there was progress since the last time:
    a machine may be too busy to connect between two cuts."""
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{queue}'"
    done: list[str] = []

    async def work(store: PostgresStore) -> None:
        while len(done) < 40:
            with suppress(StoreError):
                await add(store, str(len(done)))
            for id, attempt in await again(lambda: begin(store)):
                assert await again(lambda id=id, attempt=attempt: end(store, id, attempt))  # type: ignore[misc]
                done.append(id)

    def cut_all() -> None:
        with psycopg.connect(postgres.conninfo, autocommit=True) as other:
            other.execute(cut)

    async with opened(conninfo=f"application_name={queue}", lease=1.0) as store, create_task_group() as tasks:
        tasks.start_soon(renewing_through_errors, store)
        async with create_task_group() as workers:
            workers.start_soon(work, store)
            while (before := len(done)) < 40:
                await anyio.to_thread.run_sync(cut_all)
                await until(lambda before=before: len(done) > before)  # type: ignore[misc]
        # The last cut may be noticed only now.
        while {state for state, count in (await again(store.counts)).items() if count} != {"done"}:
            for id, attempt in await again(lambda: begin(store)):
                assert await end(store, id, attempt), "an attempt whose begin was not answered comes back"
        tasks.cancel_scope.cancel()


async def renewing_through_errors(store: PostgresStore) -> None:
    while True:
        await again(lambda: store.renew({}))
        await anyio.sleep(store.lease / 3)


def processes(server: Server) -> list[int]:
    children = Path(f"/proc/{server.pid()}/task/{server.pid()}/children").read_text().split()
    return [server.pid(), *map(int, children)]


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    stopped = processes(server)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


@two_loops
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc")
async def test_a_server_that_does_not_answer_is_an_error_after_the_lease(own: Server, opened: Opened) -> None:
    async with opened(own, lease=0.5) as store:
        await add(store, "a")
        with frozen(own), pytest.raises(StoreError):
            await add(store, "b")
        await again(lambda: add(store, "b"))
        assert len(await begin(store)) == 2


@two_loops
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc")
async def test_leaving_does_not_wait_for_a_server_that_does_not_answer(
    own: Server, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", 0.1)
    with ExitStack() as stack:
        async with opened(own, lease=3600.0, conninfo="connect_timeout=1") as store:
            await add(store, "a")
            stack.enter_context(frozen(own))
    async with opened(own) as store:
        assert await store.counts() == {"waiting": 1, "delayed": 0, "running": 0, "done": 0, "failed": 0}


async def test_a_database_that_is_not_there_is_an_error_in_one_line(queue: str) -> None:
    store = PostgresStore("host=/nowhere password=secret", queue)
    with pytest.raises(StoreError, match="can't be reached") as caught:
        async with store:
            pass
    assert "secret" not in str(caught.value)


async def test_tables_of_another_version_are_not_used(postgres: Server, queue: str) -> None:
    async with PostgresStore(postgres.conninfo, queue):
        pass
    with psycopg.connect(postgres.conninfo) as connection:
        connection.execute(f'UPDATE "chanlink_queue_{queue}".about SET version = 7')
    with pytest.raises(ConfigError, match="version 7"):
        async with PostgresStore(postgres.conninfo, queue):
            pass


@pytest.mark.parametrize(
    ("options", "says"),
    [({"lease": 0}, "lease"), ({"keep": -1.0}, "keep"), ({"most_ended": -1}, "most_ended"), ({"queue": "A"}, "a-z")],
)
def test_what_makes_no_sense_is_an_error(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PostgresStore("", **options)
