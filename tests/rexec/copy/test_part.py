"""The copy service of examples/rexec in folders that other users write into, too: real users, in /tmp's way."""

import os
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.rexec.copy.client import copy
from examples.rexec.copy.messages import CopyError
from examples.rexec.copy.part import open_part_folder
from tests.rexec.copy.trees import LARGE, assert_copied, names, server

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("no_leaks"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users"),
]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """What a file system says is the same on all of them."""
    return "asyncio", {"use_uvloop": False}


ROOT, VICTIM, ATTACKER, OWNER = 0, 65_534, 12_345, 23_456
PART = ".x.rexec-part"

# What an attacker puts where the unfinished copy of "x" is foreseen to be.
PLANTED = {
    "folder for all": f"mkdir {PART}; chmod 777 {PART}",
    "folder": f"mkdir {PART}; chmod 755 {PART}",
    "full folder": f"mkdir -m 777 {PART}; echo planted > {PART}/file",
    "link to a folder": f"mkdir -m 777 trap; ln -s trap {PART}",
    "link to nothing": f"ln -s trap {PART}",
    "file for all": f"echo planted > {PART}; chmod 666 {PART}",
    "file": f"echo planted > {PART}",
    "fifo": f"mkfifo -m 666 {PART}",
}


def plant(folder: Path, script: str, user: int = ATTACKER) -> None:
    command = ["sh", "-e", "-c", f"umask 022; {script}"]
    subprocess.run(command, cwd=folder, user=user, group=user, extra_groups=[], check=True)


@contextmanager
def acting_as(user: int, folder: Path) -> Iterator[None]:
    """In this folder."""
    "x".encode("idna")  # imports what others may not read
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        os.seteuid(user)
        try:
            yield
        finally:
            os.seteuid(0)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder like /tmp, and beside it what is to be copied. That of pytest is root's alone."""
    with tempfile.TemporaryDirectory() as name:
        (folder := Path(name)).chmod(0o711)
        (folder / "shared").mkdir()
        (folder / "shared").chmod(0o1777)
        (folder / "tree").mkdir()
        (folder / "tree" / "file").write_text("secret")
        (folder / "large").write_bytes(LARGE)
        yield folder / "shared"


@pytest.mark.parametrize("victim", [ROOT, VICTIM])
@pytest.mark.parametrize("planted", PLANTED)
async def test_what_another_user_has_put_there_is_not_written_into(planted: str, victim: int, shared: Path) -> None:
    plant(shared, PLANTED[planted])
    before = set(names(shared))
    with acting_as(victim, shared.parent):
        async with server() as session:
            for source in ("tree", "tree/file", "large"):
                done = await copy([source], "shared/x", destination=session, recursive=True)
                assert_copied(done, 1)
                copied = shared / "x" / "file" if source == "tree" else shared / "x"
                assert (
                    copied.read_bytes() == (shared.parent / source / ("file" if source == "tree" else "")).read_bytes()
                )
                for path in {copied, shared / "x"}:
                    assert path.lstat().st_uid == victim
                os.rename(shared / "x", shared.parent / "shared" / f"done {source.replace('/', ' ')}")
    left = set(names(shared)) - {name for name in names(shared) if name.startswith("done ")}
    assert left == before  # and nothing of ours lies about
    if planted == "full folder":
        assert (shared / PART / "file").read_text() == "planted\n"
    assert not (shared / "trap").exists() or names(shared / "trap") == []


@pytest.mark.parametrize("mode", [0o777, 0o722, 0o770])
async def test_our_own_folder_that_others_may_write_into_is_not_gone_on_with(mode: int, shared: Path) -> None:
    (shared / PART).mkdir()
    (shared / PART).chmod(mode)
    async with server() as session:
        assert_copied(await copy([shared.parent / "tree"], shared / "x", destination=session, recursive=True), 1)
    assert names(shared) == [PART, "x"]
    assert names(shared / PART) == []


async def test_our_own_file_that_others_may_write_into_is_begun_anew(shared: Path) -> None:
    (shared / PART).write_bytes(LARGE[:-1])
    (shared / PART).chmod(0o666)
    with (shared / PART).open("r+b") as held:  # by another user, say
        async with server() as session:
            done = await copy([shared.parent / "large"], shared / "x", destination=session)
        held.write(b"changed")
    assert_copied(done, 1)
    assert (done.spared, (shared / "x").read_bytes()) == (0, LARGE)


