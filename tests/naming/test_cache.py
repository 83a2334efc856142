"""What directories have said, in a file: for how long it holds, and what is made of what stands there."""

import json
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from chanlink import Identity
from chanlink.naming import cache
from chanlink.naming.cache import Cache, Kept, read_rows, write_rows

KEY, OTHER = Identity.generate("web1").public_key, Identity.generate("web2").public_key
DIRECTORY = "tcp://dir"


def kept(name: str = "web1", life: float = 600.0, age: float = 0.0, **fields: Any) -> Kept:
    now = time.time()
    row = Kept(DIRECTORY, name, KEY, ("tcp://host:1",), 5, now - age, now - age + life)
    return row._replace(**fields)


@pytest.fixture
def file(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "a" / "chanlink" / "names.json")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_kept_is_found_and_only_by_the_user(file: Cache) -> None:
    rows = [kept(), kept(key=OTHER)]
    before = os.umask(0)
    try:
        file.keep(DIRECTORY, "web1", rows)
    finally:
        os.umask(before)
    assert file.find(DIRECTORY, "web1") == rows
    assert file.find(DIRECTORY, "web2") == file.find("tcp://other", "web1") == []
    assert file.path is not None
    assert [mode(file.path), mode(file.path.parent)] == [0o600, 0o700]
    assert os.listdir(file.path.parent) == ["names.json"]


def test_what_is_said_of_a_name_takes_the_place_of_what_was_said_before(file: Cache) -> None:
    file.keep(DIRECTORY, "web1", [kept(), kept(key=OTHER)])
    file.keep(DIRECTORY, "web2", [kept("web2")])
    file.keep(DIRECTORY, "web1", [kept(serial=9)])
    assert [row.serial for row in file.find(DIRECTORY, "web1")] == [9]
    assert file.find(DIRECTORY, "web2")
    file.keep(DIRECTORY, "web1", [])
    assert file.find(DIRECTORY, "web1") == []


@pytest.mark.parametrize(
    "times",
    [
        {"age": 601.0},
        {"age": -1000.0},  # the clock was put back
        {"life": 3_601.0},
        {"life": -5.0},
    ],
    ids=["over", "from later", "too long", "never"],
)
def test_what_does_not_hold_is_not_found_nor_are_others_of_its_name(file: Cache, times: dict[str, float]) -> None:
    file.keep(DIRECTORY, "web1", [kept(key=OTHER), kept(**times)])
    assert file.find(DIRECTORY, "web1") == []


def test_there_are_not_too_many_rows_and_those_that_hold_longest_stay(
    file: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MOST", 3)
    for number in (2, 5, 3, 1, 4):
        file.keep(DIRECTORY, f"web{number}", [kept(f"web{number}", life=100.0 * number)])
    assert [name for name in (f"web{n}" for n in range(1, 6)) if file.find(DIRECTORY, name)] == ["web3", "web4", "web5"]


def test_the_file_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [kept(f"web{number}", addresses=("tcp://" + "x" * 290,) * 16) for number in range(200)]
    assert len(write_rows(rows)) <= cache.FILE_MAX
    assert len(read_rows(write_rows(rows))) > 20
    assert read_rows(b"[" + b" " * cache.FILE_MAX + b"]") == []


GOOD = json.loads(write_rows([kept()]))[0]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"[",
        b"3",
        b"null",
        b"{}",
        b"[" * 100_000,
        b"[" + b"9" * 5_000 + b"]",
        b"[3, null, [], {}]",
    ],
    ids=range(9),
)
def test_what_is_no_such_file_has_no_rows(text: bytes) -> None:
    assert read_rows(text) == []


@pytest.mark.parametrize(
    "change",
    [
        {"key": "ssh-ed25519 AAAA"},
        {"key": 5},
        {"name": "x" * 201},
        {"name": None},
        {"directory": ["x"]},
        {"addresses": "tcp://x"},
        {"addresses": [5]},
        {"addresses": ["tcp://" + "x" * 300]},
        {"addresses": ["tcp://x"] * 17},
        {"serial": 0},
        {"serial": True},
        {"serial": 2**63},
        {"serial": 1.0},
        {"since": "now"},
        {"since": float("nan")},
        {"until": float("inf")},
        {"until": True},
        {"more": 1},
    ],
    ids=range(18),
)
def test_a_row_that_is_not_as_it_should_be_is_none(change: dict[str, Any]) -> None:
    assert len(read_rows(json.dumps([GOOD]).encode())) == 1
    assert read_rows(json.dumps([{**GOOD, **change}]).encode()) == []
    assert len(read_rows(json.dumps([{**GOOD, **change}, GOOD]).encode())) == 1


def test_a_row_without_one_of_its_fields_is_none() -> None:
    for field in GOOD:
        assert read_rows(json.dumps([{name: GOOD[name] for name in GOOD if name != field}]).encode()) == []


def test_a_file_that_others_may_write_is_not_read_and_is_replaced(file: Cache) -> None:
    file.keep(DIRECTORY, "web1", [kept()])
    assert file.path is not None
    for wrong in (0o620, 0o602, 0o666):
        file.path.chmod(wrong)
        assert file.find(DIRECTORY, "web1") == []
    file.keep(DIRECTORY, "web2", [kept("web2")])
    assert mode(file.path) == 0o600
    assert file.find(DIRECTORY, "web2")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of others")
def test_a_file_of_somebody_else_is_not_read(file: Cache) -> None:
    file.keep(DIRECTORY, "web1", [kept()])
    assert file.path is not None
    os.chown(file.path, 12_345, -1)
    assert file.find(DIRECTORY, "web1") == []


def test_a_link_is_replaced_and_what_it_leads_to_stays(file: Cache, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("dear")
    assert file.path is not None
    file.path.parent.mkdir(parents=True)
    file.path.symlink_to(tmp_path / "mine")
    file.keep(DIRECTORY, "web1", [kept()])
    assert (tmp_path / "mine").read_text() == "dear"
    assert file.find(DIRECTORY, "web1")


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "names.json", tmp_path, Path("/proc/none/x"), Path("/a\0b"), None):
        nowhere = Cache(path)
        nowhere.keep(DIRECTORY, "web1", [kept()])
        assert nowhere.find(DIRECTORY, "web1") == []


def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "names.json", 0o600)
    assert Cache(tmp_path / "names.json").find(DIRECTORY, "web1") == []


def test_many_write_at_the_same_time_and_the_file_is_always_whole(file: Cache) -> None:
    def write(number: int) -> None:
        for _ in range(20):
            file.keep(DIRECTORY, f"web{number}", [kept(f"web{number}")])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    assert file.path is not None
    while any(thread.is_alive() for thread in threads):
        if file.path.exists():
            assert read_rows(file.path.read_bytes())
    for thread in threads:
        thread.join()


def test_the_file_is_in_the_cache_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert Cache.default().path == tmp_path / ".cache" / "chanlink" / "names.json"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which that specification forbids
    assert Cache.default().path == tmp_path / ".cache" / "chanlink" / "names.json"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/tmp/x")
    assert Cache.default().path == Path("/var/tmp/x/chanlink/names.json")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "expanduser", no_home)
    assert Cache.default().path is None


def no_home(path: Path) -> Path:
    raise RuntimeError("Could not determine home directory.")
