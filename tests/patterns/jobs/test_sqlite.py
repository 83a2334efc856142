"""`SQLiteStore`: what it has besides what all stores do; disks that are full, and processes that are killed."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from textwrap import dedent

import anyio
import anyio.to_thread
import pytest
from anyio import create_task_group

from chanlink import ConfigError, StoreError
from chanlink.patterns.jobs import sqlite
from chanlink.patterns.jobs.sqlite import SQLiteStore
from chanlink.patterns.jobs.store import Again, Changes, Done, End, Known, NewJob
from tests.patience import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    with anyio.fail_after(PATIENCE):
        async with SQLiteStore(path, fsync=False) as store:
            yield store


def job(id: str, size: int = 10) -> NewJob:
    return NewJob(id, bytes(size), False)


def run_sql(store: SQLiteStore, statement: str) -> None:
    store._opened._execute(statement).fetchall()


# --- the block ------------------------------------------------------------------------------------


async def test_behind_the_block_it_is_closed_and_it_may_be_entered_again(path: Path) -> None:
    store = SQLiteStore(path)
    with pytest.raises(StoreError, match="closed"):
        await store.add([job("a")])
    async with store:
        await store.add([job("a")])
    with pytest.raises(StoreError, match="closed"):
        await store.add([job("b")])
    async with store:
        assert [one is not None for one in await store.find(["a", "b"])] == [True, False]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_store_may_go_from_one_event_loop_to_the_next(path: Path) -> None:
    store = SQLiteStore(path, fsync=False)

    async def use(id: str) -> None:
        async with store, create_task_group() as tasks:
            for n in range(5):
                tasks.start_soon(store.add, [job(f"{id} {n}")])

    for backend in ("asyncio", "trio", "asyncio"):
        await anyio.to_thread.run_sync(partial(anyio.run, use, backend, backend=backend))


async def test_a_file_has_one_store_at_a_time(store: SQLiteStore, path: Path) -> None:
    with pytest.raises(ConfigError, match="another store of this one"):
        async with SQLiteStore(path):
            pass
    with pytest.raises(RuntimeError, match="already been entered"):
        async with store:
            pass
    await store.add([job("a")])


async def test_a_file_that_can_not_be_used_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path))):
        async with SQLiteStore(tmp_path):
            pass


async def test_the_path_is_that_of_the_moment_in_which_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore("jobs.db")
    monkeypatch.chdir("/")
    async with store:
        pass
    assert (tmp_path / "jobs.db").exists()
    assert repr(store) == f"<SQLiteStore {tmp_path}/jobs.db>"


@pytest.mark.parametrize(
    ("name", "value"), [("path", None), ("path", 5), ("fsync", 1), ("keep", "x"), ("most_ended", 1.5)]
)
def test_arguments_of_other_types_are_named(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=name):
        SQLiteStore(**{"path": "jobs.db", name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"keep": -1}, {"keep": float("nan")}, {"most_ended": -1}])
def test_what_can_not_be_kept_is_a_value_error(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        SQLiteStore("jobs.db", **wrong)  # type: ignore[arg-type]


async def test_nobody_else_begins_its_jobs(store: SQLiteStore) -> None:
    assert store.lease is None
    await store.renew({"a": b"half"})


async def test_an_exception_of_the_block_leaves_it_as_it_is_and_the_file_closed(path: Path) -> None:
    with pytest.raises(KeyError):
        async with SQLiteStore(path) as store:
            await store.add([job("a")])
            raise KeyError
    async with SQLiteStore(path) as store:
        assert (await store.counts())["waiting"] == 1


# --- the disk is full -----------------------------------------------------------------------------


async def test_when_the_disk_is_full_nothing_has_happened_and_it_goes_on_when_there_is_room(
    store: SQLiteStore,
) -> None:
    await store.add([job("a"), job("b")])
    await store.begin(2)
    run_sql(store, "PRAGMA max_page_count = 1")  # as many as there are
    with pytest.raises(StoreError, match="full"):
        await store.add([job("c"), job("d", 100_000)])
    with pytest.raises(StoreError, match="full"):
        await store.end([End("a", 1, Done(bytes(100_000)))])
    assert await store.find(["a", "c", "d"]) == [Known("a", "running", 1, None, None, False), None, None]
    run_sql(store, "PRAGMA max_page_count = 1000000")
    assert await store.end([End("a", 1, Done(bytes(100_000)))]) == [True]
    assert [one.new for one in await store.add([job("c"), job("d", 100_000)])] == [True, True]


async def test_a_call_that_fails_has_not_failed_for_those_who_come_later(store: SQLiteStore) -> None:
    await store.add([job("a")])
    run_sql(store, "PRAGMA max_page_count = 1")
    outcomes = []

    async def bring(id: str) -> None:
        try:
            await store.add([job(id, 100_000)])
        except StoreError:
            outcomes.append(id)

    async with create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(bring, str(n))
    assert len(outcomes) == 20
    assert (await store.counts())["waiting"] == 1


async def test_the_changes_go_on_when_the_store_has_failed(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "TRIED_AGAIN", 0.01)
    await store.add([job("a")])
    await store.begin(1)
    await store.end([End("a", 1, Again(0.05))])
    run_sql(store, "PRAGMA query_only = 1")
    found: list[Changes] = []

    async def read() -> None:
        async with aclosing(store.changes()) as changes:  # type: ignore[type-var]
            found.append(await anext(changes))

    async with create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.sleep(0.2)
        assert not found
        with pytest.raises(StoreError, match="readonly"):
            await store.begin(1)
        run_sql(store, "PRAGMA query_only = 0")
    assert found == [Changes(True, (), ())]


async def test_what_can_not_be_written_as_text_is_an_error_of_its_own_call(store: SQLiteStore) -> None:
    async with create_task_group() as tasks:
        tasks.start_soon(store.add, [job("a")])
        with pytest.raises(UnicodeEncodeError):
            await store.add([job("\ud800")])
    assert (await store.counts())["waiting"] == 1


IN_SMALL_DISK = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=16m tmpfs "$0" && exec "$@"')
"""A file system that this process and its children alone see."""


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_real_disk_that_is_full_or_fails_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    if await anyio.to_thread.run_sync(cannot_mount, tmp_path):
        pytest.skip("this user can mount nothing, also not in a namespace of its own")
    command = [*IN_SMALL_DISK, tmp_path, sys.executable, "-m", "tests.patterns.jobs.full_disk", tmp_path]
    done = await anyio.run_process(command, check=False, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode().splitlines()
    assert len(said) == 10
    assert [line.partition("jobs.db")[2] for line in said[-5:]] == [
        *[": disk I/O error"] * 3,
        ": database or disk is full",
        " can't be written",
    ]


def cannot_mount(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return True
    return bool(subprocess.run([*IN_SMALL_DISK, folder, "true"], capture_output=True).returncode)


# --- a process is killed --------------------------------------------------------------------------

PROGRAM = dedent("""
    import sys
    import anyio
    from chanlink.patterns.jobs.sqlite import SQLiteStore
    from chanlink.patterns.jobs.store import Done, End, NewJob

    async def bring(store, of):
        for n in range(1_000_000):
            await store.add([NewJob(f"{of}-{n}", f"payload of {of}-{n}".encode(), False)])
            print("added", f"{of}-{n}", flush=True)

    async def work(store):
        while True:
            for job in await store.begin(5):
                assert await store.end([End(job.id, job.attempt, Done(job.payload))]) == [True]
                print("ended", job.id, flush=True)

    async def main():
        async with SQLiteStore(sys.argv[1], fsync=sys.argv[2] == "fsync") as store, anyio.create_task_group() as tasks:
            print("opened", "", flush=True)
            for of in "abcd":
                tasks.start_soon(bring, store, of)
            tasks.start_soon(work, store)

    anyio.run(main)
