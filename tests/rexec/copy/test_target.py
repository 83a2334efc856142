"""Where a copy is written: which names and links it takes, and what its folders are called meanwhile."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from examples.rexec.copy.messages import DEPTH_MAX, CopyError, new_hash
from examples.rexec.copy.place import Place
from examples.rexec.copy.target import Target, stays_inside
from examples.rexec.messages import BadMessage
from tests.rexec.copy.trees import names


@contextmanager
def opened(path: Path | str, *asked: bytes) -> Iterator[Target]:
    with closing(Target(Place(), os.fsencode(path), list(asked))) as target:
        target.open()
        yield target


@pytest.mark.parametrize(
    ("target", "depth", "inside"),
    [
        (b"a", 1, True),
        (b"a/b", 1, True),
        (b"./a", 1, True),
        (b"..", 1, False),
        (b"../a", 1, False),
        (b"../a", 2, True),
        (b"../..", 2, False),
        (b"a/..", 3, False),
        (b"a/../../b", 3, False),
        (b".././../a", 3, True),
        (b"/etc", 9, False),
        (b"//", 9, False),
        (b"", 1, False),
        (b"a\0", 1, False),
        (b"a", 0, False),
    ],
)
def test_which_links_stay_in_the_copy(target: bytes, depth: int, inside: bool) -> None:
    assert stays_inside(target, depth) is inside


def test_only_the_names_that_were_asked_for_are_taken_and_each_once(tmp_path: Path) -> None:
    with opened(tmp_path, b"a", b"b") as target:
        assert target.final(b"a") == b"a"
        for name in (b"a", b"c"):
            with pytest.raises(BadMessage, match="was not asked for"):
                target.final(name)


def test_a_path_that_is_not_there_is_the_name_of_the_only_copy(tmp_path: Path) -> None:
    with opened(tmp_path / "new", b"a") as target:
        assert target.final(b"a") == b"new"
        target.write(b"new", b"data", new_hash(b"data").digest(), 0o640, 10**9)
    assert (tmp_path / "new").read_bytes() == b"data"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    with pytest.raises(CopyError, match="there is no such folder"), opened(tmp_path / "other", b"a", b"b"):
        pass


def test_a_new_folder_takes_its_name_when_it_is_complete(tmp_path: Path) -> None:
    with opened(tmp_path, b"folder") as target:
        target.enter(target.final(b"folder", is_folder=True), 0o500, 10**9)
        target.write(b"file", b"", new_hash().digest(), 0o644, 0)
        assert names(tmp_path) == [".folder.rexec-part"]
        assert target.here == f"{tmp_path}/folder"
        target.leave()
    assert names(tmp_path) == ["folder"]
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o500
    (tmp_path / "folder").chmod(0o700)


def test_a_wrong_hash_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with opened(tmp_path, b"file") as target, pytest.raises(CopyError, match="another hash"):
        target.write(b"file", b"new", new_hash(b"other").digest(), 0o644, 0)
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_folders_do_not_nest_for_ever(tmp_path: Path) -> None:
    with opened(tmp_path, b"x") as target:
        for _ in range(DEPTH_MAX):
            target.enter(b"x", 0o700, 0)
        with pytest.raises(CopyError, match="nest deeper"):
            target.enter(b"x", 0o700, 0)
