"""Standard descriptors in whatever state they are."""

import os
import pty
import subprocess
import sys

import pytest

from examples.rexec.cli.descriptors import FAILED, complain, finish, has_room, in_background
from tests.rexec.servers import ROOT
from tests.rexec.surroundings import crowded


def run(script: str, **kwargs: object) -> subprocess.CompletedProcess[bytes]:
    code = f"from examples.rexec.cli.descriptors import *\n{script}"
    command = ["sh", "-c", kwargs.pop("around", 'exec "$@"'), "sh", sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}  # as it is for users
    return subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, **kwargs)  # type: ignore[call-overload, no-any-return]


def test_what_was_closed_is_opened_so_that_nothing_else_takes_its_place() -> None:
    script = "import os, sys\nprepare()\nnext = os.dup(2)\nos._exit(next)"
    assert run(script, around='exec "$@" <&- >&-').returncode == 3


def test_printing_where_nobody_gets_it_is_an_error() -> None:
    script = "import sys\nrefuse_output()\ntry: print('x', flush=True)\nexcept OSError: os._exit(7)"
    assert run(script, around='exec "$@" >&-').returncode == 7


def test_output_that_a_full_disk_does_not_take_is_one_line() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    done = run("import sys\nprint('x')\nsys.exit(finish(0))", around='exec "$@" > /dev/full')
    assert done.returncode == FAILED
    assert done.stderr == b"rexec: can't write to standard output: No space left on device\n"


def test_a_status_is_passed_on_when_all_was_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print("x")
    assert finish(3) == 3
    complain("something")
    assert capsys.readouterr() == ("x\n", "rexec: something\n")


def test_there_is_room_or_none() -> None:
    assert has_room()
    with crowded(100, 95):
        assert not has_room()
    assert has_room()


def test_a_terminal_that_does_not_control_us_has_no_jobs_of_ours() -> None:
    ours, theirs = pty.openpty()
    try:
        assert not in_background(theirs)
    finally:
        os.close(ours)
        os.close(theirs)
