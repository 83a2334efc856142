"""What the copies of examples/rexec say when something can't be copied: which path, on which side, and why."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from examples.rexec.cli.commands.cp import explain
from examples.rexec.copy import messages as copying
from examples.rexec.copy.client import copy
from examples.rexec.copy.messages import CopyError
from examples.rexec.copy.service import copy_service
from tests.leaks import Leaks
from tests.patience import PATIENCE
from tests.rexec.copy.trees import server, way

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """A line is the same on all of them."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_leaks: Leaks) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name in ("file", "folder/file", "into/taken/file"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket")
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    before = sorted(path for path in Path().rglob("*") if path.name not in ("into", "file"))
    yield tmp_path
    assert sorted(path for path in Path().rglob("*") if path.name not in ("into", "file")) == before


LONG, DEEP = "n" * 256, "a/" * 2048 + "a"

# A source, a target, the side that says it, and what it says.
BOTH = "would both become"
SOURCE, TARGET, EITHER = 0, 1, ""
FAILURES: list[tuple[list[str], str, Any, str]] = [
    (["nothing"], "into", SOURCE, "nothing: No such file or directory"),
    (["folder/nothing"], "into/x", SOURCE, "folder/nothing: No such file or directory"),
    (["file/x"], "into", SOURCE, "file/x: Not a directory"),
    (["folder"], "into", SOURCE, "folder: is a folder; copy it with -r"),
    ([""], "into", SOURCE, ".: is a folder; copy it with -r"),
    (["fifo"], "into", SOURCE, "fifo: is neither a file nor a folder"),
    (["socket"], "into", SOURCE, "socket: is neither a file nor a folder"),
    (["/dev/null"], "into", SOURCE, "/dev/null: is neither a file nor a folder"),
    (["dangling"], "into", SOURCE, "dangling: No such file or directory"),
    (["loop"], "into", SOURCE, "loop: Too many levels of symbolic links"),
    (["file"], "no/x", TARGET, "no: there is no such folder"),
    (["file"], "folder/no/x", TARGET, "folder/no: there is no such folder"),
    (["file"], "file/x", TARGET, "file: is not a folder"),
    (["file"], "no/", TARGET, "no/: there is no such folder"),
    (["file"], "file/", TARGET, "file/: is not a folder"),
    (["file"], "loop", TARGET, "loop: Too many levels of symbolic links"),
    (["file"], "fifo", TARGET, "fifo: is there, and neither a file nor a folder; it is not replaced"),
    (["file"], "socket", TARGET, "socket: is there, and neither a file nor a folder; it is not replaced"),
    (["file", "folder/file2"], "no", TARGET, "no: there is no such folder"),
    (["file", "folder/file2"], "file", TARGET, "file: is not a folder"),
    (["file"], "/proc/nothing", TARGET, "/proc/nothing: No such file or directory"),
    (["file", "folder/file"], "into", EITHER, f"file and folder/file {BOTH} into/file; copy them one after another"),
    ([LONG], "into", EITHER, f"{LONG}: File name too long"),
    (["file"], f"into/{LONG}", EITHER, f"into/{LONG}: File name too long"),
    ([DEEP], "into", EITHER, f"...{DEEP[-800:]}: File name too long"),
    (["nul\0byte"], "into", EITHER, "nul\0byte: holds a zero byte"),
    (["folder", "-r"], "file", TARGET, "file: Not a directory"),
    (["folder", "-r"], "fifo", TARGET, "fifo: Not a directory"),
    (["folder/.", "-r"], "file", TARGET, "file: Not a directory"),
    (["into/taken", "-r"], "folder/file/x", TARGET, "folder/file: is not a folder"),
]


@pytest.mark.parametrize("name", ["there", "back", "between"])
async def test_the_line_says_which_path_on_which_side_and_why(name: str, here: Path) -> None:
    async with way(name) as sides:
        labels = tuple("" if session is None else f"{side}: " for side, session in sides.items())
        for sources, target, side, expected in FAILURES:
            label = labels[side] if isinstance(side, int) else ""
            recursive = "-r" in sources
            try:
                done = await copy(
                    [one for one in sources if one != "-r"],
                    target,
                    recursive=recursive,
                    labels=labels,
                    **sides,  # type: ignore[arg-type]
                )
                said = done.problems
            except CopyError as exc:
                said = [str(explain(exc, None))]  # type: ignore[arg-type]
            assert said == [label + expected], (sources, target)


async def test_a_device_is_not_replaced(here: Path) -> None:
    try:
        os.mknod("device", 0o20666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root can make devices")
    async with server() as session:
        done = await copy(["file"], "device", destination=session)
    assert done.problems == ["device: is there, and neither a file nor a folder; it is not replaced"]
    assert Path("device").is_char_device()
    os.remove("device")


async def test_the_rest_is_copied_and_each_failure_has_its_line(here: Path) -> None:
    async with server() as session:
        done = await copy(
            ["nothing", "file", "fifo", "folder/."], "into", source=session, recursive=True, labels=("S: ", "")
        )
    assert done.problems == ["S: nothing: No such file or directory", "S: fifo: is neither a file nor a folder"]
    assert (done.files, Path("into/file").read_text()) == (2, "folder/file")


async def test_a_full_disk_names_the_file_that_had_no_room(here: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "folder"], capture_output=True).returncode:
        pytest.skip("only root can make a small file system")
    try:
        Path("file").write_bytes(bytes(100_000))
        async with server() as session:
            for target, path in (("folder", "folder/file"), ("folder/x", "folder/x")):
                with pytest.raises(CopyError, match=rf"^S: {path}: No space left on device$"):
                    await copy(["file"], target, destination=session, labels=("", "S: "))
                for part in Path("folder").iterdir():
                    part.unlink()
    finally:
        subprocess.run(["umount", "folder"], check=True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"names": [b"../x"]}, "../x is no name of a file"),
        ({"names": [b"x" * 256]}, f"{'x' * 256} is too long for the name of a file"),
        ({"paths": [b"x" * 4097]}, "a path is missing, of a wrong type, too long, or holds a zero byte"),
    ],
)
async def test_a_request_that_is_refused_says_why(change: dict[str, Any], reason: str, here: Path) -> None:
    """At each of its ends."""
    async with server() as session:
        requests = await session.open(copying.SERVICE)
        entries, _in = chanlink.pipe()
        _out, answers = chanlink.pipe()
        report, reports = chanlink.pipe()
        ends = {"entries": entries, "answers": answers, "report": report}
        await requests.send({"do": "send", "paths": [b"x"], "names": [b"x"], **ends, **change})
        for waiting in (reports, _in):
            with pytest.raises(chanlink.ChannelFailed, match=reason) as caught:
                await waiting.receive()
            assert caught.value.code == "bad-request"
        assert reason in str(await _out.wait_closed())
        assert reason in str(await requests.wait_closed())
        for end in (_in, _out, reports):
            end.close()


async def test_who_asks_for_too_much_or_may_not_is_told_which_server_says_so(here: Path) -> None:
    service = copy_service(refusal=lambda peer, reads, running: "not today")
    async with server(service) as session:
        for sides in ({"source": session}, {"destination": session}):
            with anyio.fail_after(PATIENCE), pytest.raises(CopyError, match=r"^S: not today$"):
                await copy(["file"], "into", labels=("S: ", "S: "), **sides)


async def test_a_client_is_told_why_its_request_was_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.rexec.copy.client._name_of", lambda source: b"..")
    async with server() as session:
        with pytest.raises(chanlink.ChannelFailed, match=r"\.\. is no name of a file"):
            await copy(["file"], "into", source=session)
