"""`Directory`: looking up, following changes, registering, over real sessions."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

from chanlink import CallRefused, ChannelClosed, Identity, clock, listen
from chanlink.directory import BadEntry, Directory, Entry, Gone, NameTaken, NotAllowed, OlderSerial, Store, client
from chanlink.directory.entries import Signed, parse
from chanlink.directory.interface import registering
from chanlink.directory.memory import MemoryStore
from chanlink.security.keys.successor import Successor
from tests.patience import PATIENCE

from .hosting import EVERYBODY, SERVER, Served, served
from .made import ALICE, BOB, KEY, MALLORY, new, now_serial, signed

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]
PLACE = ["tcp://10.0.0.1:9323"]


@pytest.fixture
async def host() -> AsyncIterator[Served]:
    async with served() as host:
        yield host


class Kept:
    """A store whose content a test can change behind the directory's back."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def __call__(self) -> Store:
        return self.store


async def put(store: Store, entry: Signed, **rest: Any) -> None:
    """As a directory would that is not honest: unchecked."""
    said = parse(entry)
    filled: dict[str, Any] = {"life": said.life, "entry": entry.entry, "sshsig": entry.sshsig}
    await store.put(new(said.name, said.key.raw, said.serial, **(filled | rest)))


# --- registering and looking up -----------------------------------------------------------------


async def test_what_one_registers_another_finds(host: Served) -> None:
    async with host.directory(ALICE) as ours, host.directory(BOB) as theirs:
        assert await theirs.lookup("web1") == []
        made = await ours.register("web1", PLACE, ["echo"], life=600, prekeys=b"beside")
        [found] = await theirs.lookup("web1")
        assert found == made
        assert found.key == ALICE.public_key
        assert found.addresses == tuple(PLACE)
        assert found.services == ("echo",)
        assert found.prekeys == b"beside"
        assert 0 < found.expires_in <= 600


