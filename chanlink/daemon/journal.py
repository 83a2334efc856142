"""The sessions that were handed over, on disk: what a daemon has to know of them when it starts again.

A file with one line of JSON for each change: a session as it is from now on, or that it has ended. It is appended to
before anything is handed over, so that a daemon that is killed has lost none. Nothing is synced: a machine that goes
down takes the sessions with it. There is no secret in it.
"""

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from chanlink.errors import ConfigError
from chanlink.printing import printable_logger

logger = printable_logger(__name__)

SPARE = 1_000
"""Lines of sessions that have ended which may stand there before the file is written anew, and as many as live."""
LONGEST = 16 * 1_024
"""Bytes of a line: a credential has 2,048, in base64."""
OUTGOING, INCOMING = "outgoing", "incoming"


class Row(NamedTuple):
    """A session that was handed over."""

    id: str
    """In hexadecimal, as all bytes here."""
    way: str
    uid: int
    user: str
    service: str
    host: str
    """The name that the application has said; of an incoming one, the host and port that the client came from."""
    address: str
    """The IP address of the client of an incoming one, if it has one."""
    key: str
    """Of the peer, in hexadecimal."""
    name: str
    """What the peer is called."""
    issuer: str
    principal: str
    credential: str
    """What vouches for the peer; empty if its key does."""
    expiry: int
    """Seconds since 1970, when that ends; 0 for never."""
    since: float
    """Seconds since 1970."""


class Journal:
    """The file. Opened, it has the sessions of before."""

    def __init__(self, path: Path) -> None:
        """Raises `ConfigError`."""
        self._path = path
        self.rows: dict[str, Row] = {}
        """What lives, by the ids."""
        self._written = 0
        try:
            strange = sum(not self._apply(entry) for entry in _entries(path))
            if strange:
                logger.warning("%s: lines that are none of ours, and were passed over: %d", path, strange)
            self._descriptor = self._anew()
        except OSError as exc:
            raise ConfigError(f"{path}: {exc.strerror}") from exc

    def close(self) -> None:
        os.close(self._descriptor)

    def keep(self, row: Row) -> None:
        """This is what the session is from now on. Raises `OSError`, and then nothing has changed."""
        self._append(row._asdict())
        self.rows[row.id] = row

    def end(self, row: Row) -> None:
        """It is over. What can't be written now is found out after the next start: nobody comes for that session."""
        if self.rows.pop(row.id, None) is not None:
            with suppress(OSError):
                self._append({"end": row.id})

    def _append(self, entry: dict[str, Any]) -> None:
        if self._written > 2 * len(self.rows) + SPARE:
            with suppress(OSError):  # no room for a second file: the one that is there goes on
                descriptor = self._anew()
                os.close(self._descriptor)
                self._descriptor = descriptor
        append(self._descriptor, _packed(entry), self._path)
        self._written += 1

    def _anew(self) -> int:
        """Write what lives into a file of its own, in the place of the one that is there; returns it, open."""
        new = self._path.with_name(f".{self._path.name}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            data = memoryview(b"".join(_packed(row._asdict()) for row in self.rows.values()))
            while data:
                data = data[os.write(descriptor, data) :]
            os.replace(new, self._path)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(new)
            raise
        self._written = len(self.rows)
        return descriptor

    def _apply(self, entry: dict[str, Any]) -> bool:
        """Whether it is one of ours."""
        ended = entry.get("end")
        if isinstance(ended, str):
            self.rows.pop(ended, None)
        elif (row := _row(entry)) is not None:
            self.rows[row.id] = row
        else:
            return False
        return True


def read_rows(path: Path) -> list[Row]:
    """The sessions in a file that a daemon writes at this time. Raises `OSError`."""
    rows: dict[str, Row] = {}
    for entry in _entries(path):
        if isinstance(ended := entry.get("end"), str):
            rows.pop(ended, None)
        elif (row := _row(entry)) is not None:
            rows[row.id] = row
    return list(rows.values())


def append(descriptor: int, line: bytes, path: Path) -> None:
    """Write a line behind what is there, all of it or nothing. Raises `OSError`."""
    written = os.write(descriptor, line)
    if written < len(line):  # the disk is full: half a line would spoil the next one
        os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR) - written)
        raise OSError(errno.ENOSPC, "there was not enough room for a line", str(path))


def _packed(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """What stands in the file; of the last line, if it is whole."""
    try:
        with open(path, "rb") as stream:
            while text := stream.readline(LONGEST):
                if text.isspace():  # a file of nothing else is read as fast as any
                    continue
                with suppress(ValueError, RecursionError):
                    entry = json.loads(text)
                    if isinstance(entry, dict):
                        yield entry
    except FileNotFoundError:
        return


_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_EXAMPLE = Row("", "", 0, "", "", "", "", "", "", "", "", "", 0, 0.0)


def _row(entry: dict[str, Any]) -> Row | None:
    if entry.keys() != set(Row._fields):
        return None
    if any(type(entry[name]) is not type(value) for name, value in _EXAMPLE._asdict().items()):
        return None
    if not all(_HEX.fullmatch(entry[name]) for name in ("id", "key", "credential")):
        return None
    return Row(**entry)
