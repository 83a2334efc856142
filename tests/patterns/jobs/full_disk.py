"""``python -m tests.patterns.jobs.full_disk FOLDER``: an SQLite store on a small disk that fills, fails and is locked.

The folder is a file system of its own, of 16 MiB. A line on stdout says what the store said; what should not be raises.
"""

import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio

from chanlink import ConfigError, StoreError
from chanlink.patterns import SQLiteStore
from chanlink.patterns.jobs.store import Done, End, NewJob

T = TypeVar("T")
LARGE = bytes(6_000_000)


async def main(disk: Path) -> None:
    path, filler, other = disk / "jobs.db", disk / "filler", disk / "other"
    filler.write_bytes(bytes(6_000_000))
    other.write_bytes(bytes(5_000_000))
    async with SQLiteStore(path) as store:
        ids = await fill(store, "before")
        await refuses(store)
        await check(store, ids)
        filler.unlink()
        ids += await fill(store, "there was room again")
        await check(store, ids)
    async with SQLiteStore(path, most_ended=0) as store:
        await check(store, ids)
        other.unlink()
        await forget(store)
        with files_may_have(100_000):
            await refuses(store)
        ids = await fill(store, "after that")
        await check(store, ids)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        async with SQLiteStore(path):
            pass
    except ConfigError as exc:
        print(exc, flush=True)


async def fill(store: SQLiteStore, name: str) -> list[str]:
    """Add jobs while there is room: those that were added."""
    added: list[str] = []
    while True:
        job = f"{name} {len(added)}"
        try:
            await tried_again(partial(store.add, [NewJob(job, bytes(20_000), False)]))
        except StoreError as exc:
            print(exc, flush=True)
            assert len(added) > 20
            return added
        added.append(job)


async def refuses(store: SQLiteStore) -> None:
    """All that needs much room fails, and goes on failing."""
    for _ in range(3):
        try:
            await store.add([NewJob("large", LARGE, False)])
        except StoreError as exc:
            print(exc, flush=True)
        else:
            raise AssertionError("there is no room for it")


async def check(store: SQLiteStore, ids: Sequence[str]) -> None:
    assert all(await store.find(ids)), "what was answered is there"
    assert sum((await store.counts()).values()) == len(ids), "and nothing else"


async def forget(store: SQLiteStore) -> None:
    """All of it: what has ended is forgotten at once."""
    while (await store.counts())["waiting"]:
        begun = await tried_again(partial(store.begin, 20))
        ends = [End(job.id, job.attempt, Done(b"")) for job in begun]
        assert all(await tried_again(partial(store.end, ends)))


async def tried_again(verb: Callable[[], Awaitable[T]]) -> T:
    """A store that is full makes room of what it has written ahead."""
    try:
        return await verb()
    except StoreError:
        return await verb()


@contextmanager
def files_may_have(size: int) -> Iterator[None]:
    """Writing behind that is an error of the disk."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
