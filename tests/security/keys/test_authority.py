"""Whom a listener lets in, while files change and keys take the place of others."""

import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from chanlink import Identity, PublicKey, Trust, TrustFormatError, UntrustedPeer
from chanlink.security.keys.authority import Authority
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.successor import Successor
from chanlink.security.keys.trust import Grant
from tests.patience import until

from .credentials import CA
from .test_authority_files import line, write

pytestmark = pytest.mark.anyio

ORG = CA("org")
OURS, OLD, NEW, OTHER = (Identity.generate(name) for name in ("ours", "old", "new", "other"))
NOW = int(time.time())


def is_in(authority: Authority, presented: Presented) -> bool:
    try:
        authority.admit(presented, NOW)
    except UntrustedPeer:
        return False
    return True


async def succession(new: Identity = NEW, old: Identity = OLD, now: int = NOW) -> Presented:
    return Presented(new.public_key, None, await Successor.made(old, new.public_key, now))


class Watching:
    """An authority that watches its files, as a listener has it."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.changes = 0

    def changed(self) -> None:
        self.changes += 1


@asynccontextmanager
async def watching(authority: Authority) -> AsyncIterator[Watching]:
    watcher = Watching(authority)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(authority.watch, 0.01, watcher.changed)
        yield watcher
        tasks.cancel_scope.cancel()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trust"


# --- without watching ---------------------------------------------------------------------------


def test_who_is_in_the_trust_is_let_in_and_nobody_else() -> None:
    authority = Authority(Trust.of(OURS.public_key))
    assert authority.admit(Presented(OURS.public_key), 0).name == "ours"
    with pytest.raises(UntrustedPeer):
        authority.admit(Presented(OTHER.public_key), 0)


def test_a_list_for_all_is_asked_for_those_who_have_a_line_too(file: Path) -> None:
    krl = write(file.with_name("krl"), OURS.public_key)
    authority = Authority(Trust.of(OURS.public_key, OTHER.public_key), krl)
    assert not is_in(authority, Presented(OURS.public_key))
    assert is_in(authority, Presented(OTHER.public_key))
    assert not is_in(Authority(Trust.anyone(["x"]), krl), Presented(OURS.public_key))


def test_a_list_of_a_line_is_asked_for_those_whom_it_lets_in(file: Path) -> None:
    krl = write(file.with_name("krl"), OURS.public_key)
    authority = Authority(Trust.load(write(file, line(krl, ca=ORG))))
    assert is_in(authority, Presented(OTHER.public_key, ORG.issue(OTHER.public_key)))
    assert not is_in(authority, Presented(OURS.public_key, ORG.issue(OURS.public_key)))


@pytest.mark.parametrize("which", ["of a line", "for all"])
def test_a_list_that_cannot_be_read_is_an_error_at_once(which: str, file: Path) -> None:
    krl = file.with_name("krl")
    write(file, line(krl) if which == "of a line" else OURS.public_key)
    with pytest.raises(TrustFormatError, match="krl: No such file"):
        Authority(Trust.load(file), krl if which == "for all" else None)


async def test_the_first_key_that_comes_in_the_place_of_another_wins(caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(Trust.of(OLD.public_key))
    mine, thiefs = await succession(NEW), await succession(OTHER)
    assert authority.admit(mine, NOW) == Grant("old", None)
    assert authority.admit(mine, NOW) == Grant("old", None)
    assert is_in(authority, Presented(NEW.public_key))  # it need not be shown again
    assert not is_in(authority, thiefs)
    assert not is_in(authority, Presented(OLD.public_key))
    (record,) = caplog.records
    assert record.getMessage() == (
        f"old has the key {NEW.public_key.fingerprint} from now on, in the place of {OLD.public_key.fingerprint}, "
        "which is revoked"
    )
    assert is_in(authority, await succession(OTHER, old=NEW))  # a chain, and nobody comes back by it
    assert not is_in(authority, await succession(OLD, old=OTHER))


async def test_a_key_that_was_followed_is_not_trusted_again_whatever_the_file_says(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(Trust.load(write(file, OLD.public_key)))
    authority.admit(await succession(), NOW)
    authority.change(Trust.load(file))
    assert f"names the key {OLD.public_key.fingerprint} again" in caplog.text
    assert not is_in(authority, Presented(OLD.public_key))
    assert is_in(authority, Presented(NEW.public_key))
    authority.change(Trust.load(write(file, OTHER.public_key)))
    assert not is_in(authority, Presented(NEW.public_key))


async def test_one_who_is_let_in_otherwise_takes_nobodys_place(file: Path) -> None:
    authority = Authority(Trust.load(write(file, OLD.public_key, line(write(file.with_name("krl")), ca=ORG))))
    presented = (await succession())._replace(credential=ORG.issue(NEW.public_key))
    assert authority.admit(presented, NOW).name == "alice@example"
    assert is_in(authority, Presented(OLD.public_key))


# --- watching -----------------------------------------------------------------------------------


async def test_a_trust_file_that_changes_is_in_force_soon(file: Path) -> None:
    async with watching(Authority(Trust.load(write(file, OURS.public_key)))) as watcher:
        write(file, OTHER.public_key)
        await until(lambda: watcher.changes)
        assert is_in(watcher.authority, Presented(OTHER.public_key))
        assert not is_in(watcher.authority, Presented(OURS.public_key))


@pytest.mark.parametrize("which", ["of a line", "for all"])
async def test_what_a_list_revokes_is_in_force_soon(which: str, file: Path) -> None:
    krl = write(file.with_name("krl"))
    presented = Presented(OURS.public_key, ORG.issue(OURS.public_key))
    if which == "of a line":
        authority = Authority(Trust.load(write(file, line(krl, ca=ORG))))
    else:
        authority = Authority(Trust.of(OURS.public_key), krl)
    async with watching(authority) as watcher:
        assert is_in(authority, presented)
        write(krl, OURS.public_key)
        await until(lambda: watcher.changes)
        assert not is_in(authority, presented)


async def test_a_list_that_breaks_leaves_things_as_they_are(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    krl = write(file.with_name("krl"), OURS.public_key)
    async with watching(Authority(Trust.of(OURS.public_key, OTHER.public_key), krl)) as watcher:
        write(krl, "nonsense")
        await until(lambda: caplog.records)
        assert not is_in(watcher.authority, Presented(OURS.public_key))
        write(krl, OTHER.public_key)
        await until(lambda: watcher.changes)
        assert is_in(watcher.authority, Presented(OURS.public_key))
        assert not is_in(watcher.authority, Presented(OTHER.public_key))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_who_was_followed_is_written_down_and_known_after_a_restart(file: Path) -> None:
    write(file, f'services="ping" {PublicKey(OLD.public_key.raw)} web server')
    before = Authority(Trust.load(file))
    async with watching(before) as watcher:
        before.admit(await succession(), NOW)
        await until(lambda: "@revoked" in file.read_text())
        await until(lambda: watcher.changes)
    after = Authority(Trust.load(file))
    assert after.admit(Presented(NEW.public_key), NOW) == Grant("web server", frozenset({"ping"}))
    assert not is_in(after, Presented(OLD.public_key))
    assert not is_in(after, await succession(OTHER))


async def test_who_was_followed_before_it_watched_is_written_down_too(file: Path) -> None:
    authority = Authority(Trust.load(write(file, OLD.public_key)))
    authority.admit(await succession(), NOW)
    async with watching(authority):
        await until(lambda: "@revoked" in file.read_text())


async def test_sessions_are_looked_at_where_there_is_no_file_either() -> None:
    """Those of the old key have to end."""
    async with watching(Authority(Trust.of(OLD.public_key))) as watcher:
        await anyio.sleep(0.02)  # it waits by now; if not, the rest is as good
        watcher.authority.admit(await succession(), NOW)
        await until(lambda: watcher.changes)
        assert watcher.changes == 1


async def test_a_file_that_cannot_be_written_is_no_reason_not_to_follow(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = file.parent / "folder"
    folder.mkdir()
    authority = Authority(Trust.load(write(folder / "trust", OLD.public_key)))
    folder.rename(file.parent / "moved")
    folder.touch()
    authority.admit(await succession(), NOW)
    async with watching(authority):
        await until(lambda: "is a good one again, unless" in caplog.text)
    assert is_in(authority, Presented(NEW.public_key))
    assert not is_in(authority, Presented(OLD.public_key))


async def test_a_system_without_locks_is_no_reason_either(
    file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has a successor must not be able to end a listener."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    authority = Authority(Trust.load(write(file, OLD.public_key)))
    authority.admit(await succession(), NOW)
    async with watching(authority) as watcher:
        await until(lambda: "is a good one again, unless" in caplog.text)
        write(file, OLD.public_key, OURS.public_key)
        await until(lambda: is_in(authority, Presented(OURS.public_key)))
        assert watcher.changes
    assert not is_in(authority, Presented(OLD.public_key))


async def test_of_two_processes_with_one_file_the_first_that_writes_decides(file: Path) -> None:
    write(file, OLD.public_key)
    one, other = Authority(Trust.load(file)), Authority(Trust.load(file))
    other.admit(await succession(OTHER), NOW)
    async with watching(one):
        one.admit(await succession(NEW), NOW)
        await until(lambda: "@revoked" in file.read_text())
    async with watching(other):
        await until(lambda: not is_in(other, Presented(OTHER.public_key)))
    assert is_in(other, Presented(NEW.public_key))
    assert not is_in(other, Presented(OLD.public_key))
