"""What a directory needs of its store, of each store that there is."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from chanlink import StoreError
from chanlink.directory.problems import DirectoryFull, NameTaken, NotAllowed, OlderSerial
from chanlink.directory.store import Gone, New, News, Store, Stored
from tests.patience import PATIENCE

from .made import KEY, MALLORY, OTHER, new
from .stores import PLACES, Place

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]
VERBS = {"put", "withdraw", "remove", "find", "changes"}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with PLACES[request.param](request) as place:
        yield place


def told(found: Sequence[Stored]) -> list[tuple[str, bytes, int, bytes]]:
    """But for the time that they have left, in an order."""
    assert all(0 < one.left <= 60 for one in found)
    return sorted((one.name, one.key, one.serial, one.entry) for one in found)


def as_found(*entries: New) -> list[tuple[str, bytes, int, bytes]]:
    return sorted((one.name, one.key, one.serial, one.entry) for one in entries)


class Changes:
    """What `Store.changes` gives, read all the time."""

    def __init__(self) -> None:
        self.sender, self.receiver = anyio.create_memory_object_stream[News](1_000)

    async def next(self) -> News:
        with anyio.fail_after(PATIENCE):
            return await self.receiver.receive()

    async def run(self, store: Store) -> None:
        async for change in store.changes():
            await self.sender.send(change)


@asynccontextmanager
async def changes_of(store: Store) -> AsyncIterator[Changes]:
    changes = Changes()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(changes.run, store)
        yield changes
        tasks.cancel_scope.cancel()
    changes.sender.close()
    changes.receiver.close()


def test_five_verbs() -> None:
    assert {name for name in vars(Store) if not name.startswith("_")} == VERBS


async def test_what_is_put_is_found_under_its_name_alone(place: Place) -> None:
    async with place.store() as store:
        assert not await store.find("web1")
        await store.put(new(prekeys=b"prekeys"))
        [found] = await store.find("web1")
        assert found == Stored("web1", KEY, 1, found.left, b"entry 1", b"signature", b"prekeys")
        assert 0 < found.left <= 60
        assert not await store.find("web")
        assert not await store.find("web12")


async def test_a_newer_entry_takes_the_place_of_the_older_one(place: Place) -> None:
    async with place.store() as store:
        await store.put(new(serial=2))
        await store.put(new(serial=7))
        await store.put(new(serial=7))
        assert told(await store.find("web1")) == as_found(new(serial=7))
        with pytest.raises(OlderSerial) as caught:
            await store.put(new(serial=6))
        assert caught.value.detail == 7
        assert told(await store.find("web1")) == as_found(new(serial=7))


async def test_an_entry_ends_and_its_name_and_serial_stay(place: Place) -> None:
    async with place.store() as store:
        await store.put(new(serial=5, life=2))
        await place.pass_time(2.5)
        assert not await store.find("web1")
        with pytest.raises(NameTaken):
            await store.put(new(key=OTHER))
        with pytest.raises(OlderSerial):
            await store.put(new(serial=4))
        await store.put(new(serial=6))
        assert told(await store.find("web1")) == as_found(new(serial=6))


async def test_an_entry_that_is_put_again_lives_anew(place: Place) -> None:
    async with place.store() as store:
        await store.put(new(life=5))
        await place.pass_time(3)
        await store.put(new(life=5))
        await place.pass_time(3)
        assert told(await store.find("web1")) == as_found(new())


async def test_who_withdraws_keeps_the_name(place: Place) -> None:
    async with place.store() as store:
        await store.withdraw("web1", KEY)  # nothing to do
        await store.put(new(serial=5))
        await store.withdraw("web1", OTHER)
        assert await store.find("web1")
        await store.withdraw("web1", KEY)
        assert not await store.find("web1")
        with pytest.raises(NameTaken):
            await store.put(new(key=OTHER))
        with pytest.raises(OlderSerial):
            await store.put(new(serial=4))


async def test_a_name_that_is_removed_is_free(place: Place) -> None:
    async with place.store() as store:
        assert not await store.remove("web1", KEY, False)
        await store.put(new(serial=5))
        with pytest.raises(NotAllowed):
            await store.remove("web1", OTHER, False)
        assert await store.remove("web1", OTHER, True)
        assert not await store.find("web1")
        await store.put(new(key=OTHER))
        assert await store.remove("web1", OTHER, False)
        await store.put(new(serial=1))
        assert told(await store.find("web1")) == as_found(new())


async def test_keys_share_a_name_if_the_trust_file_gives_it_to_each(place: Place) -> None:
    ours, theirs = new(listed=True), new(key=OTHER, listed=True)
    async with place.store() as store:
        await store.put(ours)
        await store.put(theirs)
        assert told(await store.find("web1")) == as_found(ours, theirs)
        with pytest.raises(NameTaken):
            await store.put(new(key=MALLORY.public_key.raw))
        await store.withdraw("web1", KEY)
        assert told(await store.find("web1")) == as_found(theirs)
        await store.put(new(listed=True, serial=2))
        assert await store.remove("web1", OTHER, True)
        assert not await store.find("web1")


async def test_a_key_that_the_owner_has_named_takes_its_place_once(place: Place) -> None:
    third = b"3" * 32
    async with place.store(names_per_key=2, most_names=2) as store:
        await store.put(new(serial=5))
        await store.put(new("web2", serial=5))
        await store.put(new(key=OTHER, serial=1, old=KEY))
        assert told(await store.find("web1")) == as_found(new(key=OTHER, serial=1))
        assert told(await store.find("web2")) == as_found(new("web2", serial=5))
        await store.put(new(key=OTHER, serial=2, old=KEY))  # it shows that for some time
        for late in (new(serial=6), new(key=third, old=KEY), new(key=third, old=b"4" * 32)):
            with pytest.raises(NameTaken):
                await store.put(late)
        with pytest.raises(NotAllowed):
            await store.remove("web1", KEY, False)
        assert told(await store.find("web1")) == as_found(new(key=OTHER, serial=2))
        await store.put(new("web2", key=OTHER, old=KEY))
        with pytest.raises(DirectoryFull):  # of the new key, and in all
            await store.put(new("web3", key=OTHER))
        assert await store.remove("web1", OTHER, False)
        await store.put(new(serial=1))  # the old one has no name any more, and room for one
        assert told(await store.find("web1")) == as_found(new())


async def test_who_follows_hears_that_the_entry_of_the_old_key_is_gone(place: Place) -> None:
    async with place.store() as store, changes_of(store) as changes:
        assert await changes.next() is None
        await store.put(new())
        assert isinstance(await changes.next(), Stored)
        await store.put(new(key=OTHER, old=KEY))
        found = [await changes.next(), await changes.next()]
        assert [one for one in found if isinstance(one, Gone)] == [Gone("web1", KEY)]
        assert [one.key for one in found if isinstance(one, Stored)] == [OTHER]
        await anyio.wait_all_tasks_blocked()


async def test_a_key_that_shares_a_name_with_the_one_in_whose_place_it_comes_has_it_alone(place: Place) -> None:
    third = b"3" * 32
    async with place.store() as store:
        for key in (KEY, OTHER, third):
            await store.put(new(key=key, listed=True))
        await store.put(new(key=OTHER, serial=2, listed=True, old=KEY))
        assert told(await store.find("web1")) == as_found(new(key=OTHER, serial=2), new(key=third))
        await store.put(new(key=third, serial=2, listed=True, old=OTHER))
        await store.put(new(key=third, serial=3))
        assert told(await store.find("web1")) == as_found(new(key=third, serial=3))


async def test_there_are_so_many_names_of_a_key_and_in_all(place: Place) -> None:
    async with place.store(most_names=3, names_per_key=2) as store:
        await store.put(new("a"))
        await store.put(new("b"))
        with pytest.raises(DirectoryFull):
            await store.put(new("c"))
        await store.put(new("b", serial=2))
        await store.put(new("c", key=OTHER))
        with pytest.raises(DirectoryFull):
            await store.put(new("d", key=OTHER))
        assert await store.remove("a", KEY, False)
        await store.put(new("d", key=OTHER))
        assert not await store.find("a")


async def test_changes_begin_with_what_there_is(place: Place) -> None:
    async with place.store() as store:
        await store.put(new("a"))
        await store.put(new("b"))
        async with changes_of(store) as changes:
            current = [await changes.next() for _ in range(2)]
            assert told([one for one in current if isinstance(one, Stored)]) == as_found(new("a"), new("b"))
            assert await changes.next() is None
            await store.put(new("a", serial=2))
            change: Any = await changes.next()
            assert told([change]) == as_found(new("a", serial=2))
            await store.withdraw("b", KEY)
            assert await changes.next() == Gone("b", KEY)
            assert await store.remove("a", KEY, False)
            assert await changes.next() == Gone("a", KEY)
            await store.put(new("a"))
            change = await changes.next()
            assert told([change]) == as_found(new("a"))
        async with changes_of(store) as changes:
            change = await changes.next()
            assert told([change]) == as_found(new("a"))
            assert await changes.next() is None


async def test_many_at_the_same_time_get_what_is_theirs(place: Place) -> None:
    keys = [bytes([number]) * 32 for number in range(40)]
    taken: list[bytes] = []

    async def claim(key: bytes) -> None:
        try:
            await store.put(new(key=key))
        except NameTaken:
            return
        taken.append(key)

    async with place.store() as store:
        async with anyio.create_task_group() as tasks:
            for key in keys:
                tasks.start_soon(claim, key)
        assert len(taken) == 1
        assert [one.key for one in await store.find("web1")] == taken


async def test_what_outlives_the_process_is_there_again(place: Place) -> None:
    if not place.outlives:
        pytest.skip("it is gone with its process")
    async with place.store() as store:
        await store.put(new(serial=5, prekeys=b"prekeys"))
        await store.put(new("gone", life=1))
        await store.put(new("away", key=OTHER))
        await store.withdraw("away", OTHER)
    await place.pass_time(2)
    async with place.store(names_per_key=2) as store:
        assert told(await store.find("web1")) == as_found(new(serial=5))
        assert not await store.find("gone")
        for name, key in (("away", KEY), ("gone", OTHER)):
            with pytest.raises(NameTaken):
                await store.put(new(name, key=key))
        with pytest.raises(OlderSerial):
            await store.put(new(serial=4))
        with pytest.raises(DirectoryFull):
            await store.put(new("third"))


async def test_a_store_that_is_closed_says_so_if_it_can_be(place: Place) -> None:
    async with place.store() as store:
        await store.put(new())
    if place.outlives:
        with pytest.raises(StoreError):
            await store.find("web1")
