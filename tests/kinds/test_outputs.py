"""Standard output and error that are closed, full, or read by nobody."""

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from .programs import COMMANDS, PATIENCE, Command, Place

FAILED = {"chanlink": 1, "rexec": 255}
CLOSED = "closed"
STATES = ["full", "unread", CLOSED]


@contextmanager
def _output(state: str) -> Iterator[Any]:
    """What a program gets as an output in this state."""
    if state == "full":
        with open("/dev/full", "wb") as full:
            yield full
    elif state == "unread":
        reader, writer = os.pipe()
        os.close(reader)
        yield writer
        os.close(writer)
    else:
        yield subprocess.DEVNULL


def _run(place: Place, command: Command, state: str, which: int) -> tuple[int, bytes]:
    """The status, and what is on the other output."""
    with _output(state) as output:
        argv = place.argv(command)
        if state == CLOSED:
            argv = ["sh", "-c", f'exec "$@" {which}>&-', "sh", *argv]
        other = subprocess.PIPE
        outputs = {"stdout": output, "stderr": other} if which == 1 else {"stdout": other, "stderr": output}
        with subprocess.Popen(
            argv, cwd=place.home, env=place.environment(), stdin=subprocess.DEVNULL, **outputs
        ) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
        return process.returncode, err if which == 1 else out


def _all(place: Place, state: str, which: int, commands: list[Command]) -> Iterator[tuple[Command, int, bytes]]:
    for name in ("made", "made.pub", "next-successor", "here", "there"):
        (place.home / name).unlink(missing_ok=True)
    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(_run, place, command, state, which) for command in commands]
        for command, one in zip(commands, done, strict=True):
            yield command, *one.result()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("state", STATES)
def test_what_can_not_be_printed_is_one_line_and_the_status_says_so(
    state: str, place: Place, request: pytest.FixtureRequest
) -> None:
    """Each command has one of the outputs, and all of them in the tier of everything."""
    printing = [command for command in COMMANDS if command.prints]
    if not request.config.getoption("--everything"):
        printing = printing[STATES.index(state) :: len(STATES)]
    for command, status, err in _all(place, state, 1, printing):
        said = (command.line, state, status, err.decode())
        if state == "unread":
            assert (status, err) == (-signal.SIGPIPE, b""), said
        elif state == CLOSED and ("--help" in command.line or "--version" in command.line):
            assert status == 0, said  # the parser prints them on standard error then
            assert err, said
        else:
            lines = [line for line in err.decode().splitlines() if not line.startswith(("SHA256:", "ssh-ed25519 "))]
            assert status == FAILED[command.program], said
            assert len(lines) == 1, said
            assert lines[0].startswith(f"{command.program}: can't write to standard output: "), said


@pytest.mark.parametrize("state", STATES)
def test_without_standard_error_the_status_is_what_it_was(state: str, place: Place) -> None:
    """Also of a mistake: nobody hears of it, but that is all."""
    fine = [Command("chanlink keygen {home}/made"), Command("chanlink peers list --trust {home}/trust")]
    fine += [Command("chanlink id {home}/client"), Command("rexec run {ours} {rexec} -- true")]
    wrong = [Command("chanlink id /nowhere"), Command("rexec key --identity /nowhere"), Command("rexec ps /nowhere")]
    wrong += [Command("chanlink id --nonsense"), Command("rexec key --nonsense"), Command("rexec run --share x -- y")]
    for command, status, _ in _all(place, state, 2, fine + wrong):
        expected = FAILED[command.program] if command in wrong else 0
        if "chanlink id --nonsense" in command.line:
            expected = 2
        assert status == expected, (command.line, state)
