"""The audit: a line for each connection."""

import datetime
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from chanlink.daemon.audit import REFUSALS, Audit
from chanlink.daemon.journal import INCOMING
from chanlink.errors import ConfigError

from .rows import row


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_session_that_is_over_is_one_line_with_its_begin_and_its_end(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit")
    audit.ended(row(b"1" * 16, INCOMING, issuer="example", principal="alice"), "revoked", 1_800_000_007.5)
    (line,) = lines(tmp_path / "audit")
    begin, end = (datetime.datetime.fromisoformat(line[name]) for name in ("begin", "end"))
    assert begin == datetime.datetime.fromtimestamp(1_800_000_000, datetime.UTC)
    assert (end - begin).total_seconds() == 7.5
    assert line["code"] == "revoked"
    assert (line["way"], line["user"], line["uid"], line["service"]) == ("incoming", "alice", 1001, "ping")
    assert (line["issuer"], line["principal"], line["id"]) == ("example", "alice", (b"1" * 16).hex())
    assert line["key"].startswith("SHA256:")
    assert "credential" not in line


def test_a_refusal_is_one_line(tmp_path: Path) -> None:
    Audit(tmp_path / "audit").refused("outgoing", "wrong-peer", uid=1001, service="ping", host="web1")
    (line,) = lines(tmp_path / "audit")
    assert line.pop("end")
    assert line == {"refused": "wrong-peer", "way": "outgoing", "uid": 1001, "service": "ping", "host": "web1"}


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit")
    audit.ended(row(), "", 0.0)
    (tmp_path / "audit").rename(tmp_path / "audit.1")
    audit.ended(row(), "", 0.0)
    assert len(lines(tmp_path / "audit.1")) == len(lines(tmp_path / "audit")) == 1
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o600


def test_strangers_do_not_decide_how_long_it_is(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit")
    for _ in range(20 * REFUSALS):
        audit.refused("incoming", "untrusted")
    assert len(lines(tmp_path / "audit")) < 3 * REFUSALS


def test_what_was_left_out_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("chanlink.daemon.audit.time.monotonic", lambda: now)
    audit = Audit(tmp_path / "audit")
    for _ in range(REFUSALS + 7):
        audit.refused("incoming", "untrusted")
    now += 1.0
    audit.refused("incoming", "untrusted")
    written = lines(tmp_path / "audit")
    assert len(written) == REFUSALS + 1
    assert written[-1]["left_out"] == 7


def test_without_a_file_the_log_has_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Audit(None).refused("incoming", "untrusted", host="192.0.2.1:1")
    assert '"refused": "untrusted"' in caplog.text


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Audit(tmp_path / "missing" / "audit")


def test_a_line_that_cannot_be_written_later_is_said_once_a_second(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    audit = Audit(tmp_path / "folder" / "audit")
    (tmp_path / "folder" / "audit").unlink()
    (tmp_path / "folder").rmdir()
    monkeypatch.setattr("chanlink.daemon.audit.time.monotonic", lambda: 100.0)
    for _ in range(5):
        with pytest.raises(FileNotFoundError):
            audit.ended(row(), "", 0.0)
        audit.refused("incoming", "untrusted")
    assert caplog.text.count("can't be written") == 1
    (tmp_path / "folder").mkdir()
    audit.refused("incoming", "untrusted")
    assert [line["left_out"] for line in lines(tmp_path / "folder" / "audit")] == [5]


def test_what_reads_it_may_be_another_process(tmp_path: Path) -> None:
    """By a pipe with a name, in which nothing can be taken back."""
    os.mkfifo(tmp_path / "audit")
    reader = os.open(tmp_path / "audit", os.O_RDONLY | os.O_NONBLOCK)
    try:
        Audit(tmp_path / "audit").ended(row(), "", 0.0)
        assert json.loads(os.read(reader, 65_536))["user"] == "alice"
    finally:
        os.close(reader)
