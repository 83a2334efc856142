"""The sessions that were handed over, and who holds them."""

import json
from pathlib import Path
from typing import Any

import pytest

import chanlink
from chanlink.daemon import lines as lines_module
from chanlink.daemon.audit import Audit
from chanlink.daemon.bounds import SESSIONS, Full
from chanlink.daemon.journal import INCOMING, OUTGOING, Journal, read_rows
from chanlink.daemon.lines import ATTACH, Lines
from chanlink.security.keys.presented import Presented
from tests.security.keys.credentials import CA

from .rows import row

ID, OTHER = b"1" * 16, b"2" * 16


class Application:
    """Holds sessions, and is told."""

    def __init__(self) -> None:
        self.told: list[tuple[bytes, str]] = []

    def tell(self, id_: bytes, code: str) -> None:
        self.told.append((id_, code))

    def rename(self, id_: bytes, name: str) -> None:
        self.told.append((id_, f"is {name}"))

    def lost(self, id_: bytes) -> None:
        self.told.append((id_, "lost"))


class Kept:
    """Lines, and the files that they are kept in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.lines = self.again(0.0)

    def again(self, now: float) -> Lines:
        """As after a start of the daemon."""
        self.lines = Lines(Journal(self._folder / "sessions"), Audit(self._folder / "audit"), now)
        return self.lines

    def audited(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self._folder / "audit").read_text().splitlines()]

    def codes(self) -> list[str]:
        return [line["code"] for line in self.audited()]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_a_session_lives_until_its_application_says_that_it_is_over(kept: Kept) -> None:
    entry = kept.lines.begin(row(ID), Application())
    assert kept.lines.find(ID) is entry
    assert list(kept.lines) == [entry]
    kept.lines.end(entry, "done")
    kept.lines.end(entry, "done")
    assert kept.lines.find(ID) is None
    assert len(kept.lines) == len(kept.lines.held) == 0
    assert kept.codes() == ["done"]


def test_an_outgoing_session_is_over_when_its_line_is(kept: Kept) -> None:
    application = Application()
    entry = kept.lines.begin(row(ID), application)
    kept.lines.let_go(entry, application, 0.0)
    assert kept.codes() == [""]


def test_a_line_that_another_one_has_followed_says_nothing(kept: Kept) -> None:
    first, second = Application(), Application()
    entry = kept.lines.begin(row(ID), first)
    entry.hold(second)
    kept.lines.let_go(entry, first, 0.0)
    assert kept.lines.find(ID) is entry
    kept.lines.let_go(entry, second, 0.0)
    assert kept.lines.find(ID) is None
    assert (first.told, second.told) == ([(ID, "lost")], [])


def test_a_try_to_come_back_that_has_failed_ends_nothing(kept: Kept) -> None:
    first, attempt = Application(), Application()
    entry = kept.lines.begin(row(ID), first)
    entry.lend(attempt)
    kept.lines.let_go(entry, attempt, 0.0)
    kept.lines.step(1_000_000.0, 0.0)
    assert entry.holders == [first]
    kept.lines.let_go(entry, first, 0.0)
    assert kept.codes() == [""]


def test_a_try_that_has_failed_after_a_start_of_the_daemon_leaves_the_session_waiting(kept: Kept) -> None:
    kept.lines.begin(row(ID), Application())
    lines = kept.again(0.0)
    entry, attempt = lines.find(ID), Application()
    assert entry is not None
    entry.lend(attempt)
    lines.step(ATTACH, 0.0)
    lines.let_go(entry, attempt, 100.0)
    lines.step(100.0 + ATTACH - 1, 0.0)
    assert lines.find(ID) is entry
    lines.step(100.0 + ATTACH, 0.0)
    assert kept.codes() == ["not-attached"]


def test_a_line_that_came_back_and_was_attached_is_the_sessions_own(kept: Kept) -> None:
    first, second = Application(), Application()
    entry = kept.lines.begin(row(ID), first)
    entry.lend(second)
    kept.lines.let_go(entry, first, 0.0)
    assert kept.lines.find(ID) is entry
    entry.hold(second)
    kept.lines.let_go(entry, second, 0.0)
    assert kept.codes() == [""]


def test_both_lines_of_a_session_are_told_that_it_is_over(kept: Kept) -> None:
    first, second = Application(), Application()
    entry = kept.lines.begin(row(ID), first)
    entry.lend(second)
    kept.lines.revoke(entry)
    assert first.told == second.told == [(ID, "revoked")]


def test_who_holds_a_session_is_told_what_its_peer_is_called_by_now(kept: Kept) -> None:
    application = Application()
    entry = kept.lines.begin(row(ID), application)
    kept.lines.change(entry, row(ID, name="web2"))
    kept.lines.change(entry, row(ID, name="web2", expiry=7))
    assert application.told == [(ID, "is web2")]
    assert [one.row.name for one in kept.again(0.0)] == ["web2"]


def test_an_incoming_session_waits_for_its_application_for_a_while(kept: Kept) -> None:
    application = Application()
    entry = kept.lines.begin(row(ID, INCOMING), application)
    kept.lines.let_go(entry, application, 100.0)
    kept.lines.step(100.0 + ATTACH - 1, 0.0)
    assert kept.lines.find(ID) is entry
    second = Application()
    entry.hold(second)
    kept.lines.step(1_000_000.0, 0.0)
    assert kept.lines.find(ID) is entry
    kept.lines.let_go(entry, second, 100.0 - ATTACH)
    kept.lines.step(100.0, 0.0)
    assert kept.codes() == ["not-attached"]


def test_a_session_ends_with_what_vouches_for_its_peer(kept: Kept) -> None:
    application = Application()
    kept.lines.begin(row(ID, expiry=1_000), application)
    kept.lines.begin(row(OTHER), application)
    kept.lines.step(0.0, 999.0)
    assert len(kept.lines) == 2
    kept.lines.step(0.0, 1_000.0)
    assert application.told == [(ID, "expired")]
    assert kept.codes() == ["expired"]


@pytest.mark.parametrize("way", [OUTGOING, INCOMING])
def test_a_daemon_that_starts_again_has_the_sessions_of_before(kept: Kept, way: str) -> None:
    kept.lines.begin(row(ID, way), Application())
    lines = kept.again(500.0)
    entry = lines.owned(ID, 1001, "ping", way)
    assert entry is not None
    assert entry.holders == []
    assert lines.held.of(1001) == 1
    lines.step(500.0 + ATTACH - 1, 0.0)
    assert lines.find(ID) is entry
    lines.step(500.0 + ATTACH, 0.0)
    assert kept.codes() == ["not-attached"]
    assert len(kept.again(600.0)) == 0


@pytest.mark.parametrize(
    ("id_", "uid", "service", "way"),
    [
        (OTHER, 1001, "ping", OUTGOING),
        (ID, 1002, "ping", OUTGOING),
        (ID, 1001, "echo", OUTGOING),
        (ID, 1001, "ping", INCOMING),
    ],
)
def test_nobody_else_owns_a_session(kept: Kept, id_: bytes, uid: int, service: str, way: str) -> None:
    kept.lines.begin(row(ID), Application())
    assert kept.lines.owned(ID, 1001, "ping", OUTGOING) is not None
    assert kept.lines.owned(id_, uid, service, way) is None


def test_who_holds_a_session_is_told_that_it_is_revoked(kept: Kept) -> None:
    application = Application()
    entry = kept.lines.begin(row(ID), application)
    kept.lines.revoke(entry)
    kept.lines.revoke(entry)
    assert application.told == [(ID, "revoked")]
    assert kept.codes() == ["revoked"]
    assert kept.lines.find(ID) is None


def test_who_attaches_a_session_later_is_told_that_it_was_revoked_and_nobody_else_is(kept: Kept) -> None:
    kept.lines.begin(row(ID), Application())
    lines = kept.again(0.0)
    entry = lines.find(ID)
    assert entry is not None
    lines.revoke(entry)
    assert lines.why_over(ID, 1001) == "revoked"
    assert lines.why_over(ID, 1002) == lines.why_over(OTHER, 1001) == "unknown-session"


def test_what_was_revoked_is_forgotten_when_it_is_too_much(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "REMEMBERED", 2)
    ids = [bytes([number]) * 16 for number in range(3)]
    for id_ in ids:
        application = Application()
        entry = kept.lines.begin(row(id_, INCOMING), application)
        kept.lines.let_go(entry, application, 0.0)
        kept.lines.revoke(entry)
    assert [kept.lines.why_over(id_, 1001) for id_ in ids] == ["unknown-session", "revoked", "revoked"]


def test_one_user_has_so_many_sessions_and_others_have_theirs(kept: Kept) -> None:
    for number in range(SESSIONS.of_user):
        kept.lines.begin(row(number.to_bytes(16, "big")), Application())
    with pytest.raises(Full):
        kept.lines.begin(row(ID), Application())
    kept.lines.begin(row(ID, uid=1002), Application())


def test_incoming_sessions_of_a_key_are_counted(kept: Kept) -> None:
    key = bytes(32).hex()
    entry = kept.lines.begin(row(ID, INCOMING), Application())
    kept.lines.begin(row(OTHER, OUTGOING), Application())
    assert kept.lines.of_key(key) == 1
    kept.lines.end(entry, "")
    assert kept.lines.of_key(key) == 0


def test_what_cannot_be_written_down_has_not_begun(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Journal, entry: object) -> None:
        raise OSError(28, "no room")

    monkeypatch.setattr(Journal, "_append", full)
    with pytest.raises(OSError, match="no room"):
        kept.lines.begin(row(ID), Application())
    assert len(kept.lines) == len(kept.lines.held) == 0


def test_nothing_begins_while_what_has_ended_is_in_no_audit(tmp_path: Path) -> None:
    """It is written, with the time of its end, as soon as it can be; a daemon that is killed before has it still."""
    folder = tmp_path / "audited"
    folder.mkdir()
    lines = Lines(Journal(tmp_path / "sessions"), Audit(folder / "audit"), 0.0)
    entry = lines.begin(row(ID), Application())
    (folder / "audit").unlink()
    folder.rmdir()
    lines.end(entry, "revoked")
    assert len(lines) == len(lines.held) == 0
    assert [one.id for one in read_rows(tmp_path / "sessions")] == [entry.row.id]
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            lines.begin(row(OTHER), Application())
    assert not len(lines)
    folder.mkdir()
    lines.step(0.0, 0.0)
    assert [json.loads(line)["code"] for line in (folder / "audit").read_text().splitlines()] == ["revoked"]
    assert read_rows(tmp_path / "sessions") == []
    lines.begin(row(OTHER), Application())


def test_what_a_peer_has_shown_is_read_once_until_it_shows_something_else(kept: Kept) -> None:
    key = chanlink.Identity.generate("alice").public_key
    one, other = (CA("org").issue(key, "alice") for _ in range(2))
    shown = row(ID, INCOMING, key=key.raw.hex(), credential=one.blob.hex(), address="192.0.2.1")
    entry = kept.lines.begin(shown, Application())
    first = entry.presented()
    assert first == Presented(key, one, None, "192.0.2.1")
    kept.lines.change(entry, shown._replace(address="192.0.2.2"))
    assert entry.presented().credential is first.credential
    assert entry.presented().address == "192.0.2.2"
    kept.lines.change(entry, shown._replace(credential=other.blob.hex()))
    assert entry.presented().credential == other
