"""A file that is read again when it has changed."""

import os
from pathlib import Path

import pytest

from chanlink.security.keys.watched import Watched


class Reader:
    """Reads a number from a file, and counts how often."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.times = 0

    def __call__(self) -> int:
        self.times += 1
        return int(self.file.read_text())


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    (tmp_path / "file").write_text("1")
    return Reader(tmp_path / "file")


def watched(reader: Reader, now: int | None = 1) -> Watched[int]:
    return Watched(reader.file, reader, now, lambda number: number % 10)


def test_it_is_read_when_it_was_the_same_at_two_looks_and_not_again(reader: Reader) -> None:
    watch = watched(reader)
    assert [watch.look() for _ in range(3)] == [None] * 3
    assert reader.times == 1  # it may have changed before the watch began
    reader.file.write_text("2")
    assert [watch.look() for _ in range(3)] == [None, 2, None]
    assert reader.times == 2


def test_what_is_being_written_is_not_read(reader: Reader) -> None:
    watch = watched(reader)
    for number in range(5):
        reader.file.write_text("2" * (number + 1))
        assert watch.look() is None
    assert reader.times == 0
    assert watch.look() == 22222


def test_a_change_that_says_nothing_new_is_none(reader: Reader) -> None:
    watch = watched(reader)
    reader.file.write_text("21")
    assert [watch.look() for _ in range(3)] == [None] * 3
    assert reader.times == 1
    assert [one.look() for one in [watched(reader, None)] for _ in range(3)] == [None, 21, None]


def test_a_change_of_the_same_size_with_its_time_set_back_is_seen(reader: Reader) -> None:
    watch = watched(reader)
    watch.look()
    watch.look()
    reader.file.write_text("2")
    os.utime(reader.file, ns=(0, 0))
    assert [watch.look() for _ in range(2)] == [None, 2]


@pytest.mark.parametrize("problem", ["nonsense", "missing"])
def test_what_cannot_be_read_is_said_once_and_leaves_things_as_they_are(problem: str, reader: Reader) -> None:
    watch = watched(reader)
    watch.look()
    watch.look()
    if problem == "missing":
        reader.file.unlink()
    else:
        reader.file.write_text(problem)
    assert watch.look() is None
    with pytest.raises((ValueError, OSError)):
        watch.look()
    assert [watch.look() for _ in range(3)] == [None] * 3
    reader.file.write_text("1")
    assert [watch.look() for _ in range(3)] == [None] * 3
    reader.file.write_text("3")
    assert [watch.look() for _ in range(2)] == [None, 3]
