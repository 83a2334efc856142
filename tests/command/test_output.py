"""What the command prints, and that it reaches somebody."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from chanlink.command.output import complain, duration, milliseconds, size, table
from tests.command.calls import COMMAND, environment, make_keys


def test_an_output_that_is_full_closed_or_a_broken_pipe(tmp_path: Path) -> None:
    keys = make_keys(tmp_path)
    environ = environment(tmp_path)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "id", "client"], stdout=full, stderr=subprocess.PIPE, env=environ, cwd=keys.home, text=True
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert done.stderr.count("\n") == 1
    reader, writer = os.pipe()
    os.close(reader)
    broken = subprocess.run(
        [*COMMAND, "completion", "bash"], stdout=writer, stderr=subprocess.PIPE, env=environ, cwd=keys.home
    )
    os.close(writer)
    assert (broken.returncode, broken.stderr) == (-signal.SIGPIPE, b"")
    closed = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *COMMAND, "id", "client"]
    assert subprocess.run(closed, env=environ, cwd=keys.home).returncode == 1  # nobody gets the key


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0000123, "0.012"), (0.0005, "0.500"), (0.001, "1.00"), (0.0123, "12.3"), (1.5, "1500")]
)
def test_times_have_three_digits(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"),
     (200 * 1024, "200 KiB"), (3 * 1024**3, "3.0 GiB"), (2**60, "1048576 TiB")],
)  # fmt: skip
def test_sizes_have_units(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(5.4, "5 s"), (60, "1 min"), (3_599, "59 min"), (7_500, "2 h 5 min"), (273_600, "3 d 4 h")]
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_columns_stand_under_each_other() -> None:
    assert table([["a", "bb", ""], ["ccc", "d", "e"]], right={1}) == ["a    bb", "ccc   d  e"]


def test_what_others_have_said_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain("evil\x1b[2J\nchanlink: all is well")
    assert capsys.readouterr().err == "chanlink: evil\\x1b[2J\\nchanlink: all is well\n"
