"""The guard by itself: what goes wrong with one command, or is said of one, does no harm to the others."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from examples.rexec import limits, messages
from examples.rexec.client import StartError, run, start
from examples.rexec.server.starter import PROGRAM, TIMES
from tests.rexec.servers import FAMILY, PATIENCE, ROOT, alive, gone, until
from tests.rexec.sessions import read_line, sessions

FOREVER = ["sleep", "1000"]


class Line:
    """Of a command, as the server has it."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        line.settimeout(PATIENCE)
        self.reports = line.makefile("rb")

    def send(self, data: bytes) -> None:
        self.line.sendall(data + b"\n")

    def report(self) -> dict[str, Any]:
        """The next one; {} at the end."""
        line = self.reports.readline()
        report: dict[str, Any] = json.loads(line) if line else {}
        return report


class GuardProcess:
    """A guard that we talk to in the place of a server."""

    def __init__(self, program: str = PROGRAM) -> None:
        self.orders, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-I", "-S", "-c", program]
            self.process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.DEVNULL)

        self.lines: list[Line] = []

    def close(self) -> None:
        """Leave it, as a server does that ends."""
        for line in self.lines:
            line.reports.close()
            line.line.close()
        self.orders.close()
        assert self.process.wait(PATIENCE) == 0

    def line(self, most: float = math.inf, grace: float = 0.5) -> Line:
        ours, theirs = socket.socketpair()
        with theirs, open(os.devnull, "r+b") as nothing:
            files = [nothing.fileno()] * 3
            socket.send_fds(self.orders, [TIMES.pack(most, grace)], [theirs.fileno(), *files])
        self.lines.append(Line(ours))
        return self.lines[-1]

    def command(self, argv: list[str], most: float = math.inf, grace: float = 0.5) -> Line:
        line = self.line(most, grace)
        order = {"argv": argv, "environment": [f"PATH={os.environ['PATH']}"], "directory": None, "user": None}
        line.send(json.dumps({**order, "terminal": False, "limits": {}, "grace": grace}).encode())
        return line

    def held(self, commands: int) -> int:
        """Its descriptors, when it has these commands and a spare child."""
        until(lambda: len(self.children()) == commands + 1)
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def children(self) -> list[str]:
        return Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()


@contextmanager
def guarding(program: str = PROGRAM) -> Iterator[GuardProcess]:
    guard = GuardProcess(program)
    try:
        yield guard
    finally:
        guard.close()


def ends_well(guard: GuardProcess) -> bool:
    """Whether a command runs from its start to its end."""
    line = guard.command(["sh", "-c", "exit 7"])
    assert line.report()["pid"]
    assert line.report()["exit"] == 7
    line.send(b'{"finish": true}')
    return line.report() == {}


