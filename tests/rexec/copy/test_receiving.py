"""The receiver of a copy with senders that do their worst: transcripts, planted links, other folders."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from examples.rexec.attempts import Attempt
from examples.rexec.copy import messages as copying
from examples.rexec.copy.messages import new_hash
from examples.rexec.copy.place import Place
from examples.rexec.copy.receiving import receive_files
from examples.rexec.copy.report import Report
from examples.rexec.copy.threads import Threads
from examples.rexec.messages import BadMessage
from tests.patience import PATIENCE
from tests.rexec.copy.trees import LARGE, names, part_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]

META = {"mode": 0o644, "mtime": 0}
FOLDER = {"folder": b"x", **META}
LEAVE = {"leave": True}


def small(name: Any = b"x", data: bytes = b"data", **changes: Any) -> dict[str, Any]:
    return {"file": name, **META, "size": len(data), "data": data, "digest": new_hash(data).digest(), **changes}


async def play(
    entries: list[Any], path: Path, asked: tuple[bytes, ...] = (b"x",), recursive: bool = True
) -> list[dict[str, Any]]:
    """A receiver hears these entries; what it reported. Raises what it raises."""
    ours, theirs = chanlink.pipe()
    answers, _answered = chanlink.pipe()
    words, reports = chanlink.pipe()
    receiving = Attempt(
        receive_files,
        theirs,
        answers,
        Report(words),
        threads=Threads(),
        place=Place(),
        path=os.fsencode(path),
        names=list(asked),
        recursive=recursive,
    )
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as receiver, anyio.create_task_group() as feeding:
            receiver.start_soon(receiving)
            for entry in entries:
                if isinstance(entry, dict) and isinstance(entry.get("body"), Body):
                    stream, remote = chanlink.byte_pipe()
                    feeding.start_soon(feed, stream, entry["body"])
                    entry = {**entry, "body": remote}
                with suppress(chanlink.ChannelRefused):  # it has heard enough
                    await ours.send(entry)
            ours.close()
    words.close()
    receiving.result()
    return [message async for message in reports]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder to copy into, with a neighbour that must stay as it is."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("outside")
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def assert_nothing_outside(here: Path) -> None:
    assert names(here.parent) == ["here", "outside"]
    assert names(here.parent / "outside") == ["file"]
    assert (here.parent / "outside" / "file").read_text() == "outside"


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [b"..", b".", b"", b"/", b"../outside/file", b"/tmp/x", b"a/b", b"x\0y", b"x" * 256, "x", None, 3, [b"x"]],
    )
    @pytest.mark.parametrize("deep", [False, True])
    async def test_a_name_that_is_none_ends_the_copy(self, name: Any, deep: bool, here: Path) -> None:
        for entry in (small(name), {**FOLDER, "folder": name}, {"link": name, "target": b"y"}, {**small(name), "x": 1}):
            with pytest.raises(BadMessage):
                await play([FOLDER, entry] if deep else [entry], here, asked=(b"x", b"y"))
        assert set(names(here)) <= {".x.rexec-part"}
        assert_nothing_outside(here)

    @pytest.mark.parametrize("entry", [small(b"y"), {**FOLDER, "folder": b"y"}, {"link": b"y", "target": b"x"}])
    async def test_only_what_was_asked_for_is_taken_and_once(self, entry: dict[str, Any], here: Path) -> None:
        with pytest.raises(BadMessage, match="asked for"):
            await play([FOLDER, LEAVE, entry], here)
        with pytest.raises(BadMessage, match=r"was not asked for"):
            await play([small(), small()], here, asked=(b"x",))

    @pytest.mark.parametrize("entry", [FOLDER, {"link": b"x", "target": b"y"}])
    async def test_no_folder_and_no_link_comes_where_a_file_was_asked_for(self, entry: Any, here: Path) -> None:
        with pytest.raises(BadMessage, match="one file was asked for"):
            await play([entry], here, recursive=False)
        assert names(here) == []


class TestLinks:
    async def test_nothing_is_written_through_a_link_that_was_sent(self, here: Path) -> None:
        entries = [
            FOLDER,
            {**FOLDER, "folder": b"real"},
            LEAVE,
            {"link": b"alias", "target": b"real"},
            {**FOLDER, "folder": b"alias"},
            small(b"file"),
            LEAVE,
            LEAVE,
        ]
        reports = await play(entries, here)
        assert [list(report) for report in reports] == [["problem"], ["done"]]
        assert "symbolic link" in reports[0]["problem"]
        assert names(here / "x" / "real") == []

    @pytest.mark.parametrize("planted", ["file", "folder", "part of a file", "part of a folder"])
    async def test_nothing_is_written_through_a_link_that_was_planted(self, planted: str, here: Path) -> None:
        outside = here.parent / "outside"
        if planted == "file":
            (here / "x").symlink_to(outside / "file")
            assert (await play([small()], here))[-1]["done"] == [1, 4, 0]
            assert (here / "x").read_bytes() == b"data"
        elif planted == "part of a file":
            part_of(here / "x").symlink_to(outside / "file")
            assert (await play([small()], here))[-1]["done"] == [1, 4, 0]
            assert not (here / "x").is_symlink()
        elif planted == "part of a folder":
            part_of(here / "x").symlink_to(outside)
            assert (await play([FOLDER, small(b"file"), LEAVE], here))[-1]["done"] == [1, 4, 0]
            assert names(here / "x") == ["file"]
        else:
            (here / "x").symlink_to(outside)
            reports = await play([FOLDER, small(b"file"), LEAVE], here)
            assert "symbolic link" in reports[0]["problem"]
            assert reports[-1]["done"] == [0, 0, 0]
        assert_nothing_outside(here)

    async def test_a_part_that_others_have_put_there_is_not_written_into(self, here: Path) -> None:
        part_of(here / "x").hardlink_to(here.parent / "outside" / "file")
        assert (await play([small()], here))[-1]["done"] == [1, 4, 0]
        os.mkfifo(part_of(here / "x"))
        assert (await play([small()], here))[-1]["done"] == [1, 4, 0]
        assert (here / "x").read_bytes() == b"data"
        assert_nothing_outside(here)


class TestSenders:
    @pytest.mark.parametrize("size", [4, len(LARGE)])
    async def test_a_hash_that_is_wrong_is_caught_and_the_old_file_stays(self, size: int, here: Path) -> None:
        (here / "x").write_text("old")
        wrong = new_hash(b"other").digest()
        if size == 4:
            reports = await play([small(digest=wrong)], here)
        else:
            reports = await play([*body(LARGE), {"digest": wrong}], here)
        assert [report for report in reports if "another hash" in report.get("problem", "")]
        assert reports[-1]["done"][0] == 0
        assert (names(here), (here / "x").read_text()) == (["x"], "old")

    async def test_a_file_without_a_hash_is_kept_as_a_part(self, here: Path) -> None:
        reports = await play([*body(LARGE), {"digest": None}], here)
        assert reports[-1]["done"][0] == 0
        assert names(here) == [".x.rexec-part"]

    @pytest.mark.parametrize("data", [LARGE + b"x", LARGE[:-1], b""])
    async def test_more_or_less_than_was_said_ends_the_copy(self, data: bytes, here: Path) -> None:
        entries = [*body(data, size=len(LARGE)), {"digest": new_hash(data).digest()}]
        with pytest.raises(BadMessage):
            await play(entries, here)
        assert "x" not in names(here)

    @pytest.mark.parametrize(
        "entries",
        [
            ["x"],
            [None],
            [{}],
            [{"leave": False}],
            [LEAVE],
            [FOLDER],
            [FOLDER, small()],
            [{**FOLDER, "mode": "7"}],
            [{**FOLDER, "mtime": None}],
            [{"file": b"x"}],
            [small(size=5)],
            [small(size=-1)],
            [small(size=True)],
            [small(size=2**63)],
            [{**small(), "data": "text"}],
            [small(data=b"x" * (copying.INLINE + 1))],
            [small(digest=None)],
            [{"link": b"x"}],
            [{"file": b"x", **META, "size": 5, "body": b"data!"}],
            [{"file": b"x", **META, "size": 5}],
            [{"file": b"x", **META, "size": 5}, {"from": 3}],
            [{"file": b"x", **META, "size": 5}, {"from": 0, "body": 3}],
            [{"file": b"x", **META, "size": 5}, "x"],
        ],
    )
    async def test_what_no_sender_would_say_ends_the_copy(self, entries: list[Any], here: Path) -> None:
        with pytest.raises(BadMessage):
            await play(entries, here)
        assert set(names(here)) <= {".x.rexec-part"}

    async def test_modes_and_times_that_can_not_be_end_the_copy(self, here: Path) -> None:
        for change in ({"mtime": 2**63}, {"mtime": -(2**63)}, {"mode": 2**40}, {"mode": 0o4755}, {"mode": -1}):
            for entry in ({**small(), **change}, {**FOLDER, **change}):
                with pytest.raises(BadMessage):
                    await play([entry], here)
        for mtime in (2**63 - 1, 1 - 2**63):
            assert (await play([small(mtime=mtime)], here))[-1]["done"] == [1, 4, 0]

    async def test_folders_that_nest_too_deep_are_passed_over(self, here: Path) -> None:
        depth = copying.DEPTH_MAX + 20
        reports = await play([FOLDER] * depth + [small()] + [LEAVE] * depth, here)
        assert "nest deeper" in reports[0]["problem"]
        assert reports[-1]["done"] == [0, 0, 0]

    async def test_a_sender_that_gives_up_ends_the_copy(self, here: Path) -> None:
        ours, theirs = chanlink.pipe()
        await ours.send(FOLDER)
        ours.fail("tired")
        answers, _answered = chanlink.pipe()
        words, _reports = chanlink.pipe()
        with pytest.raises(chanlink.ChannelFailed):
            await receive_files(
                theirs,
                answers,
                Report(words),
                threads=Threads(),
                place=Place(),
                path=os.fsencode(here),
                names=[b"x"],
                recursive=True,
            )


class Body(bytes):
    """Stands for a byte stream with these bytes in a transcript; see `play`."""


def body(data: bytes, size: int | None = None) -> list[dict[str, Any]]:
    return [{"file": b"x", **META, "size": len(data) if size is None else size, "body": Body(data)}]


async def feed(stream: chanlink.ByteStream, data: bytes) -> None:
    async with stream:
        with suppress(chanlink.ChannelBroken):
            for start in range(0, len(data), 65536):
                await stream.send(data[start : start + 65536])
