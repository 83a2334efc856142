"""Files that say what may be done, or where to connect."""

import os
from pathlib import Path

import pytest

from examples.rexec.settings_file import SIZE_MAX, expanded, read_settings


def test_a_tilde_is_the_home_folder_and_what_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert expanded("~/x") == "/home/somebody/x"
    assert expanded("a/~") == "a/~"
    with pytest.raises(OSError, match="there is no such home folder"):
        expanded("~nobody-of-this-name/x")


def test_the_text_of_a_file_is_read(tmp_path: Path) -> None:
    (file := tmp_path / "file").write_text("ü\n")
    assert read_settings(str(file)) == "ü\n"


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/null"):
        with pytest.raises(OSError, match=r"no regular file|Is a directory"):
            read_settings(str(path))


def test_what_everybody_may_write_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (file := tmp_path / "file").touch()
    file.chmod(0o646)
    with pytest.raises(OSError, match=f"run: chmod o-w {file}"):
        read_settings(str(file))


def test_what_is_no_text_says_where_and_what_is_too_long_says_so(tmp_path: Path) -> None:
    (file := tmp_path / "file").write_bytes(b"a\nb\n\xff")
    with pytest.raises(ValueError, match="line 3: not UTF-8"):
        read_settings(str(file))
    file.write_bytes(b"#" * (SIZE_MAX + 1))
    with pytest.raises(ValueError, match="larger than"):
        read_settings(str(file))
