"""The server's side of the guard: starts it, and has it start commands."""

import math
import os
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread

from ..messages import CANNOT_START, StartError
from ..policy.order import Order
from ..room import leave_room
from .process import GuardLost, Process
from .streams import NoInput, Pipes, Terminal

SHARE = 0.9
"""Of the descriptors that we may have: beyond it no command is started, so that everybody can still connect. A command
takes four; those of one key alone, which may be a thousand, would use up what many systems allow."""
TIMES = struct.Struct("dd")
"""As in `guard.main`."""
ROOT = str(Path(__file__).parents[__name__.count(".")])
PROGRAM = f"import sys; sys.path.append({ROOT!r}); from {__package__.rpartition('.')[0]}.guard.main import main; main()"


class Starter:
    """The process that starts our commands. If it is lost, the next command gets another one.

    Leave ``async with starter`` after the commands: it waits until the process is gone.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._start()
        self._lock = anyio.Lock(fast_acquire=True)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # A session of its own: Ctrl-C on the terminal of the server is not for it.
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", PROGRAM],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        ours.setblocking(False)
        self._orders = ours

    async def start(self, order: Order, *, no_input: bool = False) -> Process:
        """Start a command. Raises `StartError`."""
        try:
            ours, theirs = socket.socketpair()
            with theirs:
                process = await self._hand_over_files(order, ours, theirs, no_input)
        except OSError as exc:  # too many descriptors
            raise StartError(CANNOT_START, f"the server can't start a command now: {exc.strerror}") from exc
        try:
            await process.begin()
        except (GuardLost, OSError) as exc:
            await process.__aexit__(None, None, None)
            raise StartError(CANNOT_START, "the server can't start a command now") from exc
        except BaseException:
            await process.__aexit__(None, None, None)
            raise
        return process

    async def _hand_over_files(
        self, order: Order, ours: socket.socket, theirs: socket.socket, no_input: bool
    ) -> Process:
        try:
            leave_room(ours.fileno(), SHARE)
            streams = Terminal(order.terminal) if order.terminal is not None else NoInput() if no_input else Pipes()
        except OSError:
            ours.close()
            raise
        ours.setblocking(False)
        process = Process(ours, streams, order, self._grace)
        try:
            process.send_order()  # before the guard looks for it
            times = TIMES.pack(order.limits.get("time", math.inf), self._grace)
            await self._hand_over(times, theirs.fileno(), *streams.theirs)
        except BaseException:
            process.close()
            raise
        finally:
            for descriptor in set(streams.theirs):
                os.close(descriptor)
        return process

    async def _hand_over(self, times: bytes, *descriptors: int) -> None:
        async with self._lock:
            if self._popen.poll() is not None:
                self._orders.close()
                self._start()
            while True:
                try:
                    socket.send_fds(self._orders, [times], descriptors)
                    return
                except BlockingIOError:
                    await anyio.wait_writable(self._orders)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._orders.close()
        with anyio.CancelScope(shield=True), suppress(ChildProcessError):
            await anyio.to_thread.run_sync(self._popen.wait, limiter=anyio.CapacityLimiter(1))
