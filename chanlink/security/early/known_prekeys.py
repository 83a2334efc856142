"""`KnownPrekeys`: the prekeys that a client has got, by server; in memory, or in a file that processes share.

A line of the file is a prekey in base64, a blank, and the server. The file is no secret, and allows nobody anything:
each prekey has a certificate of its server, which is looked at before each use. So a line that can't be read is as if
it were not there.
"""

import base64
import binascii
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import NoneType

from chanlink.arguments import expect
from chanlink.errors import ConfigError, HandshakeError, KeyFormatError
from chanlink.printing import printable_logger
from chanlink.security.keys.files import edit, expand, file_problem, read_kept

from .prekey import Prekey, read_prekey

logger = printable_logger(__name__)

MOST_KNOWN = 256
"""Servers; the one whose prekey came first goes first."""
FILE_PATIENCE = 2.0
"""Seconds for which a file is waited for that another process holds: without it, all is only slower."""
_FILE_MAX = 1024 * 1024
_LINE_MAX = 4_096


def default_path() -> str:
    """Where they are if nobody has said it."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "chanlink", "known_prekeys")


class KnownPrekeys:
    """What lets `connect(early=True)` send its first data at once: a prekey for each server that has given one.

    With a ``path`` they are in that file (``~`` is expanded), which is made when the first one comes, and processes may
    share; without, in this object, which may be given to many calls of `connect`. At most 256 servers are kept, those
    whose prekeys came last. There is no secret in it, and a damaged file is as an empty one.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        expect("path", path, str, os.PathLike, NoneType)
        self.path: Path | None = None if path is None else expand(path)
        self._kept: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"KnownPrekeys({str(self.path)!r})" if self.path else f"<KnownPrekeys of {len(self._kept)} servers>"

    def _find(self, server: str, now: float) -> Prekey | None:
        """The prekey of a server, if there is one that has not ended at ``now`` (seconds since 1970). Never raises."""
        if self.path is not None:
            self._kept = self._read(self.path)
        packed = self._kept.get(server)
        try:
            prekey = read_prekey(packed) if packed else None
        except HandshakeError:
            return None
        return prekey if prekey is not None and now <= prekey.ends_at else None

    def _put(self, server: str, packed: bytes) -> None:
        """A server has given this one. A file that can't be written is logged."""
        if "\n" in server:
            return
        self._change(lambda kept: _put(kept, server, packed))

    def _drop(self, server: str, prekey: Prekey) -> None:
        """It was of no use. Another one of the same server, which somebody else has put there by now, stays."""
        self._change(lambda kept: kept.pop(server) if kept.get(server) == prekey.packed else None)

    def _change(self, change: Callable[[dict[str, bytes]], object]) -> None:
        if self.path is None:
            change(self._kept)
            return
        try:
            with edit(self.path, FILE_PATIENCE) as file:
                kept = _parse(file.read(_FILE_MAX))
                change(kept)
                file.replace(_format(kept.items()))
        except (OSError, ValueError, ConfigError) as exc:
            problem = str(exc) if isinstance(exc, ConfigError) else file_problem(self.path, exc)
            logger.warning("a prekey can't be kept: %s", problem)

    def _read(self, path: Path) -> dict[str, bytes]:
        try:
            return _parse(read_kept(path, _FILE_MAX))
        except KeyFormatError as exc:
            if not isinstance(exc.__cause__, FileNotFoundError):
                logger.warning("no prekey is known: %s", exc)
            return {}


def _put(kept: dict[str, bytes], server: str, packed: bytes) -> None:
    kept.pop(server, None)
    kept[server] = packed
    while len(kept) > MOST_KNOWN:
        del kept[next(iter(kept))]


def _parse(data: bytes) -> dict[str, bytes]:
    kept: dict[str, bytes] = {}
    for line in data.splitlines():
        packed, _, server = line.partition(b" ")
        if server and len(line) <= _LINE_MAX:
            with suppress(binascii.Error, UnicodeDecodeError):
                _put(kept, server.decode(), base64.b64decode(packed, validate=True))
    return kept


def _format(kept: Iterable[tuple[str, bytes]]) -> bytes:
    return b"".join(base64.b64encode(packed) + b" " + server.encode() + b"\n" for server, packed in kept)
