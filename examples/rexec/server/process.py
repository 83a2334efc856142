"""A command that runs here: what the guard is told about it, and what that says."""

import errno
import json
import os
import signal
import socket
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import anyio

from ..messages import CANNOT_START, NO_SUCH_DIRECTORY, NOT_FOUND, NOT_PERMITTED, Size, StartError
from ..policy.order import Order
from .streams import CommandStreams

GRACE = 5.0
"""Seconds between asking a command to stop (TERM) and stopping it (KILL)."""


class GuardLost(Exception):
    """The guard has ended, or has given up the command: how the command ended is not known."""


class Process:
    """A running command. Leaving ``async with process`` stops what still runs of it, unless `finish` was called.

    Made by `Starter.start`.
    """

    returncode: int | None = None
    """As in `subprocess.Popen`; None before `exited`."""
    late = False
    """Whether it was stopped because its time was up."""
    interrupted = False
    """Whether it was sent a signal that asks to end."""

    def __init__(self, line: socket.socket, streams: CommandStreams, order: Order, grace: float) -> None:
        self.pid = 0
        self.stdin = streams.stdin
        self.outputs = streams.outputs
        """Standard output, and standard error if it is a pipe of its own."""
        self._streams = streams
        self._line = line
        self._received = b""
        self._finished = False
        self._order: Order | None = order
        self.time = order.limits.get("time")
        """Seconds that it may take; None if that is not limited."""
        self._unsent = memoryview(order.to_json(grace))

    def send_order(self) -> bool:
        """Send as much of the order as the line takes now; returns whether that was all. Raises an `OSError`."""
        with suppress(BlockingIOError):
            while self._unsent:
                self._unsent = self._unsent[self._line.send(self._unsent) :]
        return not self._unsent

    async def begin(self) -> None:
        """Wait until it runs. Raises `StartError`, `GuardLost`, an `OSError`."""
        try:
            while not self.send_order():
                await anyio.wait_writable(self._line)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the guard has given up, and has perhaps said why
        report = await self._report()
        if "error" in report:
            self._finished = True
            stage, number = report["error"]
            assert self._order is not None
            raise _start_error(stage, number, self._order)
        self.pid = report["pid"]
        self._order, self._unsent = None, memoryview(b"")  # it may run for days

    async def exited(self) -> int:
        """Wait until the command has ended. It is not reaped: until `finish` its id, and its group's, stay its own.

        Raises `GuardLost`.
        """
        if self.returncode is None:
            report = await self._report()
            self.returncode, self.late = int(report["exit"]), bool(report["late"])
        return self.returncode

    def signal(self, number: int) -> None:
        """Send a signal to the command and its children."""
        self.interrupted |= number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
        self._tell({"signal": number})

    def resize(self, size: Size) -> None:
        """Give its terminal, if it has one, another size."""
        self._streams.resize(size)

    def end_input(self) -> None:
        """Let the command find the end of its input."""
        self._streams.end_input()

    def finish(self) -> None:
        """Let go of the command, which has `exited`. What it has left running in the background goes on."""
        self._tell({"finish": True})
        self._finished = True

    async def stop(self) -> None:
        """Send TERM to the command and its children, and KILL to those left after the grace; wait for their end."""
        self._finished = True
        with anyio.CancelScope(shield=True):
            try:
                self._line.shutdown(socket.SHUT_WR)
                while "gone" not in (report := await self._report()):
                    pass
                self.returncode = int(report["exit"])
            except (GuardLost, OSError):  # the guard was killed: the system has killed the command, but no children
                with suppress(ProcessLookupError, PermissionError):
                    if self.pid:
                        os.killpg(self.pid, signal.SIGKILL)

    def _tell(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # the guard is gone: `exited` will tell
            self._line.send(json.dumps(message).encode() + b"\n")

    async def _report(self) -> dict[str, Any]:
        while b"\n" not in self._received:
            await anyio.wait_readable(self._line)
            try:
                data = self._line.recv(4096)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                data = b""
            if not data:
                raise GuardLost("the guard of the commands has ended")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        report: dict[str, Any] = json.loads(line)
        if "failed" in report:
            raise GuardLost(f"the guard has given the command up: {report['failed']}")
        return report

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        # The input is closed last: a command whose input broke off must not take that for its end.
        if not self._finished:
            await self.stop()
        self.close()

    def close(self) -> None:
        """Close our ends; whatever still runs is stopped by the guard."""
        self._streams.close()
        self._line.close()


def _start_error(stage: str, number: int, order: Order) -> StartError:
    subject = {"directory": order.directory, "command": order.argv[0]}.get(stage)
    name = (subject or b"").decode(errors="replace") or (f"the {stage}" if stage != "start" else "the command")
    text = f"{name}: {os.strerror(number) if number else 'failed'}"
    match stage, number:
        case "directory", errno.ENOENT | errno.ENOTDIR:
            return StartError(NO_SUCH_DIRECTORY, text)
        case "command", errno.ENOENT | errno.ENOTDIR:
            return StartError(NOT_FOUND, text)
        case "user", errno.EPERM:
            name = order.user.name if order.user is not None else "the user"
            return StartError(NOT_PERMITTED, f"{name}: the server, which is not root, can't run commands as others")
        case _, errno.EACCES | errno.EPERM:
            return StartError(NOT_PERMITTED, text)
    return StartError(CANNOT_START, text)
