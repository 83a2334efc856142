"""The chat: who is slow is told what is missing, and the others do not wait."""

import signal
from collections.abc import Callable

import pytest

from tests.patience import PATIENCE

from .programs import Programs

pytestmark = pytest.mark.slow

LINES = 2_000
"""More than the room keeps, and what lies in the buffers of the system."""


def test_who_is_slow_is_told_how_many_lines_are_missing(programs: Callable[[str], Programs]) -> None:
    here = programs("chat/chat.py")
    room = here.serve("unix:socket")
    alice = here.client("join", "alice", "unix:socket")
    assert alice.stdout
    assert alice.stdout.readline() == "alice: is here\n"
    alice.send_signal(signal.SIGSTOP)
    spoken = "".join(f"{number} {'x' * 900}\n" for number in range(LINES))
    here.client("join", "bob", "unix:socket").communicate(spoken, timeout=PATIENCE)
    alice.send_signal(signal.SIGCONT)
    missing, seen = 0, list[int]()
    for line in alice.stdout:
        if line.startswith("("):
            missing += int(line[1:].split()[0])
        elif not line.endswith("is here\n"):
            seen.append(int(line.split()[1]))
        if seen and seen[-1] == LINES - 1:
            break
    assert missing > 100
    assert len(seen) + missing == LINES
    assert seen == sorted(seen)
    room.send_signal(signal.SIGINT)
    assert alice.stdout.read() == "(the room is closed)\n"
    assert (alice.wait(PATIENCE), room.wait(PATIENCE)) == (0, 0)


def test_what_others_say_can_not_control_the_terminal(programs: Callable[[str], Programs]) -> None:
    here = programs("chat/chat.py")
    here.serve("unix:socket")
    alice = here.client("join", "alice", "unix:socket")
    assert alice.stdout
    assert alice.stdout.readline() == "alice: is here\n"
    (here.folder / "typed").write_text("\x1b[2J\nfrom a file\n")
    assert here.client("join", "bob", "unix:socket", reads=here.folder / "typed").wait(PATIENCE) == 0
    assert alice.stdout.readline() == "bob: is here\n"
    assert alice.stdout.readline() == "bob: \\x1b[2J\n"
    assert alice.stdout.readline() == "bob: from a file\n"
    alice.send_signal(signal.SIGINT)
    _, complaints = alice.communicate(timeout=PATIENCE)
    assert (alice.returncode, complaints) == (130, "")
