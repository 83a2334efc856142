"""The copy service of examples/rexec: real files, the servers in this process, on every backend."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from examples.rexec.copy import messages as copying
from examples.rexec.copy import report as copying_report
from examples.rexec.copy import sending as copying_send
from examples.rexec.copy.client import Copied, Progress, copy
from examples.rexec.copy.messages import CopyError
from examples.rexec.copy.service import copy_service
from tests.patience import PATIENCE
from tests.rexec.copy.trees import (
    HUGE,
    LARGE,
    MIDDLE,
    all_ways,
    assert_copied,
    contents,
    make_tree,
    names,
    part_of,
    server,
    somebody,
    way,
)

pytestmark = pytest.mark.anyio


@pytest.mark.without_sockets
class TestCopies:
    @all_ways
    async def test_a_folder_arrives_with_its_content_modes_times_and_links(self, name: str, tmp_path: Path) -> None:
        tree = make_tree(tmp_path / "tree")
        async with way(name) as sides:
            done = await copy([tree], tmp_path / "copy", recursive=True, **sides)
            assert_copied(done, 56)
            assert contents(tmp_path / "copy") == contents(tree)
            again = await copy([tree], tmp_path / "copy", recursive=True, **sides)  # it is a folder now
            assert_copied(again, 56)
        assert contents(tmp_path / "copy" / "tree") == contents(tree)
        assert names(tmp_path) == ["copy", "tree"]

    @pytest.mark.parametrize("name", ["there", "back"])
    @pytest.mark.parametrize("size", [0, 1, copying.INLINE, copying.INLINE + 1, copying.ASK - 1, copying.ASK])
    async def test_a_file_of_any_size_arrives(self, name: str, size: int, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(LARGE[:size])
        async with way(name) as sides:
            done = await copy([tmp_path / "file"], tmp_path / "copy", **sides)
        assert done == (1, size, 0, [], [])
        assert (tmp_path / "copy").read_bytes() == LARGE[:size]

    @all_ways
    async def test_several_files_go_into_a_folder(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "into").mkdir()
        for one in "ab":
            (tmp_path / one).write_text(one)
        sources = [tmp_path / "a", tmp_path / "b"]
        async with way(name) as sides:
            assert_copied(await copy(sources, tmp_path / "into", **sides), 2)
            with pytest.raises(CopyError, match="there is no such folder"):
                await copy(sources, tmp_path / "none", **sides)
            with pytest.raises(CopyError, match="there is no such folder"):
                await copy(sources[:1], tmp_path / "none" / "x", **sides)
        assert names(tmp_path / "into") == ["a", "b"]

    @all_ways
    async def test_a_name_that_ends_with_a_slash_is_a_folder(self, name: str, tmp_path: Path) -> None:
        (tree := tmp_path / "tree").mkdir()
        (tree / "file").touch()
        async with way(name) as sides:
            done = await copy([tree / "file"], f"{tmp_path}/new/", **sides)
            assert done.problems == [f"{tmp_path}/new/: there is no such folder"]
            assert_copied(await copy([f"{tree}/"], f"{tmp_path}/new/", recursive=True, **sides), 1)
            assert_copied(await copy([tree / "file"], f"{tmp_path}/new/", **sides), 1)
        assert names(tmp_path / "new") == ["file"]
        assert names(tmp_path) == ["new", "tree"]

    async def test_a_folder_can_be_copied_into_itself(self, tmp_path: Path) -> None:
        make_tree(tree := tmp_path / "tree")
        before = contents(tree)
        async with server() as session:
            done = await copy([tree], tree / "sub", destination=session, recursive=True)
        assert_copied(done, 56)
        assert done.notes == [f"{tree}/sub/.tree.rexec-part: left out: it is an unfinished copy"]
        copied = contents(tree / "sub" / "tree")
        assert {name: kept[0] for name, kept in copied.items()} == {name: kept[0] for name, kept in before.items()}

    async def test_a_file_that_is_there_is_replaced_whole_and_not_written_into(self, tmp_path: Path) -> None:
        (tmp_path / "new").write_bytes(MIDDLE)
        (tmp_path / "old").write_text("old")
        (tmp_path / "other name of old").hardlink_to(tmp_path / "old")
        (tmp_path / "old").chmod(0o400)
        async with server() as session:
            assert_copied(await copy([tmp_path / "new"], tmp_path / "old", destination=session), 1)
        assert (tmp_path / "old").read_bytes() == MIDDLE
        assert (tmp_path / "other name of old").read_text() == "old"

    async def test_rights_of_other_users_are_not_copied(self, tmp_path: Path) -> None:
        (tmp_path / "program").touch()
        (tmp_path / "program").chmod(0o6755)
        async with server() as session:
            await copy([tmp_path / "program"], tmp_path / "copy", destination=session)
        assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o755

    @all_ways
    async def test_special_files_and_links_that_lead_out_are_left_out_with_a_word(
        self, name: str, tmp_path: Path
    ) -> None:
        (tree := tmp_path / "tree").mkdir()
        os.mkfifo(tree / "fifo")
        (tree / "absolute").symlink_to("/etc/passwd")
        (tree / "up").symlink_to("../outside")
        (tree / "file").touch()
        async with way(name) as sides:
            done = await copy([tree], tmp_path / "copy", recursive=True, **sides)
        assert_copied(done, 1)
        assert sorted(line.rsplit("/")[-1].split(":")[0] for line in done.notes) == ["absolute", "fifo", "up"]
        assert names(tmp_path / "copy") == ["file"]

    @all_ways
    async def test_what_can_not_be_had_is_a_line_and_the_rest_is_copied(self, name: str, tmp_path: Path) -> None:
        make_tree(tree := tmp_path / "tree")
        (tmp_path / "copy" / "tree" / "large").mkdir(parents=True)  # in the way
        (tmp_path / "copy" / "tree" / "sub").write_text("in the way")
        async with way(name) as sides:
            done = await copy([tree, tmp_path / "nothing"], tmp_path / "copy", recursive=True, **sides)
            assert_copied(done, 1, 3)
            assert_copied(await copy([tree], tmp_path / "x", **sides), 0, 1)  # a folder, without recursive
        assert sorted(line.removeprefix(f"{tmp_path}/") for line in done.problems) == [
            "copy/tree/large: there is a folder of that name",
            "copy/tree/sub: Not a directory",
            "nothing: No such file or directory",
        ]

    async def test_a_folder_that_could_not_be_made_is_passed_over_with_all_that_is_in_it(self, tmp_path: Path) -> None:
        make_tree(tree := tmp_path / "a")
        (tree / "sub" / "large").write_bytes(LARGE)
        (tmp_path / "b").write_text("b")
        (into := tmp_path / "into").mkdir()
        (into / "a").symlink_to(tmp_path / "b")
        async with server() as session:
            done = await copy([tree, tmp_path / "b"], into, destination=session, recursive=True)
        assert_copied(done, 1, 1)
        assert names(into) == ["a", "b"]

    async def test_files_that_may_not_be_read_or_written_are_lines(self, tmp_path: Path) -> None:
        (tree := tmp_path / "tree").mkdir()
        for name in ("open", "shut"):
            (tree / name).write_text(name)
        (tree / "closed").mkdir()
        for name in ("closed", "shut"):
            (tree / name).chmod(0)
        (tmp_path / "free").mkdir(mode=0o777)
        (tmp_path / "free").chmod(0o777)
        (tmp_path / "theirs").mkdir(mode=0o555)
        with somebody(tmp_path):
            async with server() as session:
                done = await copy(["tree"], "free", destination=session, recursive=True)
                into = await copy(["tree/open"], "theirs", destination=session)
        assert_copied(done, 1, 2)
        assert [line.rsplit("/")[-1] for line in sorted(done.problems)] == [
            "closed: Permission denied",
            "shut: Permission denied",
        ]
        assert names(tmp_path / "free" / "tree") == ["open"]
        assert into.problems == ["theirs/open: Permission denied"]
        assert names(tmp_path / "theirs") == []


@pytest.mark.without_sockets
class TestResuming:
    @all_ways
    async def test_a_part_that_is_right_is_gone_on_with(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(LARGE)
        part_of(tmp_path / "copy").write_bytes(LARGE[:-1000])
        async with way(name) as sides:
            done = await copy([tmp_path / "file"], tmp_path / "copy", **sides)
        assert done == (1, len(LARGE), len(LARGE) - 1000, [], [])
        assert (tmp_path / "copy").read_bytes() == LARGE
        assert names(tmp_path) == ["copy", "file"]

    @pytest.mark.parametrize("part", [b"x" + LARGE[1:1000], LARGE + b"x", LARGE[:-1] + b"x", b""])
    async def test_a_part_that_is_wrong_is_not_used(self, part: bytes, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(LARGE)
        part_of(tmp_path / "copy").write_bytes(part)
        async with server() as session:
            done = await copy([tmp_path / "file"], tmp_path / "copy", destination=session)
        assert done == (1, len(LARGE), 0, [], [])
        assert (tmp_path / "copy").read_bytes() == LARGE
        assert names(tmp_path) == ["copy", "file"]

    @all_ways
    async def test_a_large_file_that_is_the_same_is_compared_and_not_sent(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(LARGE)
        async with way(name) as sides:
            await copy([tmp_path / "file"], tmp_path / "copy", **sides)
            inode = (tmp_path / "copy").stat().st_ino
            (tmp_path / "file").chmod(0o600)
            done = await copy([tmp_path / "file"], tmp_path / "copy", **sides)
            assert done == (1, len(LARGE), len(LARGE), [], [])
            assert ((tmp_path / "copy").stat().st_ino, (tmp_path / "copy").stat().st_mode & 0o777) == (inode, 0o600)
            # Of the same size and time, and another one all the same.
            (tmp_path / "copy").write_bytes(b"x" + LARGE[1:])
            times = (tmp_path / "file").stat()
            os.utime(tmp_path / "copy", ns=(times.st_mtime_ns, times.st_mtime_ns))
            done = await copy([tmp_path / "file"], tmp_path / "copy", **sides)
            assert done == (1, len(LARGE), 0, [], [])
        assert (tmp_path / "copy").read_bytes() == LARGE

    @pytest.mark.parametrize("name", ["there", "back"])
    async def test_a_copy_that_is_cancelled_leaves_the_old_file_and_a_part_to_go_on_from(
        self, name: str, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_bytes(data := HUGE)
        (tmp_path / "copy").write_text("old")
        async with way(name) as sides:
            with anyio.CancelScope() as life:

                def watch(progress: Progress) -> None:
                    if progress.bytes:
                        life.cancel()

                await copy([tmp_path / "file"], tmp_path / "copy", watch=watch, **sides)
            assert life.cancelled_caught
            assert (tmp_path / "copy").read_text() == "old"
            with anyio.fail_after(PATIENCE):
                while True:  # the server may still hold it for a moment
                    done = await copy([tmp_path / "file"], tmp_path / "copy", **sides)
                    if not done.problems:
                        break
        assert done.spared > 0
        assert (tmp_path / "copy").read_bytes() == data
        assert names(tmp_path) == ["copy", "file"]

    async def test_a_new_folder_has_its_name_when_it_is_complete(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(copying_report, "INTERVAL", 0)
        make_tree(tree := tmp_path / "tree")
        (tree / "sub" / "deep" / "huge").write_bytes(HUGE)
        async with server() as session:
            with anyio.CancelScope() as life:

                def watch(progress: Progress) -> None:
                    if progress.name.endswith("huge"):
                        life.cancel()

                await copy([tree], tmp_path / "copy", destination=session, recursive=True, watch=watch)
            assert names(tmp_path) == [".copy.rexec-part", "tree"]
        async with server() as session:
            assert_copied(await copy([tree], tmp_path / "copy", destination=session, recursive=True), 57)
        assert contents(tmp_path / "copy") == contents(tree)
        assert names(tmp_path) == ["copy", "tree"]

    async def test_two_copies_of_the_same_file_at_once_do_not_mix(self, tmp_path: Path) -> None:
        for name in "ab":
            (tmp_path / name).write_bytes(LARGE[::-1] if name == "a" else LARGE)
        results: list[Copied] = []

        async def one(session: chanlink.Session, name: str) -> None:
            results.append(await copy([tmp_path / name], tmp_path / "copy", destination=session))

        async with server() as session, anyio.create_task_group() as tasks:
            for name in "ab" * 3:
                tasks.start_soon(one, session, name)
        assert sum(done.files for done in results) >= 1
        for done in results:
            assert done.files or "another copy writes it" in done.problems[0]
        assert (tmp_path / "copy").read_bytes() in (LARGE, LARGE[::-1])
        assert names(tmp_path) == ["a", "b", "copy"]


class TestTrouble:
    @pytest.mark.parametrize("name", ["there", "back"])
    @pytest.mark.parametrize("size", [copying.INLINE + 1, copying.ASK + 1])
    @pytest.mark.parametrize("change", [b"more", b""])
    async def test_a_file_that_changes_while_it_is_read_is_no_copy(
        self, name: str, size: int, change: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_bytes(LARGE[:size])
        (tmp_path / "copy").write_text("old")
        read = copying_send._read

        def read_and_change(*args: Any) -> bytes:
            data = read(*args)
            with (tmp_path / "file").open("ab") as file:
                file.write(change)
                file.truncate(file.tell() if change else 10)
            return data

        monkeypatch.setattr(copying_send, "_read", read_and_change)
        async with way(name) as sides:
            done = await copy([tmp_path / "file"], tmp_path / "copy", **sides)
        assert (done.files, [line.rsplit(": ")[-1] for line in done.problems]) == (0, ["changed while it was read"])
        assert (tmp_path / "copy").read_text() == "old"

    async def test_a_file_that_vanishes_is_a_line_and_the_rest_is_copied(self, tmp_path: Path) -> None:
        (tree := tmp_path / "tree").mkdir()
        for number in range(400):
            (tree / f"{number:03}").touch()
        async with server() as session:
            with anyio.fail_after(PATIENCE):

                def watch(progress: Progress) -> None:
                    (tree / "399").unlink(missing_ok=True)

                done = await copy([tree], tmp_path / "copy", destination=session, recursive=True, watch=watch)
        assert done.files + len(done.problems) in (399, 400)
        assert all("399: No such file" in line for line in done.problems)

    async def test_a_full_disk_ends_the_copy_and_nothing_truncated_is_there(self, small_disk: Path) -> None:
        (small_disk / "old").write_text("old")
        source = small_disk.parent / "file"
        source.write_bytes(LARGE)
        (tree := small_disk.parent / "tree").mkdir()
        for number in range(100):
            (tree / f"{number:02}").write_bytes(MIDDLE[:-1])
        async with server() as session:
            with pytest.raises(CopyError, match="No space left"):
                await copy([source], small_disk / "old", destination=session)
            assert names(small_disk) == [".old.rexec-part", "old"]
            assert (small_disk / "old").read_text() == "old"
            part_of(small_disk / "old").unlink()
            with pytest.raises(CopyError, match="No space left"):
                await copy([tree], small_disk / "tree", destination=session, recursive=True)
            assert names(small_disk) == [".tree.rexec-part", "old"]
            for path in part_of(small_disk / "tree").glob("[0-9]*"):
                assert path.read_bytes() == MIDDLE[:-1]
            os.truncate(source, 10)
            (small_disk / ".tree.rexec-part" / "00").unlink()
            assert_copied(await copy([source], small_disk / "old", destination=session), 1)

    async def test_a_server_without_the_service_is_said(self, tmp_path: Path) -> None:
        us, them = chanlink.Identity.generate("us"), chanlink.Identity.generate("them")
        trust, services = chanlink.Trust.of(us.public_key), {"other": copy_service()}
        async with (
            chanlink.listen("tcp://127.0.0.1:0", identity=them, trust=trust, services=services) as listener,
            chanlink.connect(listener.addresses[0], identity=us, peer=them.public_key) as session,
        ):
            for side in ("source", "destination"):
                with pytest.raises(chanlink.ChannelRefused):
                    await copy([tmp_path / "x"], tmp_path / "y", **{side: session})

    @pytest.mark.parametrize("name", ["there", "back"])
    async def test_a_lost_connection_is_an_error_and_a_part_stays(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(HUGE)
        async with way(name) as sides:
            (session,) = filter(None, sides.values())

            def watch(progress: Progress) -> None:
                if progress.bytes:
                    session.abort()

            with pytest.raises(chanlink.ChannelBroken):
                await copy([tmp_path / "file"], tmp_path / "copy", watch=watch, **sides)
        assert names(tmp_path) == [".copy.rexec-part", "file"]

    @pytest.mark.parametrize("name", ["there", "back"])
    async def test_progress_tells_how_much_there_is_and_how_far_it_is(self, name: str, tmp_path: Path) -> None:
        make_tree(tree := tmp_path / "tree")
        seen: list[Progress] = []
        async with way(name) as sides:
            done = await copy([tree], tmp_path / "copy", recursive=True, watch=seen.append, **sides)
        size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
        assert done.bytes == size
        assert seen[-1][:3] == done[:3]
        assert [progress.bytes for progress in seen] == sorted(progress.bytes for progress in seen)
        totals = {progress[3:5] for progress in seen}
        assert totals <= {(None, None), (56, size)}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with two megabytes."""
    (disk := tmp_path / "disk").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can make a small file system")
    yield disk
    subprocess.run(["umount", disk], check=True)


async def test_another_side_that_tells_nonsense_is_an_error(tmp_path: Path) -> None:
    for word in (3, {"done": 3, "x": 1}, {"at": 1}, {"failed": 3}, {}):

        async def nonsense(requests: chanlink.Receiver[Any], peer: chanlink.Peer, word: Any = word) -> None:
            async for message in requests:
                with anyio.move_on_after(PATIENCE):
                    await message["report"].send(word)
                    await message["report"].wait_closed()

        async with server(nonsense) as session:
            with pytest.raises((CopyError, chanlink.ChannelBroken)):
                await copy(["x"], tmp_path / "y", source=session)
