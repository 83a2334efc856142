"""``python -m tests.directory.full_disk FOLDER``: a store of a directory on a small disk that fills.

The folder is a file system of its own, of 8 MiB. A line on stdout says what the store said; what should not be raises.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import anyio

from chanlink import StoreError
from chanlink.directory import SQLiteStore

from .made import KEY, new

PREKEYS = bytes(8_000)


async def main(disk: Path) -> None:
    path, filler, other = disk / "entries.db", disk / "filler", disk / "other"
    filler.write_bytes(bytes(2_500_000))
    other.write_bytes(bytes(1_000_000))
    async with SQLiteStore(path, names_per_key=100_000) as store:
        names = await fill(store, "before")
        await check(store, names)
        filler.unlink()
        names += await fill(store, "after")
        await check(store, names)
    async with SQLiteStore(path, names_per_key=100_000) as store:
        await check(store, names)
        other.unlink()  # removing needs room, too
        for name in names:
            assert await removed(store, name)
        assert await fill(store, "again")


async def fill(store: SQLiteStore, prefix: str) -> Sequence[str]:
    """Put entries while there is room: the names of those that were put."""
    names: list[str] = []
    failures = 0
    while failures < 3:
        name = f"{prefix}-{len(names)}"
        try:
            await store.put(new(name, prekeys=PREKEYS, life=3_600))
        except StoreError as exc:
            print(exc, flush=True)
            failures += 1
        else:
            names.append(name)
    assert len(names) > 20
    return names


async def check(store: SQLiteStore, names: Sequence[str]) -> None:
    """All that was answered is there, and found though nothing can be written."""
    for name in names:
        [found] = await store.find(name)
        assert found.prekeys == PREKEYS
    for prefix in ("before", "after"):
        assert not await store.find(f"{prefix}-{len(names)}")


async def removed(store: SQLiteStore, name: str) -> bool:
    """A store that is full makes room of what it has written ahead."""
    try:
        return await store.remove(name, KEY, False)
    except StoreError:
        return await store.remove(name, KEY, False)


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