""")


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the other two would say the same
@pytest.mark.parametrize("fsync", ["fsync", "no fsync"])
async def test_what_was_answered_is_there_after_the_process_was_killed(path: Path, fsync: str) -> None:
    added: set[str] = set()
    ended: set[str] = set()
    for round in range(3):
        said = killed_after(200 + 77 * round, path, fsync)
        new = {id for word, id in said if word == "added"}
        added |= new
        ended |= {id for word, id in said if word == "ended"}
        async with SQLiteStore(path) as store:
            known = sorted(added | ended)  # a job may have ended before the task that brought it has said a word
            found = {one.id: one for one in await store.find(known) if one is not None}
            assert list(found) == known
            for id in ended:
                assert found[id].outcome == Done(f"payload of {id}".encode())
            counts = await store.counts()
            assert counts["running"] == counts["failed"] == 0
            assert counts["done"] >= len(ended)
            waiting = await store.begin(1_000_000)
            assert {job.payload for job in waiting} == {f"payload of {job.id}".encode() for job in waiting}
            assert not {job.id for job in waiting} & ended
            assert len(waiting) == counts["waiting"]


def killed_after(lines: int, path: Path, fsync: str) -> list[tuple[str, str]]:
    """What the program has said until it was killed."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, path, fsync], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    whole = [line.split() for line in said if line.endswith("\n")]
    return [(words[0], words[1]) for words in whole if len(words) == 2]


# --- the power is cut -----------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("garbage", [b"", bytes(5_000), b"\xa5" * 5_000])
async def test_what_a_power_cut_takes_is_the_last_of_it(path: Path, tmp_path: Path, garbage: bytes) -> None:
    """Without fsync: the file as it was, and as much of what was written ahead as the disk has got."""
    ids = [str(n) for n in range(40)]
    async with SQLiteStore(path, fsync=False) as store:
        for id in ids:
            await store.add([job(id, 1_000)])
        base, ahead = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    found = set()
    for cut in range(0, len(ahead), len(ahead) // 23):
        after = tmp_path / f"cut at {cut}.db"
        after.write_bytes(base)
        Path(f"{after}-wal").write_bytes(ahead[:cut] + garbage)
        async with SQLiteStore(after, fsync=False) as store:
            left = [one.id for one in await store.find(ids) if one is not None]
            assert left == ids[: len(left)]
            assert (await store.counts())["waiting"] == len(left)
            assert [one.id for one in await store.begin(100)] == left
            found.add(len(left))
    assert len(found) > 20, "it was cut at many places"
