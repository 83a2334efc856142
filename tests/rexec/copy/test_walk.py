"""What a sender finds."""

import os
from contextlib import closing
from pathlib import Path
from typing import Any

from examples.rexec.copy.messages import INLINE
from examples.rexec.copy.place import Place
from examples.rexec.copy.report import Remark
from examples.rexec.copy.walk import LargeFile, changed, sizes, walk


def found(path: Path, recursive: bool = True) -> list[Any]:
    with closing(walk(Place(), os.fsencode(path), b"top", recursive)) as items:
        return list(items)


def test_folders_are_walked_in_the_order_of_names_and_left_again(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file").write_text("data")
    (tmp_path / "a").symlink_to("b/file")
    (tmp_path / "c").touch()
    top, link, folder, file, leave, empty, last = found(tmp_path)
    assert (top["folder"], folder["folder"], file["file"], empty["file"]) == (b"top", b"b", b"file", b"c")
    assert (file["data"], file["size"]) == (b"data", 4)
    assert link == {"link": b"a", "target": b"b/file"}
    assert leave == last == {"leave": True}


def test_a_large_file_is_open_while_it_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(INLINE + 1))
    with closing(walk(Place(), os.fsencode(tmp_path / "file"), b"name", False)) as items:
        item = next(items)
        assert isinstance(item, LargeFile)
        assert item.size == INLINE + 1
        assert not changed(item.file, item.found)
        with (tmp_path / "file").open("ab") as file:
            file.write(b"more")
        assert changed(item.file, item.found)


def test_what_is_not_sent_has_a_remark(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / ".x.rexec-part").touch()
    remarks = [item for item in found(tmp_path) if isinstance(item, Remark)]
    assert [remark.is_problem for remark in remarks] == [False, False]
    assert "unfinished copy" in remarks[0].text
    assert "neither a file nor a folder" in remarks[1].text
    (remark,) = found(tmp_path / "none")
    assert remark.is_problem
    (remark,) = found(tmp_path, recursive=False)
    assert "copy it with -r" in remark.text


def test_sizes_are_those_of_what_will_be_found(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for number, name in enumerate(("a", "b", "folder/c")):
        (tmp_path / name).write_bytes(bytes(number))
    assert sorted(sizes(Place(), os.fsencode(tmp_path), True)) == [0, 1, 2]
    assert list(sizes(Place(), os.fsencode(tmp_path), False)) == []
    assert list(sizes(Place(), os.fsencode(tmp_path / "none"), True)) == []
