"""What was asked for, by whom, and how it went: lines in the log, and in a file if there is one.

The file has a line of JSON for each start, end and refusal. It is opened for each line, so it may be moved away at any
time. A command whose start can't be written there is not started. What is refused is cut short: whoever may run
nothing shall not fill the disk.

It may be a named pipe. Nothing here waits in the kernel for its reader, which may be slow or gone: that would be the
end of everybody's commands. We try again until `PATIENCE` is over.
"""

import datetime
import errno
import itertools
import json
import os
import stat
import time
from typing import Any

import anyio

import chanlink

from ..logs import logger
from ..messages import CANNOT_START, Run, StartError
from ..peers import entries_about, vouched_by
from ..settings_file import expanded
from ..words import beginning, one_line, shell_line, text_of

PATIENCE = 5.0
"""Seconds for which a line waits for the reader of a pipe."""
RETRY = 0.05
"""Seconds between two attempts to write it."""
PATH_MAX = 4_096
"""Bytes: no system takes a longer path."""
NO_READER = (errno.ENXIO, errno.EAGAIN)
"""What the system says when nobody has the pipe open, or nobody has read it for too long."""


class Audit:
    """Where the lines go. Without a path only to the log."""

    def __init__(self, path: str | None = None) -> None:
        """Raises an `OSError` if the file can't be written; but a pipe may still be without a reader."""
        self._path = None if path is None else expanded(path)
        self._numbers = itertools.count(1)
        self._torn = False
        if self._path is not None:
            try:
                os.close(self._open(self._path))
            except OSError as exc:
                if exc.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(self._path).st_mode):
                    raise

    def account(self, run: Run, peer: chanlink.Peer) -> "Account":
        """Begin the account of one request."""
        return Account(self, next(self._numbers), run, peer)

    def write(self, entries: dict[str, Any]) -> None:
        """Write a line at once. Raises an `OSError`; if its number is in `NO_READER`, a later attempt may succeed."""
        if self._path is None:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, **entries}).encode() + b"\n"
        if self._torn:  # the line before is not whole: let it end there
            line = b"\n" + line
        descriptor = self._open(self._path)
        try:
            written = os.write(descriptor, line)
            self._torn = written < len(line)
            if self._torn:
                is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
                raise OSError(errno.EAGAIN if is_pipe else errno.ENOSPC, "there was not enough room for a line")
        finally:
            os.close(descriptor)

    async def write_patiently(self, entries: dict[str, Any]) -> None:
        """Write a line, even if the reader of a pipe keeps us waiting for a while. Raises an `OSError`."""
        give_up = anyio.current_time() + PATIENCE
        while True:
            try:
                self.write(entries)
                return
            except OSError as exc:
                if exc.errno not in NO_READER or anyio.current_time() >= give_up:
                    raise
            await anyio.sleep(RETRY)

    def _open(self, path: str) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        return os.open(path, flags, 0o600)


class Account:
    """What is noted down of one command."""

    def __init__(self, audit: Audit, number: int, run: Run, peer: chanlink.Peer) -> None:
        self._audit = audit
        self._number = number
        self._began = time.monotonic()
        self._run = run
        self._who = f"{peer.name} from {peer.address or 'here'}{vouched_by(peer)}"
        self._peer = {"id": number, **entries_about(peer)}

    def refused(self, error: StartError) -> None:
        """Note that it is not allowed."""
        logger.warning("%s: #%d is refused: %s", self._who, self._number, error.text)
        asked = self._asked() | {"command": beginning(self._run.argv), "words": len(self._run.argv)}
        entries = asked | {"error": error.code, "text": error.text}
        try:
            self._audit.write(self._line("refused", entries))
        except OSError as exc:
            _log(exc)

    async def started(self, rule: str, forced: str | None = None) -> None:
        """Note that it is about to start, or what its credential forces in its place. Raises `StartError` when that
        can't be written down."""
        in_its_place = "" if forced is None else one_line(f"; in its place: {forced}")
        logger.info("%s: #%d starts: %s%s", self._who, self._number, shell_line(self._run.argv), in_its_place)
        asked = {"command": list(map(text_of, self._run.argv))} | self._asked()
        entries = asked | {"rule": rule} | ({} if forced is None else {"forced": forced})
        try:
            await self._audit.write_patiently(self._line("start", entries))
        except OSError as exc:
            _log(exc)
            raise StartError(CANNOT_START, "the server can't write its audit file") from None

    async def ended(self, returncode: int | None, error: str = "", *, moved: tuple[int, int, int] = (0, 0, 0)) -> None:
        """Note that it has ended, or was not started: ``error``. ``moved``: bytes of its input and its two outputs."""
        seconds = round(time.monotonic() - self._began, 3)
        how = error or ("the end is not known" if returncode is None else f"status {returncode}")
        logger.info(
            "%s: #%d ended: %s, %d bytes in, %d out, %d of errors, %.3f s",
            self._who, self._number, how, *moved, seconds,
        )  # fmt: skip
        status = {"error": error} if error else {"status": returncode}
        entries = {**status, "in": moved[0], "out": moved[1], "err": moved[2], "seconds": seconds}
        with anyio.CancelScope(shield=True):
            try:
                await self._audit.write_patiently(self._line("end", entries))
            except OSError as exc:
                _log(exc)

    def _asked(self) -> dict[str, Any]:
        return {
            "directory": None if self._run.directory is None else text_of(self._run.directory[:PATH_MAX]),
            "user": self._run.user,
            "terminal": self._run.terminal is not None,
            "detached": self._run.detach is not None,
        }

    def _line(self, event: str, entries: dict[str, Any]) -> dict[str, Any]:
        return {"event": event, **self._peer, **entries}


def _log(error: OSError) -> None:
    reason = "nobody reads it" if error.errno in NO_READER else error.strerror or error
    logger.error("the audit file can't be written: %s", reason)
