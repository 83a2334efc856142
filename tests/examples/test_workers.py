"""The workers: what they find is right, whatever is killed; and what looks for mistakes would find them."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from examples.workers.checking import mistakes
from examples.workers.hashing import id_of, inside
from tests.patience import PATIENCE

from .programs import ROOT, Programs

ADDRESS = ("--address", "unix:socket")
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def a_tree(folder: Path) -> Path:
    """Two files: one is empty, and the path of the other one is longer than an id may be."""
    tree = folder / "tree"
    deep = tree / ("a" * 150) / ("b" * 150)
    deep.mkdir(parents=True)
    (tree / "empty").touch()
    (deep / "abc").write_bytes(b"abc")
    return tree


def test_the_id_of_a_file_is_another_one_when_its_content_is_another_one(tmp_path: Path) -> None:
    tree = a_tree(tmp_path)
    before = id_of(tree / "empty", tree)
    assert before == id_of(tree / "empty", tree)
    (tree / "empty").write_bytes(b"not any more")
    assert before != id_of(tree / "empty", tree)


def test_an_id_is_never_too_long(tmp_path: Path) -> None:
    tree = a_tree(tmp_path)
    ids = {id_of(path, tree) for path in tree.rglob("*") if path.is_file()}
    assert len(ids) == 2
    assert all(len(id) <= 200 for id in ids)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../secret", "link"])
def test_a_worker_opens_nothing_outside_of_its_folder(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(PermissionError):
        inside(folder, path)
    assert inside(folder, "a/b") == folder.resolve() / "a" / "b"


@pytest.mark.slow
@pytest.mark.parametrize("send", [(), ("--send",)], ids=["folder", "sent"])
def test_each_file_is_hashed_and_what_was_done_is_not_done_again(
    programs: Callable[[str], Programs], send: tuple[str, ...]
) -> None:
    here = programs("workers/hashes.py")
    tree = a_tree(here.folder)
    here.serve(*ADDRESS)
    worker = here.start("work", "--identity", "bob", "--peer", "server.pub", *ADDRESS, *([] if send else ["tree"]))

    def submitted() -> tuple[list[str], str]:
        bring = here.start("submit", "--identity", "alice", "--peer", "server.pub", *ADDRESS, *send, "tree")
        output, said = bring.communicate(timeout=PATIENCE)
        return sorted(output.splitlines()), said

    deep = next(tree.rglob("abc")).relative_to(tree)
    expected = sorted([f"{ABC}  {deep}", f"{EMPTY}  empty"])
    assert submitted() == (expected, "2 files, 0 of them by a later attempt\n")
    assert submitted() == (expected, "2 files, 0 of them by a later attempt\n")
    show = here.start("show", "--once", "--identity", "alice", "--peer", "server.pub", *ADDRESS)
    output, _ = show.communicate(timeout=PATIENCE)
    assert output.splitlines() == ["2 done, 0 running, 0 waiting, 0 failed", "bob: 0 of 4"]
    worker.send_signal(signal.SIGTERM)
    output, said = worker.communicate(timeout=PATIENCE)
    assert (worker.returncode, said) == (0, "")
    assert len(re.findall("^counted: ", output, re.MULTILINE)) == 2


@pytest.mark.slow
def test_a_file_that_no_worker_can_read_is_said_in_one_line(programs: Callable[[str], Programs]) -> None:
    here = programs("workers/hashes.py")
    a_tree(here.folder)
    (here.folder / "elsewhere").mkdir()
    here.serve(*ADDRESS)
    here.start("work", "--identity", "bob", "--peer", "server.pub", *ADDRESS, "elsewhere")
    bring = here.start("submit", "--identity", "alice", "--peer", "server.pub", *ADDRESS, "tree")
    output, said = bring.communicate(timeout=PATIENCE)
    assert output == ""
    assert "empty: the job has failed: unreadable: No such file or directory" in said.splitlines()
    assert said.splitlines()[-1] == "0 files, 0 of them by a later attempt"


@pytest.mark.slow
@pytest.mark.parametrize("send", [[], ["--send"]], ids=["folder", "sent"])
def test_whatever_is_killed_and_stopped_each_file_has_one_hash(tmp_path: Path, send: list[str]) -> None:
    command = [sys.executable, ROOT / "examples/workers/chaos.py", "--files", "40", "--times", "3", *send, "chaos"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=4 * PATIENCE, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines()[-1] == "each file has one hash, the same as by one process"


@pytest.mark.parametrize(
    ("results", "counted", "wrong"),
    [
        ([f"{ABC}  a"], ["counted: a", "stale: a"], []),
        ([f"{ABC}  a", f"{ABC}  a"], ["counted: a"], []),  # it was asked for again
        ([], ["counted: a"], [f"a should be {ABC}"]),
        ([f"{EMPTY}  a"], ["counted: a"], [f"a should be {ABC}", f"a is not {EMPTY}"]),
        ([f"{ABC}  a", f"{EMPTY}  a"], ["counted: a"], [f"a is not {EMPTY}"]),
        ([f"{ABC}  a"], ["counted: a", "counted: a"], ["a was counted 2 times"]),
    ],
)
def test_what_is_wrong_in_the_end_is_found(results: list[str], counted: list[str], wrong: list[str]) -> None:
    assert mistakes({"a": ABC}, "\n".join(results), "\n".join(counted)) == wrong