async def test_what_was_found_is_not_asked_for_again_until_it_expires(
    host: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with host.directory(ALICE) as ours, host.directory(BOB) as theirs:
        first = await ours.register("web1", PLACE, life=600)
        assert await theirs.lookup("web1") == [first]
        second = await ours.register("web1", ["tcp://10.0.0.2"], life=600)
        assert await theirs.lookup("web1") == [first]
        assert await theirs.lookup("web1", fresh=True) == [second]
        assert await theirs.lookup("web1") == [second]
        third = await ours.register("web1", ["tcp://10.0.0.3"], life=3_000)
        now = clock.now
        monkeypatch.setattr(clock, "now", lambda: now() + 601)
        assert await theirs.lookup("web1") == [third]


async def test_who_withdraws_is_not_found_and_keeps_the_name(host: Served) -> None:
    async with host.directory(ALICE) as ours, host.directory(BOB) as theirs:
        await ours.register("web1", PLACE)
        await theirs.withdraw("web1")
        assert await theirs.lookup("web1", fresh=True)
        await ours.withdraw("web1")
        assert await theirs.lookup("web1", fresh=True) == []
        with pytest.raises(NameTaken, match="belongs to another key"):
            await theirs.register("web1", PLACE)


async def test_an_identity_with_a_new_key_has_the_names_of_the_old_one(host: Served, tmp_path: Path) -> None:
    MALLORY.save(tmp_path / "key")
    (tmp_path / "key-successor").write_text(f"{await Successor.made(ALICE, MALLORY.public_key, int(time.time()))}\n")
    async with host.directory(ALICE) as old, host.directory(BOB) as theirs:
        await old.register("web1", PLACE)
        async with host.directory(Identity.load(tmp_path / "key")) as ours:
            made = await ours.register("web1", PLACE)
            assert await theirs.lookup("web1") == [made]
            assert made.key == MALLORY.public_key
        with pytest.raises(NameTaken):
            await old.register("web1", PLACE)


async def test_a_name_is_freed_by_its_owner_alone(host: Served) -> None:
    async with host.directory(ALICE) as ours, host.directory(BOB) as theirs:
        assert not await ours.remove("web1")
        assert not await ours.remove("no name")
        await ours.register("web1", PLACE)
        with pytest.raises(NotAllowed):
            await theirs.remove("web1")
        assert await ours.remove("web1")
        await theirs.register("web1", PLACE)


async def test_an_entry_of_this_machine_only_is_refused_before_it_leaves(host: Served) -> None:
    async with host.directory(ALICE) as ours:
        with pytest.raises(BadEntry, match="does not lead to another machine"):
            await ours.register("web1", ["unix:/run/echo"])
        with pytest.raises(BadEntry, match="is no name"):
            await ours.register("web 1", PLACE)


async def test_a_clock_that_was_put_back_is_no_hindrance(host: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async with host.directory(ALICE) as ours, host.directory(ALICE) as again:
        made = await ours.register("web1", PLACE, life=3_600)
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() - 200 * 10**9)
        later = await again.register("web1", PLACE, life=3_600)
        assert later.serial == made.serial + 1


async def test_a_directory_can_not_make_us_sign_for_the_far_future(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    async with served(kept) as host, host.directory(ALICE) as ours:
        await kept.store.put(new(serial=time.time_ns() + 400 * 10**9))
        with pytest.raises(OlderSerial):
            await ours.register("web1", PLACE)


@pytest.mark.parametrize(
    ("call", "arguments", "rest"),
    [
        ("lookup", [7], {}),
        ("register", ["web1", "tcp://10.0.0.1"], {}),
        ("register", ["web1", PLACE, "echo"], {}),
        ("register", ["web1", PLACE], {"life": 1.5}),
        ("register", ["web1", PLACE], {"prekeys": "x"}),
        ("withdraw", [None], {}),
        ("remove", [b"web1"], {}),
    ],
)
async def test_arguments_have_types(host: Served, call: str, arguments: list[Any], rest: dict[str, Any]) -> None:
    async with host.directory() as ours:
        with pytest.raises(TypeError):
            await getattr(ours, call)(*arguments, **rest)


async def test_it_is_used_in_its_block_only(host: Served) -> None:
    directory = host.directory()
    for call in (directory.lookup("web1"), directory.register("web1", PLACE)):
        with pytest.raises(ChannelClosed, match="async with Directory"):
            await call
    async with directory:
        await directory.register("web1", PLACE)
    async with directory:  # once more
        assert await directory.lookup("web1", fresh=True)


async def test_a_directory_that_is_not_there_is_said(host: Served) -> None:
    await host.stop()
    async with host.directory() as directory:
        with anyio.move_on_after(0.5) as scope, pytest.raises(CallRefused):
            await directory.lookup("web1")
        assert scope.cancelled_caught


# --- a directory that lies ----------------------------------------------------------------------


async def test_forged_and_foreign_entries_are_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    good, other = await signed(ALICE), await signed(BOB, "web2")
    async with served(kept) as host, host.directory(MALLORY) as directory:
        store = kept.store
        for number, bad in enumerate(
            [
                Signed(good.entry, other.sshsig),
                Signed(good.entry.replace(b"10.0.0.1", b"10.6.6.6"), good.sshsig),
                Signed(b"\xc1", good.sshsig),
                other,  # it is of another name
                await signed(BOB, serial=1, life=600),  # long over
                await signed(BOB, serial=now_serial() + 10**13),
            ]
        ):
            await store.put(new("web1", bytes([number]) * 32, listed=True, entry=bad.entry, sshsig=bad.sshsig))
        assert await directory.lookup("web1") == []
        assert caplog.text.count("passed over an entry") == 5
        await put(store, good, listed=True)
        assert [one.key for one in await directory.lookup("web1")] == [ALICE.public_key]


async def test_who_has_seen_a_serial_takes_no_lower(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    old, recent = await signed(), await signed(addresses=["tcp://10.0.0.2"])
    async with served(kept) as host, host.directory(MALLORY) as directory:
        await put(kept.store, recent)
        assert await directory.lookup("web1")
        await kept.store.remove("web1", KEY, False)
        await put(kept.store, old)
        assert await directory.lookup("web1", fresh=True) == []
        assert "a newer entry of web1 was seen before" in caplog.text
        await kept.store.remove("web1", KEY, False)
        await put(kept.store, recent)
        assert await directory.lookup("web1")


class Liar:
    """A directory that says what it likes."""

    def __init__(self, problem: Exception) -> None:
        self.problem = problem

    async def register(self, entry: bytes, sshsig: bytes, prekeys: bytes = b"", successor: Any = None) -> None:
        raise self.problem

    async def withdraw(self, name: str) -> None:
        raise self.problem

    async def remove(self, name: str) -> bool:
        raise self.problem


async def test_a_serial_that_is_none_is_no_serial() -> None:
    services = {"directory.register": registering().serving(Liar(OlderSerial("newer")))}
    async with (
        listen("tcp://127.0.0.1:0", identity=SERVER, trust=EVERYBODY, services=services) as listener,
        Directory(listener.addresses[0], identity=ALICE, peer=SERVER.public_key) as directory,
    ):
        with pytest.raises(OlderSerial):
            await directory.register("web1", PLACE)


async def test_no_more_entries_of_a_name_are_read_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "OWNERS", 2)
    kept = Kept()
    async with served(kept) as host, host.directory(MALLORY) as directory:
        for who in (ALICE, BOB, MALLORY):
            await put(kept.store, await signed(who), listed=True)
        assert len(await directory.lookup("web1")) == 2


async def test_a_directory_can_not_add_to_the_life_of_an_entry() -> None:
    kept = Kept()
    async with served(kept) as host, host.directory(MALLORY) as directory:
        await put(kept.store, await signed(life=600), life=3_600)
        [found] = await directory.lookup("web1")
        assert found.expires_in <= 600


# --- following ----------------------------------------------------------------------------------


class Log:
    """What `changes` gives, read all the time."""

    def __init__(self, directory: Directory, prefix: str = "") -> None:
        self._directory, self._prefix = directory, prefix
        self.sender, self.receiver = anyio.create_memory_object_stream[Entry | Gone | None](1_000)

    async def run(self) -> None:
        async with aclosing(self._directory.changes(self._prefix)) as changes:
            async for change in changes:
                await self.sender.send(change)

    async def next(self) -> Entry | Gone | None:
        with anyio.fail_after(PATIENCE):
            return await self.receiver.receive()

    def close(self) -> None:
        self.sender.close()
        self.receiver.close()


async def test_changes_are_what_there_is_then_a_marker_and_then_what_happens(host: Served) -> None:
    async with host.directory(ALICE) as ours, host.directory(BOB) as theirs, anyio.create_task_group() as tasks:
        first = await ours.register("web1", PLACE)
        await ours.register("db1", PLACE)
        log = Log(theirs, "web")
        tasks.start_soon(log.run)
        assert await log.next() == first
        assert await log.next() is None
        second = await ours.register("web2", PLACE)
        assert await log.next() == second
        await ours.register("db2", PLACE)
        again = await ours.register("web1", ["tcp://10.0.0.2"])
        assert await log.next() == again
        await ours.withdraw("web1")
        assert await log.next() == Gone("web1", KEY)
        assert await theirs.entries() == [*await theirs.lookup("db1"), *await theirs.lookup("db2"), second]
        assert await theirs.entries("web") == [second]
        assert await theirs.entries("mail") == []
        tasks.cancel_scope.cancel()
    log.close()


async def test_changes_go_on_when_the_directory_comes_back(host: Served) -> None:
    async with host.directory(ALICE) as ours, host.directory(BOB) as theirs, anyio.create_task_group() as tasks:
        await ours.register("gone", PLACE)
        kept = await ours.register("kept", PLACE)
        log = Log(theirs)
        tasks.start_soon(log.run)
        assert [await log.next() for _ in range(3)][1:] == [kept, None]
        await host.stop()
        store = MemoryStore()
        entry = await signed(ALICE, "kept", serial=kept.serial, addresses=PLACE, services=[], life=900)
        await put(store, entry)
        host.store = lambda: store
        await host.start()
        assert await log.next() == Gone("gone", KEY)
        new_one = await ours.register("new", PLACE)
        assert await log.next() == new_one
        tasks.cancel_scope.cancel()
    log.close()


async def test_changes_do_not_hold_up_a_directory_that_stops_and_go_on_at_the_next(host: Served) -> None:
    async with host.directory(ALICE) as ours, host.directory(BOB) as theirs, anyio.create_task_group() as tasks:
        first = await ours.register("web1", PLACE)
        log = Log(theirs)
        tasks.start_soon(log.run)
        assert [await log.next(), await log.next()] == [first, None]
        with anyio.fail_after(PATIENCE):
            await host.listener.drain(2 * PATIENCE)
        await host.stop()
        await host.start()
        assert await log.next() == Gone("web1", KEY)
        tasks.cancel_scope.cancel()
    log.close()


async def test_what_can_not_become_better_ends_the_changes(host: Served) -> None:
    from chanlink import Trust

    host.trust = Trust.nobody()
    await host.stop()
    await host.start()
    async with host.directory(ALICE) as ours:
        with pytest.raises(CallRefused):
            await ours.entries()


@pytest.mark.slow
async def test_entries_that_end_are_gone(host: Served) -> None:
    async with host.directory(ALICE) as ours, anyio.create_task_group() as tasks:
        made = await ours.register("web1", PLACE, life=3)
        log = Log(ours)
        tasks.start_soon(log.run)
        assert [await log.next(), await log.next(), await log.next()] == [made, None, Gone("web1", KEY)]
        assert await ours.lookup("web1", fresh=True) == []
        tasks.cancel_scope.cancel()
    log.close()


async def test_all_names_are_listed_in_their_order() -> None:
    kept = Kept()
    names = [f"web{number}" for number in range(30)]
    async with served(kept) as host, host.directory(BOB) as theirs:
        for name in names:
            await put(kept.store, await signed(BOB, name))
        assert [one.name for one in await theirs.entries("web")] == sorted(names)
        assert [one.name for one in await theirs.entries("web1")] == sorted(names)[1:12]