NONSENSE = [
    b"{", b"\xff", b"5", b"null", b'{"signal": "TERM"}', b'{"signal": null}', b'{"signal": 1e400}',
    b'{"signal": -1%s}' % (b"0" * 30), b'{"signal": 5000}', b'{"signal": [1]}', b"[" * 100_000,
]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
class TestOneCommandOfMany:
    def test_many_that_are_left_at_once_are_stopped_with_one_look_at_all_processes(self, tmp_path: Path) -> None:
        """One for each of a thousand takes half a minute, in which nobody's command starts."""
        log = tmp_path / "log"
        program = f"""
from examples.rexec.guard import main as guard
def noted(name, function):
    def call(*args):
        file.write(name + "\\n")
        return function(*args)
    return call
file = open({str(log)!r}, "w", buffering=1)
guard.living = noted("look", guard.living)
guard.os.killpg = noted("kill", guard.os.killpg)
guard.main()
"""
        with guarding(f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n{program}") as guard:
            commands = [guard.command(FOREVER) for _ in range(20)]
            pids = [line.report()["pid"] for line in commands]
            guard.process.send_signal(signal.SIGSTOP)
            for line in commands:
                line.reports.close()
                line.line.close()
            guard.process.send_signal(signal.SIGCONT)
            gone(pids)
            assert ends_well(guard)
        assert log.read_text().split()[:20] == ["kill"] * 20

    def test_what_can_not_be_obeyed_is_the_end_of_that_command_only(self) -> None:
        with guarding() as guard:
            other = guard.command(FOREVER)
            other_pid = other.report()["pid"]
            before = guard.held(commands=1)
            for words in NONSENSE:
                line = guard.command(FOREVER)
                pid = line.report()["pid"]
                line.send(words)
                assert line.report()["failed"], words
                assert line.report() == {}
                gone([pid])
                assert alive(other_pid), words
                assert ends_well(guard), words
            until(lambda: guard.held(commands=1) == before)
            other.send(b'{"signal": 15}')
            assert other.report()["exit"] == -signal.SIGTERM

    def test_an_order_that_is_none_is_an_error_of_that_command_only(self) -> None:
        with guarding() as guard:
            assert ends_well(guard)
            before = guard.held(commands=0)
            for words in (b"{", b"5", b"{}", b'{"argv": [], "environment": []}', b"\xff"):
                line = guard.line()
                line.send(words)
                assert line.report() == {"error": ["start", 0]}, words
                assert line.report() == {}
                assert ends_well(guard)
            until(lambda: guard.held(commands=0) == before)

    @pytest.mark.parametrize("most", [1e12, 1e308, 2.0**31, math.inf, math.nan])
    def test_no_time_of_a_command_is_too_long_for_the_guard(self, most: float) -> None:
        with guarding() as guard:
            line = guard.command(FOREVER, most)
            assert line.report()["pid"]
            assert ends_well(guard)

    @pytest.mark.parametrize("most", [0.0, -1e308, -math.inf])
    def test_a_time_that_is_over_at_once_ends_that_command(self, most: float) -> None:
        with guarding() as guard:
            line = guard.command(FOREVER, most)
            while "gone" not in (report := line.report()):
                assert report
            assert report["late"]
            assert ends_well(guard)

    def test_no_zombie_is_left_of_a_command_that_was_given_up(self) -> None:
        with guarding() as guard:
            assert ends_well(guard)
            for _ in range(3):
                line = guard.command(FOREVER)
                pid = line.report()["pid"]
                line.send(b"{")
                assert line.report()["failed"]
                gone([pid])
                assert ends_well(guard)  # the end of this one, or its own, has told the guard of the other's
                assert str(pid) not in guard.children()

    def test_an_order_in_pieces_is_the_order(self) -> None:
        with guarding() as guard:
            line = guard.command(["true"])
            assert line.report()["pid"]
            assert line.report()["exit"] == 0
            for byte in b'{"finish": true}\n':
                line.line.send(bytes([byte]))
            assert line.report() == {}


LARGEST: list[dict[str, Any]] = [{"limits": {name: limits.MOST[unit]}} for name, unit in limits.NAMES.items()]
LARGEST += [{"terminal": messages.Size(65_535, 65_535)}]
BEYOND: list[dict[str, Any]] = [{"limits": {name: limits.MOST[unit] + 1}} for name, unit in limits.NAMES.items()]
BEYOND += [{"limits": {"time": most}} for most in (0, -1, 2**63, 2**64 - 1)]
BEYOND += [{"terminal": messages.Size(65_536, 1)}, {"terminal": messages.Size(1, 0)}]


@pytest.mark.anyio
@pytest.mark.usefixtures("no_leaks")
class TestNumbersOfAPeer:
    """The largest of each that is taken, and the first that is not: other commands do not notice."""

    async def test_they_stop_no_command_of_anybody(self) -> None:
        async with sessions() as session, start(session, ["sh", "-c", FAMILY]) as other:
            pids = [int(pid) for pid in (await read_line(other.stdio)).split()]
            for settings in LARGEST:
                async with start(session, ["sh", "-c", "echo; exec cat"], **settings) as command:
                    with anyio.fail_after(PATIENCE):
                        assert await read_line(command.stdio)
                        assert (await run(session, ["true"])).status == 0
            for settings in BEYOND:
                with pytest.raises(StartError) as caught:
                    await run(session, ["true"], **settings)
                assert caught.value.code == messages.BAD_REQUEST
            assert all(map(alive, pids))
