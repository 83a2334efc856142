"""A command that runs here: three pipes, and a process group of its own."""

import io
import math
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Self

import anyio
import anyio.to_thread

from .messages import CANNOT_START, NO_SUCH_DIRECTORY, NOT_FOUND, NOT_PERMITTED, StartError
from .pumps import FileSink, FileSource, enlarge

GRACE = 5.0
"""Seconds between asking a command to stop (TERM) and stopping it (KILL)."""
LINGER = 10.0
"""Seconds of silence after which the outputs of a command that has ended are taken to be at their end."""


class Process:
    """A running command.  Leaving ``async with process`` stops what still runs of it, unless `finish` was called.

    Raises `StartError` when it can't be started.
    """

    def __init__(self, argv: Sequence[bytes], directory: bytes | None, environment: Mapping[bytes, bytes]) -> None:
        try:
            # A session of its own is also a process group of its own: one signal reaches its children too.
            self._popen = subprocess.Popen(
                argv,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory,
                env={**os.environb, **environment},
                start_new_session=True,
            )
        except OSError as exc:
            raise _start_error(exc, directory) from exc
        self.stdin = FileSink(_our_end(self._popen.stdin))
        self.stdout = OutputPipe(_our_end(self._popen.stdout))
        self.stderr = OutputPipe(_our_end(self._popen.stderr))

    @property
    def returncode(self) -> int | None:
        """As in `subprocess.Popen`; None until `finish` or `terminate` was called."""
        return self._popen.returncode

    async def exited(self) -> None:
        """Wait until the command has ended.  It is not reaped: until `finish` its id, and its group's, stay its own."""
        try:
            descriptor = os.pidfd_open(self._popen.pid)
        except (AttributeError, OSError):  # not Linux, or no more descriptors
            # A limiter of its own: the common one would let no more than 40 commands be waited for.
            limiter = anyio.CapacityLimiter(1)
            await anyio.to_thread.run_sync(self._wait, abandon_on_cancel=True, limiter=limiter)
            return
        try:
            await anyio.wait_readable(descriptor)
        finally:
            os.close(descriptor)

    def _wait(self) -> None:
        with suppress(ChildProcessError):  # it was reaped after an earlier wait was given up
            os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOWAIT)

    def finish(self) -> int:
        """Reap the command, which has `exited`.  What it has left running in the background goes on."""
        return self._popen.wait()

    async def terminate(self) -> None:
        """Send TERM to the command and its children, and KILL to what is left of them after `GRACE`."""
        with anyio.CancelScope(shield=True):
            for number in (signal.SIGTERM, signal.SIGKILL):
                self._signal(number)
                with anyio.move_on_after(GRACE):
                    await self._until_gone()
                    return

    async def _until_gone(self) -> None:
        await self.exited()
        self.finish()
        # Nothing reports the end of a group. Its id can't be given to another one while it has a member.
        while self._signal(0) and not _only_zombies(self._popen.pid):
            await anyio.sleep(0.05)

    def _signal(self, number: int) -> bool:
        """Signal the group; False if nobody is left in it."""
        try:
            os.killpg(self._popen.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:  # all that is left runs as another user
            pass
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        # The input is closed last: a command whose input broke off must not take that for its end.
        if self.returncode is None:
            await self.terminate()
        for pipe in (self.stdout, self.stderr, self.stdin):
            pipe.close()


def _only_zombies(group: int) -> bool:
    """Whether a group waits only to be reaped: in a container without an init process that may never come."""
    try:
        stats = [_stat(entry.path) for entry in os.scandir("/proc") if entry.name.isdigit()]
    except FileNotFoundError:  # not Linux
        return False
    return all(state == b"Z" for state, _, its_group in stats if int(its_group) == group)


def _stat(directory: str) -> list[bytes]:
    """State, parent and group of a process; see proc(5)."""
    try:
        with open(f"{directory}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:3]
    except OSError:  # it has just ended
        return [b"Z", b"0", b"0"]


def _our_end(file: IO[bytes] | None) -> io.FileIO:
    assert isinstance(file, io.FileIO)
    os.set_blocking(file.fileno(), False)
    enlarge(file)
    return file


def _start_error(error: OSError, directory: bytes | None) -> StartError:
    name = os.fsdecode(error.filename) if error.filename is not None else "the command"
    text = f"{name}: {error.strerror}"
    match error:
        case FileNotFoundError() | NotADirectoryError() if directory is not None and error.filename == directory:
            return StartError(NO_SUCH_DIRECTORY, text)
        case FileNotFoundError() | NotADirectoryError():
            return StartError(NOT_FOUND, text)
        case PermissionError():
            return StartError(NOT_PERMITTED, text)
    return StartError(CANNOT_START, text)


class OutputPipe(FileSource):
    """An output of a command.

    It ends when everybody has closed it, which may be later than the end of the command: what the command has left in
    the background may still write. So it is read on after `linger`, but a process that keeps it open and says nothing,
    as a daemon does, is not waited for. What was written before is never lost: time counts only while the pipe
    is empty.
    """

    _patience = math.inf
    _waiting: anyio.CancelScope | None = None

    def linger(self) -> None:
        """The command has ended: from now on `LINGER` seconds of silence are the end."""
        self._patience = LINGER
        if self._waiting is not None:
            self._waiting.deadline = anyio.current_time() + LINGER

    async def wait(self) -> None:
        with anyio.CancelScope(deadline=anyio.current_time() + self._patience) as self._waiting:
            await super().wait()
        if self._waiting.cancelled_caught:
            raise anyio.EndOfStream
