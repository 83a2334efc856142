"""Jobs of an interactive shell on a real terminal: the background, Ctrl-Z, and what the terminal is like afterwards."""

import os
import shlex
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.rexec.cli.screens import Screen, is_raw, needs, screen

from .programs import PATIENCE, Command, Place

pytestmark = [needs("bash"), pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")]

BACKGROUND = [
    "rexec run --share {ours} {rexec} -- echo ready",
    "rexec run {ours} {rexec} -- echo ready",
    "rexec run {ours} --progress {rexec} -- echo ready",
    "rexec cp {ours} {home}/client.pub {rexec}:{home}/there",
    "rexec ps {ours} {rexec}",
    "chanlink ping {ours} -c 1 {chanlink}",
    "chanlink top {ours} --once {chanlink}",
]


@contextmanager
def _bash(place: Place) -> Iterator[Screen]:
    environment = [f"{name}={value}" for name, value in place.environment(PS1="$ ", TERM="vt100").items()]
    with screen(
        ["env", "-i", *environment, "bash", "--norc", "--noprofile", "--noediting", "-i"], columns=500
    ) as shell:
        shell.until(r"\$ ")
        shell.type("set -b\n")  # what becomes of a job is said at once
        shell.until(r"\$ ")
        yield shell


def _line(place: Place, line: str) -> str:
    return shlex.join(place.argv(Command(line)))


def test_in_the_background_nothing_is_stopped(place: Place) -> None:
    with _bash(place) as shell:
        for line in BACKGROUND:
            shell.type(_line(place, line) + " &\n")
            shell.until(r"\[1\] \d+")
            assert shell.until(r"\[1\]\+? +(Done|Stopped[ \w()]*|Exit \d+)")[1] == b"Done", line
        shell.type("rm -f there; stty\n")
        shell.until(r"speed")  # the shell is there
    with place.start(Command("rexec share --stop")) as stop:
        assert stop.wait(PATIENCE) == 0


def test_a_terminal_that_a_command_wants_is_waited_for(place: Place) -> None:
    """As ssh -t does: whoever wants raw mode from the background is stopped, until it is brought to the front."""
    with _bash(place) as shell:
        before = shell.mode()
        shell.type(_line(place, "rexec run -t {ours} {rexec} -- sh -c 'echo $((40+2)); cat'") + " &\n")
        shell.until(r"Stopped")
        shell.type("fg\n")
        shell.until(r"42\r")
        shell.until_mode(is_raw)
        shell.type("\x04")
        shell.until(r"\$ ")
        shell.type("cat\n")
        shell.until_mode(lambda mode: mode == before or bool(mode[3] & termios.ICANON))


def test_who_was_stopped_has_raw_mode_again(place: Place) -> None:
    with _bash(place) as shell:
        shell.type(_line(place, "rexec run -t {ours} {rexec} -- sh -c 'echo $((40+2)); cat'") + "\n")
        shell.until(r"42\r")
        shell.until_mode(is_raw)
        (client,) = _children(shell, "run -t")
        os.kill(client, signal.SIGSTOP)
        shell.until(r"Stopped")
        shell.until(r"\$ ")
        shell.type("fg\n")
        shell.until(r"rexec run|examples.rexec")
        shell.until_mode(is_raw)
        shell.type("\x04")
        shell.until(r"\$ ")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_top_gives_the_screen_back_while_it_is_stopped(place: Place, loop: str) -> None:
    with _bash(place) as shell:
        shell.type(f"CHANLINK_EVENT_LOOP={loop} {_line(place, 'chanlink top {ours} {chanlink}')}\n")
        shell.until(r"\x1b\[\?1049h")
        shell.until(r"1 session")
        shell.type("\x1a")
        shell.until(r"\x1b\[\?1049l")
        shell.until(r"Stopped")
        shell.type("fg\n")
        shell.until(r"\x1b\[\?1049h")
        shell.until(r"1 session")
        shell.type("q")
        shell.until(r"\x1b\[\?1049l")
        shell.until(r"\$ ")


def _children(shell: Screen, words: str) -> list[int]:
    """Jobs of the shell whose command line has these words."""
    children = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()
    return [
        int(pid) for pid in children if words.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    ]
