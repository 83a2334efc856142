"""A daemon's folder, as the command makes and shows it."""

import json
import os
import pwd
from pathlib import Path

import pytest

import chanlink
from chanlink.daemon import settings
from chanlink.daemon.folder import Folder
from chanlink.daemon.journal import INCOMING, Journal
from chanlink.daemon.running import locked
from tests.command.calls import Call, assert_one_line
from tests.daemon.rows import row

US = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def folder(call: Call, tmp_path: Path) -> Path:
    called = call("daemon", "init", "--own", "--folder", tmp_path / "daemon", "--comment", "this machine")
    assert called.status == 0
    assert Folder.opened(tmp_path / "daemon").host().public_key == chanlink.PublicKey.parse(called.out.strip())
    assert called.out.strip().endswith("this machine")
    return tmp_path / "daemon"


def test_a_folder_is_not_made_where_there_is_one(call: Call, folder: Path) -> None:
    called = call("daemon", "init", "--folder", folder)
    assert (called.status, called.out) == (1, "")
    assert "File exists" in called.err


def test_a_folder_has_groups_unless_it_is_ones_own(call: Call, folder: Path, tmp_path: Path) -> None:
    call("daemon", "init", "--folder", tmp_path / "of-groups")
    assert not settings.load(folder / "daemon.toml").groups
    assert settings.load(tmp_path / "of-groups" / "daemon.toml").groups


def test_services_are_added(call: Call, folder: Path) -> None:
    assert call("daemon", "service", "add", "ping", "--folder", folder) == (0, "", "")
    assert call("daemon", "service", "add", "echo", "--incoming", "--trust", "trusted", "--folder", folder).status == 0
    assert settings.load(folder / "daemon.toml").services == {
        "ping": settings.Service("ping"),
        "echo": settings.Service("echo", True, Path("trusted").absolute()),
    }
    assert "already" in call("daemon", "service", "add", "ping", "--folder", folder).err
    assert "name of a service" in call("daemon", "service", "add", "Ping", "--folder", folder).err


def test_services_are_removed(call: Call, folder: Path) -> None:
    for name in ("ping", "echo"):
        assert call("daemon", "service", "add", name, "--folder", folder).status == 0
    assert call("daemon", "service", "remove", "ping", "--folder", folder) == (0, "", "")
    assert settings.load(folder / "daemon.toml").services == {"echo": settings.Service("echo")}
    assert_one_line(
        call("daemon", "service", "remove", "ping", "--folder", folder), "no service 'ping'; there are: echo"
    )


def test_the_key_of_a_user_is_removed_and_its_public_half_is_printed(call: Call, folder: Path) -> None:
    key = call("daemon", "user", "add", US, "--folder", folder).out
    assert call("daemon", "user", "remove", US, "--folder", folder) == (0, key, "")
    assert Folder.opened(folder).users() == {}
    assert_one_line(call("daemon", "user", "remove", US, "--folder", folder), f"{US} has no key here")
    assert call("daemon", "user", "add", US, "--folder", folder).out != key


def test_which_groups_are_missing_is_said(call: Call, tmp_path: Path) -> None:
    call("daemon", "init", "--folder", tmp_path / "of-groups")
    called = call("daemon", "service", "add", "no-such", "--incoming", "--folder", tmp_path / "of-groups")
    assert called.status == 0
    assert "groupadd --system ipc-no-such" in called.err
    assert "groupadd --system import-no-such" in called.err


def test_a_trust_file_that_is_of_no_use_or_missing_is_said(call: Call, folder: Path) -> None:
    called = call("daemon", "service", "add", "ping", "--trust", "trusted", "--folder", folder)
    assert (called.status, called.out) == (1, "")
    assert "--incoming" in called.err
    called = call("daemon", "service", "add", "ping", "--incoming", "--trust", "trusted", "--folder", folder)
    assert called.status == 0
    assert "there is no file" in called.err


def test_a_user_gets_a_key_and_its_public_half_is_printed(call: Call, folder: Path) -> None:
    called = call("daemon", "user", "add", US, "--folder", folder)
    assert called.status == 0
    assert Folder.opened(folder).users() == {US: chanlink.PublicKey.parse(called.out.strip())}
    again = call("daemon", "user", "add", US, "--folder", folder)
    assert (again.status, again.out) == (1, "")
    assert f"{folder}/users/{US}/id_ed25519.pub" in again.err


def test_a_user_that_there_is_not_gets_no_key(call: Call, folder: Path) -> None:
    called = call("daemon", "user", "add", "no-such-user", "--folder", folder)
    assert (called.status, called.out) == (1, "")
    assert "there is no user 'no-such-user'" in called.err


def test_sessions_are_listed_and_that_no_daemon_runs_is_said(call: Call, folder: Path) -> None:
    assert call("daemon", "status", "--folder", folder).status == 1
    journal = Journal(folder / "sessions")
    rows = [row(b"1" * 16), row(b"2" * 16, INCOMING, name="bob\x1b[2J", since=1_800_000_001.0)]
    for one in rows:
        journal.keep(one)
    with locked(folder):
        called = call("daemon", "status", "--folder", folder)
        assert (called.status, called.err) == (0, "")
        first, second = called.out.splitlines()
        assert first.startswith("alice -> web1  ping  web1")
        assert second.startswith("alice <- web1  ping  bob\\x1b[2J")
        out = call("daemon", "status", "--json", "--folder", folder).out
        assert [json.loads(line) for line in out.splitlines()] == [one._asdict() for one in rows]
    journal.close()
    called = call("daemon", "status", "--folder", folder)
    assert called.status == 1
    assert "no daemon runs" in called.err


def test_a_folder_that_is_none_is_one_line(call: Call, tmp_path: Path) -> None:
    for words in (["status"], ["service", "add", "ping"], ["user", "add", US]):
        called = call("daemon", *words, "--folder", tmp_path / "missing")
        assert called.status == 1
        assert len(called.err.splitlines()) == 1
