"""Files of keys, and files that say whom to trust: how they are read, made and changed."""

import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chanlink.errors import KeyFormatError
from chanlink.security.keys import files
from chanlink.security.keys.files import (
    create,
    edit,
    expand,
    file_problem,
    make_private_directory,
    place,
    read_kept,
    read_limited,
    wait_until_written,
    write_pair,
    written,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on FAT."""

    def link(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), source, None, target)

    monkeypatch.setattr("os.link", link)


# --- names --------------------------------------------------------------------------------------


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand("~/key") == tmp_path / "key"
    assert expand("/there/~/key") == Path("/there/~/key")
    with pytest.raises(KeyFormatError, match="~nobody-has-this-name/key: there is no such home folder; set HOME"):
        expand("~nobody-has-this-name/key")


def test_a_problem_is_one_line_that_names_the_file() -> None:
    file = Path("/there/key")
    assert file_problem(file, PermissionError(13, "Permission denied")) == "/there/key: Permission denied"
    assert file_problem(file, OSError(28, "No space left", "/there/.new")) == "/there/.new: No space left"
    assert file_problem(file, FileExistsError(17, "File exists", "/there/.new", None, "/there/key.pub")) == (
        "/there/key.pub: File exists"
    )
    assert file_problem(Path("nul\0byte"), ValueError("embedded null byte")) == "'nul\\x00byte': embedded null byte"


def test_folders_are_for_us_alone_and_those_that_are_there_stay_as_they_are(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_private_directory(tmp_path / "a" / "b")
    make_private_directory(tmp_path / "a" / "b")
    assert [mode(path) for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")] == [0o755, 0o700, 0o700]


# --- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [read_limited, read_kept])
def test_a_file_is_read_up_to_its_bound(read: Callable[[Any, int], bytes], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(100))
    assert read(file, 100) == bytes(100)
    with pytest.raises(KeyFormatError, match=f"^{file}: larger than 99 bytes$"):
        read(str(file), 99)
    with pytest.raises(KeyFormatError, match=f"^{tmp_path}/none: No such file") as caught:
        read(tmp_path / "none", 100)
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    with pytest.raises(KeyFormatError, match="null byte"):
        read("nul\0byte", 100)


def test_a_secret_that_others_can_read_or_that_is_no_secret_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key.pub"
    file.write_bytes(b"secret")
    file.chmod(0o640)
    assert read_limited(file, 100) == b"secret"
    with pytest.raises(KeyFormatError, match=f"run: chmod 600 {file}"):
        read_limited(file, 100, secret=True)
    file.write_bytes(b"ssh-ed25519 AAAA")
    with pytest.raises(KeyFormatError, match=f"that is a public key; .* which is {tmp_path}/key$"):
        read_limited(file, 100, secret=True)


# --- making -------------------------------------------------------------------------------------


def test_a_file_is_made_complete_and_only_where_nothing_is(tmp_path: Path) -> None:
    create(tmp_path / "folder" / "file", b"data", 0o640)
    file = tmp_path / "folder" / "file"
    assert (file.read_bytes(), mode(file), mode(file.parent)) == (b"data", 0o640, 0o700)
    with pytest.raises(FileExistsError):
        create(file, b"other", 0o600)
    assert os.listdir(file.parent) == ["file"]
    assert file.read_bytes() == b"data"


@pytest.mark.usefixtures("no_links")
def test_without_hard_links_the_name_is_taken_first_and_given_back_if_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path / "file", b"data", 0o600)
    assert (tmp_path / "file").read_bytes() == b"data"
    with pytest.raises(FileExistsError):
        create(tmp_path / "file", b"other", 0o600)

    def replace(source: Path, target: Path) -> None:
        assert (tmp_path / "other").read_bytes() == b""
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.replace", replace)
    with pytest.raises(OSError, match="Input/output"):
        create(tmp_path / "other", b"data", 0o600)
    assert os.listdir(tmp_path) == ["file"]


def test_what_is_written_is_gone_unless_it_gets_a_name(tmp_path: Path) -> None:
    with written(tmp_path, b"data", 0o600) as new:
        assert (new.read_bytes(), mode(new)) == (b"data", 0o600)
    assert os.listdir(tmp_path) == []
    with written(tmp_path, b"data", 0o600) as new:
        place(new, tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]


def test_a_pair_of_files_is_made_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    write_pair(tmp_path / "key", b"private", b"public")
    assert [(mode(tmp_path / name), (tmp_path / name).read_bytes()) for name in ("key", "key.pub")] == [
        (0o600, b"private"),
        (0o644, b"public"),
    ]
    for existing in ("one", "two.pub"):
        (tmp_path / existing).write_bytes(b"precious")
        with pytest.raises(FileExistsError):
            write_pair(tmp_path / existing.removesuffix(".pub"), b"private", b"public")
        assert (tmp_path / existing).read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == ["key", "key.pub", "one", "two.pub"]


def test_a_file_that_has_its_name_before_its_contents_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, pauses = tmp_path / "key", list[float]()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            file.write_bytes(b"private")

    monkeypatch.setattr(files, "sleep", pause)
    wait_until_written(file)  # there is none
    file.touch()
    wait_until_written(file)
    assert len(pauses) == 3
    file.write_bytes(b"")
    pauses += [0.0] * 10
    wait_until_written(file)  # whoever made it has gone
    assert sum(pauses) < 1.1


# --- changing -----------------------------------------------------------------------------------


def test_a_file_is_replaced_as_a_whole_with_the_mode_that_it_has(tmp_path: Path) -> None:
    file = tmp_path / "trust"
    file.write_bytes(b"old")
    file.chmod(0o640)
    with file.open("rb") as reader, edit(file) as changing:
        assert changing.read(2) == b"ol"
        changing.replace(b"new")
        assert reader.read() == b"old"
    assert (file.read_bytes(), mode(file), os.listdir(tmp_path)) == (b"new", 0o640, ["trust"])


def test_a_missing_file_is_made_and_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "trust")
    with edit(tmp_path / "link") as changing:
        assert changing.read(100) == b""
        changing.replace(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (mode(tmp_path / "folder" / "trust"), (tmp_path / "link").read_bytes()) == (0o600, b"new")


def test_nothing_of_a_change_that_fails_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "trust"
    file.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"), edit(file) as changing:
        changing.replace(b"new")
    assert (file.read_bytes(), os.listdir(tmp_path)) == (b"old", ["trust"])


def test_one_waits_for_the_other_and_sees_what_it_wrote(tmp_path: Path) -> None:
    file, holding, seen = tmp_path / "trust", threading.Event(), list[bytes]()

    def second() -> None:
        holding.wait()
        with edit(file) as changing:
            seen.append(changing.read(100))

    waiter = threading.Thread(target=second)
    waiter.start()
    with edit(file) as changing:
        holding.set()
        time.sleep(0.05)
        assert not seen
        changing.replace(b"new")
    waiter.join()
    assert seen == [b"new"]


@pytest.mark.parametrize("bits", [0o602, 0o666])
def test_what_everybody_can_write_says_nothing_of_trust(bits: int, tmp_path: Path) -> None:
    file = tmp_path / "trust"
    file.touch()
    file.chmod(bits)
    with pytest.raises(KeyFormatError, match=f"everybody can write it; run: chmod o-w {file}"):
        read_kept(file, 100)
    with pytest.raises(PermissionError, match="everybody can write it"), edit(file):
        pytest.fail("it was opened")


def test_a_pipe_is_refused_at_once_and_the_null_device_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeyFormatError, match="it is no regular file"):
        read_kept(tmp_path / "pipe", 100)
    assert read_kept(os.devnull, 100) == b""


def test_a_lock_is_waited_for_no_longer_than_the_patience(tmp_path: Path) -> None:
    file = tmp_path / "held"
    with edit(file), pytest.raises(BlockingIOError, match="another process holds it"), edit(file, patience=0.05):
        raise AssertionError("it is held")
    with edit(file, patience=0.05) as again:
        again.replace(b"mine")
    assert file.read_bytes() == b"mine"
