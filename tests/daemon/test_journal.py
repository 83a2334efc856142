"""The sessions that were handed over, on disk."""

import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chanlink.daemon import journal
from chanlink.daemon.journal import Journal, read_rows
from chanlink.errors import ConfigError

from .rows import row

ONE, TWO = row(b"1" * 16), row(b"2" * 16, name="bob\n", expiry=7)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@contextmanager
def opened(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    try:
        yield journal
    finally:
        journal.close()


def test_what_was_kept_is_there_for_the_next_one(path: Path) -> None:
    with opened(path) as first:
        first.keep(ONE)
        first.keep(TWO)
        first.keep(ONE._replace(name="another"))
    with opened(path) as second:
        assert second.rows == {ONE.id: ONE._replace(name="another"), TWO.id: TWO}


def test_what_has_ended_is_not_there(path: Path) -> None:
    with opened(path) as first:
        first.keep(ONE)
        first.keep(TWO)
        first.end(ONE)
        first.end(ONE)
        assert read_rows(path) == [TWO]
    with opened(path) as second:
        assert second.rows == {TWO.id: TWO}


def test_it_is_written_before_it_is_closed_so_that_one_who_is_killed_has_lost_nothing(path: Path) -> None:
    with opened(path) as first:
        first.keep(ONE)
        assert read_rows(path) == [ONE]


def test_half_a_line_at_its_end_is_passed_over(path: Path) -> None:
    with opened(path) as first:
        first.keep(ONE)
    with open(path, "ab") as stream:
        stream.write(json.dumps(TWO._asdict()).encode()[:40])
    with opened(path) as second:
        assert second.rows == {ONE.id: ONE}
        second.keep(TWO)
    assert read_rows(path) == [ONE, TWO]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "7",
        "{}",
        '{"id": "00"}',
        json.dumps({**ONE._asdict(), "uid": "0"}),
        json.dumps({**ONE._asdict(), "id": "what"}),
        "\xff",
        '{"end": 7}',
        "[" * 16_000,
        "\n" * 1_000,
    ],
)
def test_what_is_none_of_ours_is_passed_over(path: Path, text: str) -> None:
    path.write_bytes(text.encode("latin-1") + b"\n" + json.dumps(TWO._asdict()).encode() + b"\n")
    with opened(path) as found:
        assert found.rows == {TWO.id: TWO}


def test_how_many_lines_were_passed_over_is_said_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(b"{}\n" * 1_000)
    with opened(path):
        assert caplog.messages == [f"{path}: lines that are none of ours, and were passed over: 1000"]


def test_the_file_grows_by_what_lives_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SPARE", 10)
    with opened(path) as kept:
        kept.keep(TWO)
        for number in range(200):
            one = row(number.to_bytes(16, "big"))
            kept.keep(one)
            kept.end(one)
            assert len(path.read_bytes().splitlines()) <= 16
        assert kept.rows == {TWO.id: TWO}
    assert read_rows(path) == [TWO]


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Files that this process writes have no more bytes."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_one_that_there_is_no_room_for_is_not_kept_and_spoils_no_other(path: Path) -> None:
    with opened(path) as kept:
        kept.keep(ONE)
        with at_most(path.stat().st_size + 10), pytest.raises(OSError, match="room"):
            kept.keep(TWO)
        assert kept.rows == {ONE.id: ONE}
        third = row(b"3" * 16)
        kept.keep(third)
    assert read_rows(path) == [ONE, third]


def test_without_room_for_a_second_file_the_first_one_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SPARE", 0)
    with opened(path) as kept:
        (path.parent / f".{path.name}.new").mkdir()
        for number in range(10):
            one = row(number.to_bytes(16, "big"))
            kept.keep(one)
            kept.end(one)
        kept.keep(TWO)
        assert len(path.read_bytes().splitlines()) == 21
        (path.parent / f".{path.name}.new").rmdir()
        kept.keep(ONE)
        assert len(path.read_bytes().splitlines()) == 2
    assert read_rows(path) == [TWO, ONE]


def test_it_is_for_its_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(path) as kept:
            kept.keep(ONE)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_missing_is_an_error(path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Journal(path / "below")


def test_without_a_file_there_are_no_sessions(path: Path) -> None:
    assert read_rows(path) == []
