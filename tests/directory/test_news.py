"""What somebody who follows changes has still to be told."""

import anyio
import pytest

from chanlink.directory.memory import stored
from chanlink.directory.news import Pending, Readers
from chanlink.directory.store import Gone, News
from tests.patience import PATIENCE

from .made import KEY, OTHER, new

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]
FIRST, SECOND, THIRD = (stored(new(serial=serial), 60) for serial in (1, 2, 3))
OTHERS = stored(new(key=OTHER), 60)


async def read(reader: Pending, count: int) -> list[News]:
    with anyio.fail_after(PATIENCE):
        return [await reader.next() for _ in range(count)]


async def test_what_there_is_comes_first_and_then_the_marker() -> None:
    reader = Pending([FIRST, OTHERS])
    reader.tell(SECOND)
    assert await read(reader, 3) == [OTHERS, None, SECOND]  # which replaces the first


async def test_only_the_newest_is_kept_of_each_entry() -> None:
    reader = Pending([])
    assert await read(reader, 1) == [None]
    for change in (FIRST, SECOND, OTHERS, Gone("web1", KEY), THIRD, Gone("web1", OTHER)):
        reader.tell(change)
    assert await read(reader, 2) == [THIRD, Gone("web1", OTHER)]


async def test_only_what_is_wanted_is_kept() -> None:
    reader = Pending([], wanted=lambda name: name.startswith("db"))
    reader.tell(FIRST)
    reader.tell(stored(new("db1"), 60))
    assert await read(reader, 2) == [None, stored(new("db1"), 60)]


async def test_a_cancelled_reader_has_lost_nothing() -> None:
    reader = Pending([])
    await read(reader, 1)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await reader.next()
    reader.tell(FIRST)
    assert await read(reader, 1) == [FIRST]


async def test_all_readers_are_told_as_long_as_they_want() -> None:
    readers, ours, theirs = Readers(), Pending([]), Pending([])
    readers.add(ours)
    readers.add(theirs)
    readers.tell(FIRST)
    readers.discard(theirs)
    readers.tell(SECOND)
    assert len(readers) == 1
    assert await read(ours, 2) == [None, SECOND]
    assert await read(theirs, 2) == [None, FIRST]
