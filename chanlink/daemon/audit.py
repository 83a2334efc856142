"""The audit: a line of JSON for each connection, once it is over or was refused.

The file is opened for each line, so that it may be moved away at any time. How many refusals there are, strangers
decide: of those there are a few a second, and how many were left out stands in the next one. A session that can't be
written down is not forgotten: `Lines` says it again, and begins none before.
"""

import datetime
import json
import os
import time
from pathlib import Path
from typing import Any

from chanlink.errors import ConfigError
from chanlink.limits import Bucket
from chanlink.printing import printable_logger
from chanlink.security.keys.openssh import PublicKey

from .journal import Row, append

logger = printable_logger(__name__)

REFUSALS = 100
"""At once, and a tenth of it a second more."""
_NOT_SAID = ("address", "credential", "expiry", "key", "since")
"""Entries of a row that say nothing of who it was, or are said otherwise."""


class Audit:
    """Where the lines go. Without a path, only to the log."""

    def __init__(self, path: Path | None) -> None:
        """Raises `ConfigError` if it can't be written."""
        self._path = path
        self._refusals = Bucket(REFUSALS, REFUSALS / 10)
        self._complaints = Bucket(1, 1.0)
        self._left_out = 0
        try:
            if path is not None:
                os.close(self._open(path))
        except OSError as exc:
            raise ConfigError(f"{path}: {exc.strerror}") from exc

    def ended(self, row: Row, code: str, end: float) -> None:
        """A session was over at this time (seconds since 1970); ``code`` says why, and is empty for an ordinary end.

        Raises `OSError`.
        """
        said = {name: value for name, value in row._asdict().items() if name not in _NOT_SAID and value != ""}
        key = PublicKey(bytes.fromhex(row.key)).fingerprint
        self._write({"begin": _time(row.since), "end": _time(end), "code": code, **said, "key": key})

    def refused(self, way: str, code: str, **said: Any) -> None:
        """There was no session."""
        if not self._refusals.take(time.monotonic()):
            self._left_out += 1
            return
        more = {"left_out": self._left_out} if self._left_out else {}
        try:
            self._write({"end": _time(time.time()), "refused": code, "way": way, **said, **more})
            self._left_out = 0
        except OSError:  # that there was one is said with the next one
            self._left_out += 1

    def _write(self, entries: dict[str, Any]) -> None:
        """Raises `OSError`."""
        if self._path is None:
            logger.info("audit %s", json.dumps(entries))
            return
        data = json.dumps(entries).encode() + b"\n"
        try:
            descriptor = self._open(self._path)
            try:
                append(descriptor, data, self._path)
            finally:
                os.close(descriptor)
        except OSError as exc:
            if self._complaints.take(time.monotonic()):
                logger.error("%s can't be written: %s", self._path, exc.strerror)
            raise

    @staticmethod
    def _open(path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")
