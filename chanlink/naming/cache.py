"""What directories have said, in ``~/.cache/chanlink/names.json``, until it expires: for what runs for a moment.

The file is ours alone, and nobody is believed because of it who would not be without it: the keys in it are those that
a directory has told, and are looked at as when it tells them. What is not as it should be is no file, and is replaced.
Without a home folder, or where it can't be written, there is none.
"""

import json
import os
import stat
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from chanlink.errors import ConfigError
from chanlink.printing import printable_logger
from chanlink.security.keys.files import make_private_directory, written
from chanlink.security.keys.openssh import PublicKey
from chanlink.transport.address import MAX_NAME

logger = printable_logger(__name__)

FILE_MAX = 512 * 1024
MOST = 1_000
"""Servers in it; those that expire first are forgotten."""
LONGEST = 3_600
"""Seconds that anything is kept: no entry lives longer."""
MAX_DIRECTORY = 4_096
MAX_ADDRESS = 300
ADDRESSES = 16
"""Of one server."""
MAX_SERIAL = 2**63 - 1


class Kept(NamedTuple):
    """What a directory has said of one server."""

    directory: str
    """The text of the setting: another directory may know another server by this name."""
    name: str
    key: PublicKey
    addresses: tuple[str, ...]
    serial: int
    since: float
    """Seconds since 1970, as `until`: the file outlives processes, and clocks that are not set."""
    until: float

    def is_good(self, now: float) -> bool:
        """Whether it holds now. A clock that was put back may not make it live longer."""
        return self.since <= now < self.until <= self.since + LONGEST


class Cache:
    """The file. All that it does is synchronous, and raises nothing."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    @classmethod
    def default(cls) -> "Cache":
        """That of the user, if there is a home folder."""
        with suppress(RuntimeError):
            folder = os.environ.get("XDG_CACHE_HOME", "")
            base = Path(folder) if os.path.isabs(folder) else Path("~/.cache").expanduser()
            return cls(base / "chanlink" / "names.json")
        return cls(None)

    def find(self, directory: str, name: str) -> list[Kept]:
        """What holds now of this name; nothing if one of its servers has expired, as there may be others by now."""
        if self.path is None:
            return []
        found = [row for row in self._rows(self.path) if (row.directory, row.name) == (directory, name)]
        now = time.time()
        return found if all(row.is_good(now) for row in found) else []

    def keep(self, directory: str, name: str, rows: Sequence[Kept]) -> None:
        """Put these in the place of what was kept of this name."""
        if self.path is None:
            return
        now = time.time()
        others = [
            row for row in self._rows(self.path) if row.is_good(now) and (row.directory, row.name) != (directory, name)
        ]
        try:
            make_private_directory(self.path.parent)
            with written(self.path.parent, write_rows([*others, *rows]), 0o600) as new:
                os.replace(new, self.path)  # who does so at the same time may lose a row: it asks again
        except (OSError, ValueError) as exc:
            logger.debug("what a directory has said is not kept: %s", exc)

    def _rows(self, path: Path) -> list[Kept]:
        try:
            with open(path, "rb", opener=_open) as stream:
                return read_rows(stream.read(FILE_MAX + 1)) if _is_ours(os.fstat(stream.fileno())) else []
        except (OSError, ValueError):
            return []


def _open(path: str, flags: int) -> int:
    """A pipe would make us wait for whoever writes into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))


def _is_ours(status: os.stat_result) -> bool:
    """Whether nobody else can have written it: the folder may be one that others use, too."""
    if not stat.S_ISREG(status.st_mode):
        return False
    return os.name != "posix" or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)


def write_rows(rows: Iterable[Kept]) -> bytes:
    """The contents of the file with these rows; of too many, those that hold longest."""
    kept = sorted(rows, key=lambda row: row.until)[-MOST:]
    while len(data := _encode(kept)) > FILE_MAX:
        kept = kept[len(kept) // 2 + 1 :]
    return data


def _encode(rows: Iterable[Kept]) -> bytes:
    maps = [{**row._asdict(), "key": str(PublicKey(row.key.raw))} for row in rows]
    return json.dumps(maps, indent=1).encode()


def read_rows(data: bytes) -> list[Kept]:
    """The rows of such contents that are as they should be."""
    if len(data) > FILE_MAX:
        return []
    try:
        maps = json.loads(data)
    except (ValueError, RecursionError):
        return []
    found = [_read_row(one) for one in maps] if isinstance(maps, list) else []
    return [row for row in found if row is not None]


def _read_row(row: Any) -> Kept | None:
    if not isinstance(row, dict) or row.keys() != set(Kept._fields):
        return None
    if not (
        _is_text(row["directory"], MAX_DIRECTORY) and _is_text(row["name"], MAX_NAME) and _is_text(row["key"], 200)
    ):
        return None
    addresses = row["addresses"]
    if not isinstance(addresses, list) or len(addresses) > ADDRESSES:
        return None
    if not all(_is_text(one, MAX_ADDRESS) for one in addresses):
        return None
    if type(row["serial"]) is not int or not 0 < row["serial"] <= MAX_SERIAL:
        return None
    if not all(type(row[field]) in (int, float) and 0 < row[field] < MAX_SERIAL for field in ("since", "until")):
        return None
    try:
        key = PublicKey.parse(row["key"])
    except ConfigError:
        return None
    return Kept(**{**row, "key": key, "addresses": tuple(addresses)})


def _is_text(value: object, most: int) -> bool:
    return isinstance(value, str) and len(value) <= most
