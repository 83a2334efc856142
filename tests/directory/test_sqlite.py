"""`SQLiteStore`: what it has besides what all stores do; disks that are full, and processes that are killed."""

import signal
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from textwrap import dedent
from typing import Any

import anyio
import anyio.to_thread
import pytest

from chanlink import ConfigError, StoreError
from chanlink.directory import sqlite as module
from chanlink.directory.problems import NameTaken
from chanlink.directory.sqlite import SQLiteStore
from chanlink.directory.store import Gone, News, Stored
from chanlink.patterns import SQLiteStore as StoreOfJobs
from tests.patience import PATIENCE
from tests.patterns.jobs.test_sqlite import IN_SMALL_DISK, cannot_mount

from .made import KEY, OTHER, new

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "entries.db"


@pytest.mark.parametrize("options", [{"fsync": 1}, {"most_names": "3"}, {"names_per_key": None}, {"path": 7}], ids=str)
def test_options_have_types(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        SQLiteStore(**({"path": "entries.db"} | options))


async def test_a_file_of_jobs_is_none_of_a_directory(path: Path) -> None:
    async with StoreOfJobs(path, fsync=False):
        pass
    with pytest.raises(ConfigError, match="another program"):
        async with SQLiteStore(path):
            pass


async def test_one_process_uses_a_file(path: Path) -> None:
    async with SQLiteStore(path) as store:
        assert str(path) in repr(store)
        with pytest.raises(ConfigError, match="another process uses"):
            async with SQLiteStore(path):
                pass


async def test_a_store_can_be_entered_again_and_is_closed_between(path: Path) -> None:
    store = SQLiteStore(path)
    for _ in range(2):
        async with store:
            await store.put(new())
            assert await store.find("web1")
        for call in (store.find("web1"), store.put(new(serial=2)), store.remove("web1", KEY, False)):
            with pytest.raises(StoreError):
                await call


async def test_what_is_found_again_is_not_read_again(path: Path) -> None:
    async with SQLiteStore(path, fsync=False) as store:
        await store.put(new())
        first = await store.find("web1")
        file = store._entries
        assert file is not None
        connection, statements = file._file.connection, []
        connection.set_trace_callback(statements.append)
        [again] = await store.find("web1")
        assert again.left <= first[0].left
        assert not statements
        await store.put(new(serial=2))
        [found] = await store.find("web1")
        assert found.serial == 2
        assert statements


async def test_more_than_a_page_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    async with SQLiteStore(path, fsync=False) as store:
        for number in range(7):
            await store.put(new(f"web{number}", listed=True))
            await store.put(new(f"web{number}", OTHER, listed=True))
        async with aclosing(store.changes()) as changes:
            with anyio.fail_after(PATIENCE):
                found = [await anext(changes) for _ in range(15)]
            assert found.pop() is None
            assert len({(one.name, one.key) for one in found if isinstance(one, Stored)}) == 14


async def test_the_last_word_of_many_at_once_is_what_is_so(path: Path) -> None:
    async with SQLiteStore(path, fsync=False) as store, aclosing(store.changes()) as changes:
        assert await anext(changes) is None

        async def put(serial: int) -> None:
            await store.put(new(serial=serial))

        async with anyio.create_task_group() as tasks:
            for serial in (3,) * 10:
                tasks.start_soon(put, serial)
            tasks.start_soon(store.withdraw, "web1", KEY)
        kept = await store.find("web1")
        with anyio.fail_after(PATIENCE):
            last = await anext(changes)
        assert isinstance(last, Stored if kept else Gone)


async def test_cancelled_calls_have_happened_or_not_and_followers_know(path: Path) -> None:
    async with SQLiteStore(path, fsync=False) as store, aclosing(store.changes()) as changes:
        assert await anext(changes) is None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.put, new())
            await anyio.sleep(0)
            tasks.cancel_scope.cancel()
        found = await store.find("web1")
        await store.put(new("web2"))
        told: dict[str, News] = {}
        with anyio.fail_after(PATIENCE):
            while "web2" not in told:
                change = await anext(changes)
                assert change is not None
                told[change.name] = change
        assert isinstance(told.get("web1"), Stored) is bool(found)


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_disk_that_is_full_loses_nothing_and_names_are_still_found(tmp_path: Path) -> None:
    if await anyio.to_thread.run_sync(cannot_mount, tmp_path):
        pytest.skip("this user can mount nothing, also not in a namespace of its own")
    on_disk = [part.replace("16m", "8m") for part in IN_SMALL_DISK]
    command = [*on_disk, tmp_path, sys.executable, "-m", "tests.directory.full_disk", tmp_path]
    done = await anyio.run_process(command, check=False, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode().splitlines()
    assert len(said) == 9
    assert {line.partition("entries.db")[2] for line in said} == {": database or disk is full"}


PROGRAM = dedent("""
    import sys
    import anyio
    from chanlink.directory import SQLiteStore
    from tests.directory.made import new

    async def main():
        async with SQLiteStore(sys.argv[1], names_per_key=1_000_000) as store:
            for number in range(1_000_000):
                await store.put(new(f"web{number}"))
                print(number, flush=True)

    anyio.run(main)
""")


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_process_that_is_killed_has_lost_nothing_that_it_answered(path: Path) -> None:
    for _ in range(3):
        async with await anyio.open_process([sys.executable, "-c", PROGRAM, str(path)]) as process:
            assert process.stdout is not None
            said = b""
            with anyio.fail_after(PATIENCE):
                while said.count(b"\n") < 50:
                    said += await process.stdout.receive()
            process.send_signal(signal.SIGKILL)
        last = int(said.split(b"\n")[-2])
        async with SQLiteStore(path) as store:
            for number in range(last + 1):
                assert await store.find(f"web{number}"), number
            with pytest.raises(NameTaken):
                await store.put(new("web0", OTHER))
