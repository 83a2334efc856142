"""The files by which a listener knows whom to let in: its trust file, and lists of what is revoked."""

import hashlib
import os
from functools import partial
from typing import NamedTuple, TypeVar

from chanlink.errors import KeyFormatError, TrustFormatError
from chanlink.printing import printable_logger

from .files import read_kept
from .krl import KRL_MAX, Krl
from .revocations import Revocations
from .trust import Trust
from .watched import Watched

logger = printable_logger(__name__)

T = TypeVar("T")
Path = str | os.PathLike[str]


class News(NamedTuple):
    """What files say from now on."""

    trust: Trust | None
    """None if that has not changed."""
    revocations: Revocations


class AuthorityFiles:
    """The trust file, if there is one, and the KRLs that its lines name; and the KRL for all, if there is one.

    Raises `TrustFormatError` when a KRL can't be read. Used in one thread at a time.
    """

    def __init__(self, trust: Trust, revoked: Path | None) -> None:
        self._trust = None if trust.path is None else TrustWatch(trust)
        for_all = None if revoked is None else _read(revoked)
        self._for_all = None if for_all is None or revoked is None else _watch(revoked, for_all)
        of_lines = {file: _read(file) for file in _files_of(trust)}
        self._of_lines = {file: _watch(file, read) for file, read in of_lines.items()}
        self.revocations = Revocations(for_all and for_all.krl, {file: read.krl for file, read in of_lines.items()})
        """What they say now."""

    def __bool__(self) -> bool:
        """Whether there is anything to look at."""
        return self._trust is not None or self._for_all is not None

    def look(self) -> News | None:
        """What has changed, if anything has; call it at regular times.

        A file that can't be read leaves things as they are; the log says so, once for each of its states.
        """
        before = self.revocations
        trust = _looked_at(self._trust)
        if trust is not None:
            logger.info("%s was read again: it has %d keys now", trust.path, len(trust.grants))
            self._take_files_of(trust)
        if (read := _looked_at(self._for_all)) is not None:
            self.revocations = self.revocations._replace(all=read.krl)
        for file, watched in self._of_lines.items():
            if (read := _looked_at(watched)) is not None:
                self._take(file, read.krl)
        return None if trust is None and self.revocations is before else News(trust, self.revocations)

    def _take_files_of(self, trust: Trust) -> None:
        """A file that is new on a line and can't be read keeps out whom that line would let in, until it can."""
        files = _files_of(trust)
        kept = self.revocations.by_file
        self.revocations = self.revocations._replace(by_file={file: kept[file] for file in files if file in kept})
        self._of_lines = {file: watched for file, watched in self._of_lines.items() if file in files}
        for file in files - self._of_lines.keys():
            read = None
            try:
                read = _read(file)
                self._take(file, read.krl)
            except TrustFormatError as exc:
                logger.error("%s; nobody is let in whose authority revokes by this file", exc)
            self._of_lines[file] = _watch(file, read)

    def _take(self, file: str, krl: Krl) -> None:
        self.revocations = self.revocations._replace(by_file={**self.revocations.by_file, file: krl})


class TrustWatch(Watched[Trust]):
    """Reads the file of a `Trust` again when it has changed."""

    def __init__(self, trust: Trust) -> None:
        assert trust.path is not None
        super().__init__(trust.path, partial(Trust.load, trust.path), trust, _said)


def _said(trust: Trust) -> object:
    return trust.grants, trust.issuers.all, trust.revoked


def _files_of(trust: Trust) -> set[str]:
    return {issuer.krl for issuer in trust.issuers.all if issuer.krl}


class _Read(NamedTuple):
    """A list, as it was read."""

    krl: Krl
    digest: bytes
    """Of what its file had."""


def _read(path: Path) -> _Read:
    """Raises `TrustFormatError`."""
    try:
        data = read_kept(path, KRL_MAX)
    except KeyFormatError as exc:
        raise TrustFormatError(str(exc)) from exc
    try:
        return _Read(Krl.parse(data), hashlib.sha256(data).digest())
    except KeyFormatError as exc:
        raise TrustFormatError(f"{path}: {exc}") from exc


def _watch(path: Path, read: _Read | None) -> Watched[_Read]:
    return Watched(path, partial(_read, path), read, lambda read: read.digest)


def _looked_at(watched: Watched[T] | None) -> T | None:
    try:
        return None if watched is None else watched.look()
    except TrustFormatError as exc:
        logger.error("%s; what this file said before stays in force", exc)
        return None
