"""What was asked for, by whom, and how it went: lines in the log, and in a file if there is one.

The file has a line of JSON for each start, end and refusal. It is opened for each line, so it may be moved away at any
time. A command whose start can't be written there is not started.
"""

import datetime
import itertools
import json
import os
import shlex
import time
from typing import Any

import chanlink

from .logs import logger
from .messages import CANNOT_START, Run, StartError, printable


class Audit:
    """Where the lines go.  Without a path only to the log."""

    def __init__(self, path: str | None = None) -> None:
        """Raises an `OSError` if the file can't be written."""
        self._path = None if path is None else os.path.expanduser(path)
        self._numbers = itertools.count(1)
        if self._path is not None:
            os.close(self._open(self._path))

    def account(self, run: Run, peer: chanlink.Peer) -> "Account":
        """Begin the account of one request."""
        return Account(self, next(self._numbers), run, peer)

    def write(self, entries: dict[str, Any]) -> None:
        """Raises an `OSError`."""
        if self._path is None:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, **entries}).encode() + b"\n"
        descriptor = self._open(self._path)
        try:
            if os.write(descriptor, line) < len(line):
                raise OSError("the disk is full")
        finally:
            os.close(descriptor)

    def _open(self, path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


class Account:
    """Of one command."""

    def __init__(self, audit: Audit, number: int, run: Run, peer: chanlink.Peer) -> None:
        self._audit = audit
        self._number = number
        self._began = time.monotonic()
        self._words = [os.fsdecode(word) for word in run.argv]
        self._line = printable(shlex.join(self._words))
        self._who = f"{peer.name} from {peer.address or 'here'}"
        self._peer = {
            "id": number,
            "name": peer.name,
            "key": peer.key.fingerprint if peer.key is not None else None,
            "from": peer.address,
        }
        self._asked = {
            "command": self._words,
            "directory": None if run.directory is None else os.fsdecode(run.directory),
            "user": run.user,
            "terminal": run.terminal is not None,
            "detached": run.detach is not None,
        }

    def refused(self, error: StartError) -> None:
        """It is not allowed."""
        logger.warning("%s: #%d is refused: %s", self._who, self._number, printable(error.text))
        self._write("refused", {**self._asked, "error": error.code, "text": error.text})

    def started(self, rule: str) -> None:
        """It is about to start.  Raises `StartError` when that can't be written down."""
        logger.info("%s: #%d starts: %s", self._who, self._number, self._line)
        if not self._write("start", {**self._asked, "rule": rule}):
            raise StartError(CANNOT_START, "the server can't write its audit file")

    def ended(self, returncode: int | None, error: str = "", *, moved: tuple[int, int, int] = (0, 0, 0)) -> None:
        """It has ended, or was not started by an error.  ``moved``: bytes of its input and its two outputs."""
        seconds = round(time.monotonic() - self._began, 3)
        how = error or ("the end is not known" if returncode is None else f"status {returncode}")
        logger.info(
            "%s: #%d ended: %s, %d bytes in, %d out, %d of errors, %.3f s",
            self._who, self._number, how, *moved, seconds,
        )  # fmt: skip
        status = {"error": error} if error else {"status": returncode}
        self._write("end", {**status, "in": moved[0], "out": moved[1], "err": moved[2], "seconds": seconds})

    def _write(self, event: str, entries: dict[str, Any]) -> bool:
        try:
            self._audit.write({"event": event, **self._peer, **entries})
        except OSError as exc:
            logger.error("the audit file can't be written: %s", exc.strerror or exc)
            return False
        return True