async def test_our_own_is_gone_on_with_also_among_others(shared: Path) -> None:
    (shared / PART).write_bytes(LARGE[:-1])
    (shared / PART).chmod(0o600)
    async with server() as session:
        done = await copy([shared.parent / "large"], shared / "x", destination=session)
    assert (done.files, done.spared) == (1, len(LARGE) - 1)


async def test_a_folder_that_is_exchanged_in_the_moment_it_is_made_is_refused(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where anybody may rename what is ours; in /tmp nobody may."""
    shared.chmod(0o777)
    mkdir = os.mkdir

    def mkdir_and_exchange(path: bytes, mode: int, *, dir_fd: int) -> None:
        mkdir(path, mode, dir_fd=dir_fd)
        plant(shared, f"mv {os.fsdecode(path)} taken; mkdir -m 777 {os.fsdecode(path)}")

    async with server() as session:
        monkeypatch.setattr(os, "mkdir", mkdir_and_exchange)
        done = await copy([shared.parent / "tree"], shared / "x", destination=session, recursive=True)
    assert_copied(done, 0, 1)
    assert "somebody else has put a folder there" in done.problems[0]
    assert [names(path) for path in shared.iterdir()] == [[], []]


@pytest.mark.parametrize("owner", [ROOT, OWNER])
def test_a_file_system_that_says_all_is_its_owners_can_be_copied_to(owner: int, tmp_path: Path) -> None:
    """As FAT does: what we make there is not ours, but theirs whom all is of."""
    os.chown(tmp_path, owner, owner)
    tmp_path.chmod(0o777)
    folder = os.open(tmp_path, os.O_RDONLY)
    mkdir: Callable[..., None] = os.mkdir

    def mkdir_as_fat_does(path: bytes, mode: int, *, dir_fd: int) -> None:
        mkdir(path, mode, dir_fd=dir_fd)
        os.chown(path, owner, owner, dir_fd=dir_fd)
        os.chmod(path, 0o777, dir_fd=dir_fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "mkdir", mkdir_as_fat_does)
        name, inner = open_part_folder(folder, b"x")
    os.close(inner)
    os.close(folder)
    assert os.fsdecode(name) == PART


async def test_a_folder_of_others_that_is_there_is_used_as_it_is_and_keeps_its_owner(shared: Path) -> None:
    plant(shared, "mkdir -m 2777 tree")
    with acting_as(VICTIM, shared.parent):
        async with server() as session:
            done = await copy(["tree"], "shared", destination=session, recursive=True)
    assert_copied(done, 1)
    assert [line.partition(": ")[::2] for line in done.notes] == [
        ("shared/tree", "copied, but not its time: Operation not permitted"),
        ("shared/tree", "copied, but not its mode: Operation not permitted"),
    ]
    assert (shared / "tree" / "file").read_text() == "secret"
    about = (shared / "tree").stat()
    assert (about.st_uid, stat.S_IMODE(about.st_mode)) == (ATTACKER, 0o2777)


async def test_who_may_not_write_there_is_told_which_path(shared: Path) -> None:
    plant(shared, "mkdir -m 755 theirs; echo theirs > file")
    (shared.parent / "shut").mkdir(mode=0)
    with acting_as(VICTIM, shared.parent):
        async with server() as session:
            done = await copy(["tree/file"], "shared/theirs", destination=session)
            assert done.problems == ["shared/theirs/file: Permission denied"]
            done = await copy(["tree"], "shared/theirs/new", destination=session, recursive=True)
            assert done.problems == ["shared/theirs/new: Permission denied"]
            done = await copy(["tree/file"], "shared/file", destination=session)  # nobody replaces theirs in /tmp
            assert done.problems == ["shared/file: Operation not permitted"]
            with pytest.raises(CopyError, match=r"^shut/deep: Permission denied$"):
                await copy(["tree/file"], "shut/deep", destination=session)
    assert names(shared) == ["file", "theirs"]
    assert (shared / "file").read_text() == "theirs\n"


async def test_a_folder_that_may_be_written_into_and_not_listed_can_be_copied_to(shared: Path) -> None:
    plant(shared, "mkdir -m 733 letterbox")
    with acting_as(VICTIM, shared.parent):
        async with server() as session:
            assert_copied(await copy(["tree/file"], "shared/letterbox", destination=session), 1)
            assert_copied(await copy(["tree"], "shared/letterbox", destination=session, recursive=True), 1)
    assert names(shared / "letterbox") == ["file", "tree"]
