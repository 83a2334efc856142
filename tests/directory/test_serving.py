"""The two services of a directory, spoken to by clients that do not keep to the rules."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from chanlink import CallRefused, Identity, Session, StoreError, Trust, connect
from chanlink.directory import serving as module
from chanlink.directory.entries import MAX_PREKEYS, Signed
from chanlink.directory.interface import LookingUp, Registering, Succession, looking_up, registering
from chanlink.directory.memory import MemoryStore
from chanlink.directory.problems import BadEntry, DirectoryFull, NameTaken, NotAllowed, StoreFailed
from chanlink.directory.serving import directory_services
from chanlink.directory.store import New, Stored
from chanlink.security.keys.successor import LIFE, Successor
from tests.patience import PATIENCE, until

from .hosting import SERVER, Served, served, trust_file
from .made import ALICE, BOB, MALLORY, now_serial, signed

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


@asynccontextmanager
async def session_of(host: Served, who: Identity = ALICE) -> AsyncIterator[Session]:
    async with connect(host.address, identity=who, peer=SERVER.public_key) as session:
        yield session


@asynccontextmanager
async def calls(host: Served, who: Identity = ALICE) -> AsyncIterator[tuple[LookingUp, Registering]]:
    async with session_of(host, who) as session:
        yield looking_up().client(session, "directory"), registering().client(session, "directory.register")


# --- who may register what ----------------------------------------------------------------------


async def test_an_entry_travels_as_it_was_signed() -> None:
    made = await signed()
    async with served() as host, calls(host) as (asks, registers):
        await registers.register(made.entry, made.sshsig, b"prekeys")
        [told] = await asks.lookup("web1")
        assert told == {
            "entry": made.entry,
            "sshsig": made.sshsig,
            "left": told["left"],
            "prekeys": b"prekeys",
        }
        assert 0 < told["left"] <= 600_000


async def test_nobody_registers_for_another_key_not_even_what_that_has_signed() -> None:
    made = await signed(ALICE)
    async with served() as host, calls(host, MALLORY) as (asks, registers):
        with pytest.raises(BadEntry, match="another key than that of this session"):
            await registers.register(made.entry, made.sshsig)
        assert await asks.lookup("web1") == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: Signed(made.entry, made.sshsig[:-1]),
        lambda made: Signed(made.entry + b" ", made.sshsig),
        lambda made: Signed(b"", made.sshsig),
        lambda made: Signed(made.entry, b""),
        lambda made: Signed(made.entry + b"x" * 1_000_000, made.sshsig),
        lambda made: Signed(made.entry.replace(b"web1", b"web2"), made.sshsig),
    ],
    ids=["cut", "more", "empty", "unsigned", "huge", "another-name"],
)
async def test_bad_entries_are_refused_and_the_session_goes_on(spoil: Any) -> None:
    made = await signed()
    bad = spoil(made)
    async with served() as host, calls(host) as (asks, registers):
        with pytest.raises(BadEntry):
            await registers.register(bad.entry, bad.sshsig)
        await registers.register(made.entry, made.sshsig)
        assert await asks.lookup("web2") == []


@pytest.mark.parametrize("seconds", [-1_000, 400])
async def test_entries_of_another_time_are_refused(seconds: int) -> None:
    made = await signed(serial=now_serial() + seconds * 10**9, life=600)
    async with served() as host, calls(host) as (_, registers):
        with pytest.raises(BadEntry, match="clock"):
            await registers.register(made.entry, made.sshsig)


async def test_prekeys_have_a_size() -> None:
    made = await signed()
    async with served() as host, calls(host) as (_, registers):
        with pytest.raises(BadEntry, match="prekeys"):
            await registers.register(made.entry, made.sshsig, b"x" * (MAX_PREKEYS + 1))
        await registers.register(made.entry, made.sshsig, b"x" * MAX_PREKEYS)


# --- a new key for an old name --------------------------------------------------------------------


async def succession(old: Identity, new: Identity, now: float | None = None) -> Succession:
    made = await Successor.made(old, new.public_key, int(time.time() if now is None else now))
    return {"time": made.time, "sshsig": made.sshsig}


async def test_the_first_key_that_an_owner_has_named_takes_its_place(caplog: pytest.LogCaptureFixture) -> None:
    ours, new, other = await signed(ALICE), await signed(BOB), await signed(MALLORY)
    async with served() as host, calls(host) as (asks, alice), calls(host, BOB) as (_, bob):
        await alice.register(ours.entry, ours.sshsig)
        for _ in range(2):
            await bob.register(new.entry, new.sshsig, b"", await succession(ALICE, BOB))
        [told] = await asks.lookup("web1")
        assert told["entry"] == new.entry
        with pytest.raises(NameTaken):
            await alice.register(ours.entry, ours.sshsig)
        async with calls(host, MALLORY) as (_, mallory):
            with pytest.raises(NameTaken):
                await mallory.register(other.entry, other.sshsig, b"", await succession(ALICE, MALLORY))
            await mallory.register(other.entry, other.sshsig, b"", await succession(BOB, MALLORY))
    texts = [record.getMessage() for record in caplog.records if "belongs to" in record.getMessage()]
    assert texts == [
        f"web1 belongs to {one.public_key.fingerprint} from now on, whom its owner has named" for one in (BOB, MALLORY)
    ]


@pytest.mark.parametrize("problem", ["over", "of the future", "of a stranger"])
async def test_one_that_does_not_count_is_as_if_it_were_not_there(problem: str) -> None:
    ours, new, free = await signed(ALICE), await signed(BOB), await signed(BOB, "free")
    shown = {
        "over": await succession(ALICE, BOB, time.time() - LIFE - 60),
        "of the future": await succession(ALICE, BOB, time.time() + 1_000),
        "of a stranger": await succession(MALLORY, BOB),
    }[problem]
    async with served() as host, calls(host) as (asks, alice), calls(host, BOB) as (_, bob):
        await alice.register(ours.entry, ours.sshsig)
        with pytest.raises(NameTaken):
            await bob.register(new.entry, new.sshsig, b"", shown)
        assert len(await asks.lookup("web1")) == 1
        await bob.register(free.entry, free.sshsig, b"", shown)


async def test_one_of_another_key_or_that_can_not_be_read_is_refused() -> None:
    ours, new = await signed(ALICE), await signed(BOB)
    good = await succession(ALICE, BOB)
    bad: list[Succession] = [
        await succession(ALICE, MALLORY),
        {**good, "time": good["time"] + 1},
        {**good, "time": -1},
        {**good, "sshsig": good["sshsig"][:-1]},
        {**good, "sshsig": b""},
        {**good, "sshsig": new.sshsig},
    ]
    async with served() as host, calls(host) as (asks, alice), calls(host, BOB) as (_, bob):
        await alice.register(ours.entry, ours.sshsig)
        for shown in bad:
            with pytest.raises(BadEntry, match="what the old key says"):
                await bob.register(new.entry, new.sshsig, b"", shown)
        [told] = await asks.lookup("web1")
        assert told["entry"] == ours.entry


# --- names in the trust file ----------------------------------------------------------------------


async def test_the_trust_file_gives_names_to_keys(tmp_path: Path) -> None:
    trust = trust_file(tmp_path / "trust", web1_and_web2=ALICE, web1=BOB)
    async with served(trust=trust) as host, calls(host) as (asks, ours), calls(host, BOB) as (_, theirs):
        for who, registers in ((ALICE, ours), (BOB, theirs)):
            made = await signed(who)
            await registers.register(made.entry, made.sshsig)
        assert len(await asks.lookup("web1")) == 2
        made = await signed(BOB, "web2")
        with pytest.raises(NotAllowed, match="other names than web2"):
            await theirs.register(made.entry, made.sshsig)
        assert not await theirs.remove("web2")
        made = await signed(ALICE, "web2")
        await ours.register(made.entry, made.sshsig)
        with pytest.raises(NotAllowed):
            await theirs.remove("web2")
        assert await theirs.remove("web1")
        assert await asks.lookup("web1") == []


async def test_a_changed_trust_file_counts_at_once(tmp_path: Path) -> None:
    trust = trust_file(tmp_path / "trust", web1=ALICE, web2=BOB)
    made = await signed(BOB, "web1")
    async with served(trust=trust) as host, calls(host, BOB) as (_, theirs):
        with pytest.raises(NotAllowed):
            await theirs.register(made.entry, made.sshsig)
        trust_file(tmp_path / "trust", web1=BOB)
        [session] = [one for one in host.listener.sessions if one.peer.key == BOB.public_key]
        await until(lambda: session.peer.names == {"web1"})
        await theirs.register(made.entry, made.sshsig)


async def test_a_name_without_a_line_is_that_of_the_first_who_came(tmp_path: Path) -> None:
    path = tmp_path / "trust"
    path.write_text(f'{MALLORY.public_key}\nnames="web1" {ALICE.public_key}\n')
    made, ours = await signed(MALLORY), await signed()
    async with (
        served(trust=Trust.load(path)) as host,
        calls(host, MALLORY) as (asks, first),
        calls(host) as (_, listed),
    ):
        await first.register(made.entry, made.sshsig)
        with pytest.raises(NameTaken):
            await listed.register(ours.entry, ours.sshsig)
        assert await listed.remove("web1")  # what the trust file says has the last word
        await listed.register(ours.entry, ours.sshsig)
        with pytest.raises(NameTaken):
            await first.register(made.entry, made.sshsig)
        [told] = await asks.lookup("web1")
        assert told["entry"] == ours.entry


async def test_looking_up_and_registering_are_allowed_apart(tmp_path: Path) -> None:
    path = tmp_path / "trust"
    path.write_text(f'services="directory" {ALICE.public_key}\n')
    made = await signed()
    async with served(trust=Trust.load(path)) as host, calls(host) as (asks, registers):
        assert await asks.lookup("web1") == []
        with pytest.raises(CallRefused, match="no-such-service"):
            await registers.register(made.entry, made.sshsig)


# --- bounds and failures ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "x" * 100_000, "\0", "web*"])
async def test_what_is_no_name_is_not_found(name: str) -> None:
    async with served() as host, calls(host) as (asks, registers):
        assert await asks.lookup(name) == []
        await registers.withdraw(name)
        assert not await registers.remove(name)


async def test_a_key_follows_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLLOWERS", 2)
    async with served() as host, calls(host) as (asks, _), calls(host, BOB) as (others, _):
        async with aclosing(asks.changes()) as first, aclosing(asks.changes()) as second:
            assert [await anext(first), await anext(second)] == [{"current": True}] * 2
            with pytest.raises(DirectoryFull):
                await anext(asks.changes())
            async with aclosing(others.changes()) as theirs:
                assert await anext(theirs) == {"current": True}
        with anyio.fail_after(PATIENCE):
            while True:  # those that were closed are known to be so soon
                try:
                    async with aclosing(asks.changes()) as again:
                        assert await anext(again) == {"current": True}
                    break
                except DirectoryFull:
                    await anyio.sleep(0.01)


class Broken(MemoryStore):
    """It can do nothing now."""

    broken = True

    async def find(self, name: str) -> Sequence[Stored]:
        self._check()
        return await super().find(name)

    async def put(self, new: New) -> None:
        self._check()
        await super().put(new)

    async def withdraw(self, name: str, key: bytes) -> None:
        self._check()
        await super().withdraw(name, key)

    async def remove(self, name: str, key: bytes, listed: bool) -> bool:
        self._check()
        return await super().remove(name, key, listed)

    def _check(self) -> None:
        if self.broken:
            raise StoreError("the disk is full: /secret/path")


async def test_a_store_that_fails_is_said_without_a_word_of_it_and_works_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, made = Broken(), await signed()
    async with served(lambda: store) as host, calls(host) as (asks, registers):
        for call in (
            *(asks.lookup("web1") for _ in range(100)),
            registers.register(made.entry, made.sshsig),
            registers.withdraw("web1"),
            registers.remove("web1"),
        ):
            with pytest.raises(StoreFailed) as caught:
                await call
            assert "secret" not in str(caught.value)
        said = caplog.messages.count("the directory's store fails: the disk is full: /secret/path")
        assert 0 < said < 100  # once a second, not for each call
        store.broken = False
        await registers.register(made.entry, made.sshsig)
        assert await asks.lookup("web1")


async def test_a_name_is_freed_for_another_key() -> None:
    made, theirs = await signed(), await signed(BOB)
    async with served() as host, calls(host) as (_, ours), calls(host, BOB) as (asks, others):
        await ours.register(made.entry, made.sshsig)
        with pytest.raises(NameTaken):
            await others.register(theirs.entry, theirs.sshsig)
        assert await ours.remove("web1")
        await others.register(theirs.entry, theirs.sshsig)
        [told] = await asks.lookup("web1")
        assert told["entry"] == theirs.entry


async def test_a_directory_is_made_with_a_store() -> None:
    wrong: Any = "entries.db"
    with pytest.raises(TypeError, match=r"store\.put"):
        async with directory_services(wrong):
            pass


async def test_an_exception_of_its_block_leaves_it_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with directory_services():
            raise KeyError
