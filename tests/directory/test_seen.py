"""What a client of a directory has seen."""

import pytest

from chanlink import clock
from chanlink.directory import seen
from chanlink.directory.entries import Entry, Said
from chanlink.directory.seen import Seen

from .made import ALICE, BOB


def said(serial: int, name: str = "web1") -> Said:
    return Said(name, ALICE.public_key, serial, 600, (), ())


def entry(left: float, name: str = "web1") -> Entry:
    return Entry(name, ALICE.public_key, (), (), 1, b"", clock.now() + left)


def test_a_serial_that_was_seen_stays_seen() -> None:
    known = Seen()
    assert [known.is_newest(said(serial)) for serial in (5, 5, 4, 6, 5)] == [True, True, False, True, False]
    assert known.is_newest(said(1, "web2"))
    assert known.is_newest(Said("web1", BOB.public_key, 1, 600, (), ()))


def test_so_many_serials_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "SERIALS", 3)
    known = Seen()
    for number in range(3):
        known.is_newest(said(5, f"web{number}"))
    assert not known.is_newest(said(4, "web0"))  # which was seen last now
    known.is_newest(said(5, "web3"))
    assert known.is_newest(said(4, "web1"))
    assert not known.is_newest(said(4, "web0"))


def test_what_was_found_is_found_until_one_of_it_expires() -> None:
    known, good = Seen(), entry(60)
    known.keep("web1", [good])
    assert known.find("web1") == [good]
    assert known.find("web2") == []
    known.keep("web1", [good, entry(0)])
    assert known.find("web1") == []
    assert known.find("web1") == []


def test_that_there_is_nothing_is_not_kept() -> None:
    known = Seen()
    known.keep("web1", [entry(60)])
    known.keep("web1", [])
    assert known.find("web1") == []


def test_so_many_names_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "NAMES", 2)
    known = Seen()
    for name in ("a", "b", "a", "c"):
        known.keep(name, [entry(60, name)])
    assert [bool(known.find(name)) for name in "abc"] == [True, False, True]
