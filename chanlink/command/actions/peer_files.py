"""Changing the files that say whom to trust, as lists of lines: the others stay as they are, comments and all."""

import abc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from chanlink import ConfigError, KeyFormatError, KnownPeers, PublicKey, TrustFormatError, WrongPeer
from chanlink.command.problems import Problem
from chanlink.security.keys import files, known_lines, syntax
from chanlink.transport.target import parse_target


class Entry(NamedTuple):
    """A line with a key."""

    number: int
    key: PublicKey
    names: tuple[str, ...]
    """Of a known server: the names by which the line has it."""
    services: frozenset[str] | None
    """Of a client that may connect: the services that it may use; None means all of them."""
    revoked: bool
    subject: str
    """Whom or what the key is for, in a column."""
    issuer: str = ""
    """Of an authority that vouches for clients: what it is called."""
    principals: tuple[str, ...] = ()
    """For whom it may speak."""
    authority: bool = False
    """Whether it is the key of one, which vouches for servers or for clients."""

    def to_map(self) -> dict[str, Any]:
        return {
            "line": self.number,
            "public_key": str(self.key),
            "fingerprint": self.key.fingerprint,
            "name": self.key.comment,
            "addresses": list(self.names),
            "services": None if self.services is None else sorted(self.services),
            "revoked": self.revoked,
            "authority": self.authority,
            "issuer": self.issuer or None,
            "principals": list(self.principals),
        }


class PeerFile(abc.ABC):
    """A file of keys, one a line. Everything raises `ConfigError` or `Problem`, and has changed nothing then."""

    def __init__(self, path: str) -> None:
        self.path = files.expand(path)

    @abc.abstractmethod
    def parse(self, number: int, text: str) -> Entry | None:
        """What `clean_line` left of a line."""

    @abc.abstractmethod
    def revoke(self, whom: Sequence[str]) -> list[Entry]:
        """Take keys out, and see that they don't come back."""

    def read(self) -> list[Entry]:
        return self.entries(syntax.decode_lines(self.path, self._contents()))

    def _contents(self) -> bytes:
        try:
            return files.read_kept(self.path, syntax.FILE_MAX)
        except ConfigError as exc:
            raise TrustFormatError(str(exc)) from exc.__cause__

    def entries(self, lines: Sequence[str]) -> list[Entry]:
        found = []
        for number, line in enumerate(lines, start=1):
            try:
                entry = self.parse(number, syntax.clean_line(line))
            except ConfigError as exc:
                raise TrustFormatError(f"{self.path}:{number}: {exc}") from exc
            if entry is not None:
                found.append(entry)
        return found

    def remove(self, whom: Sequence[str]) -> list[Entry]:
        """Take keys out."""
        with self.edited(exists=True) as lines:
            found = self.find(self.entries(lines), whom)
            self.take_out(lines, found)
            return found

    def take_out(self, lines: list[str], entries: Sequence[Entry]) -> None:
        for entry in sorted(entries, key=lambda one: -one.number):
            del lines[entry.number - 1]

    @contextmanager
    def edited(self, *, exists: bool = False) -> Iterator[list[str]]:
        """The lines of the file, to be changed; nobody else changes them meanwhile."""
        if exists:
            self._contents()
        try:
            with files.edit(self.path) as file:
                data = file.read(syntax.FILE_MAX + 1)
                lines = syntax.decode_lines(self.path, data)
                yield lines
                changed = "\n".join(lines).encode()
                syntax.check_size(self.path, changed)
                if changed != data:
                    file.replace(changed)
        except OSError as exc:
            raise TrustFormatError(files.file_problem(self.path, exc)) from exc

    # --- which keys are meant ---

    def find(self, entries: Sequence[Entry], whom: Sequence[str]) -> list[Entry]:
        """The lines of all of these, each once. Raises `Problem` when one of them has none."""
        found: dict[int, Entry] = {}
        for one in whom:
            matching = self.matching(entries, one)
            if not matching:
                raise Problem(f"{self.path}: there is no key {one!r}; see chanlink peers list")
            found.update((entry.number, entry) for entry in matching)
        return list(found.values())

    def matching(self, entries: Sequence[Entry], whom: str) -> list[Entry]:
        if whom.startswith("SHA256:"):
            return [entry for entry in entries if entry.key.fingerprint == whom]
        key = self.key_of(entries, whom)
        return [entry for entry in entries if entry.key == key]

    def key_of(self, entries: Sequence[Entry], whom: str) -> PublicKey | None:
        """The key that this is, is in a file, or has as its name; None for no key.

        Raises `Problem` for what may be several keys: of all mistakes, to revoke another one is the worst.
        """
        if whom.startswith("ssh-"):
            return PublicKey.parse(whom)
        named = {entry.key for entry in entries if entry.key.comment == whom}
        if len(named) > 1:
            raise Problem(f"{self.path}: {whom!r} is the name of several keys; give a fingerprint (SHA256:...)")
        if not files.expand(whom).is_file():
            return named.pop() if named else None
        try:
            key = PublicKey.load(whom)
        except KeyFormatError:  # such as the private key beside alice.pub
            if not named:
                raise
            return named.pop()
        if named and key not in named:
            raise Problem(
                f"{whom!r} is the name of one key in {self.path}, and a file with another one; "
                f"give a fingerprint (SHA256:...), or ./{whom} for the file"
            )
        return key


def append(lines: list[str], line: str) -> None:
    """After the last line, which may lack its newline."""
    if lines[-1]:
        lines.append(line)
    else:
        lines[-1] = line
    lines.append("")


AUTHORITY = "@cert-authority "
ADDRESSES = ("tcp://", "unix:", "chanlink://")
"""What names of servers begin with."""


class KnownFile(PeerFile):
    """Servers that we connect to: ``known_hosts`` syntax."""

    def _contents(self) -> bytes:
        return super()._contents() if self.path.exists() else b""

    def parse(self, number: int, text: str) -> Entry | None:
        line = known_lines.parse_line(text)
        if line is None:
            return None
        marker = "@revoked " if line.revoked else AUTHORITY if line.authority else ""
        subject = marker + ",".join(line.patterns)
        return Entry(number, line.key, line.patterns, None, line.revoked, subject, authority=line.authority)

    def add(self, key: PublicKey, address: str) -> bool:
        """Add the key of the server there; False if it was there."""
        names = known_lines.names_of(parse_target(address))
        with self.edited() as lines:
            known = KnownPeers(Path(self.path), known_lines.parse(self.path, "\n".join(lines).encode()))
            try:
                if known.find(address, key) is not None:
                    return False
            except WrongPeer as exc:
                shared = f"; if servers share the name, add a line: {names[0]} {key}"
                raise Problem(
                    f"{self.path}: has another key for {address}, {exc.expected}; if that is not in use any more: "
                    f"chanlink peers remove {address}{shared if address.startswith('chanlink://') else ''}"
                ) from exc
            append(lines, f"{names[0]} {key}")
        return True

    def add_authority(self, key: PublicKey, hosts: str) -> bool:
        """Add the key of an authority that vouches for these hosts, patterns with commas between; False if it was
        there."""
        wanted = f"{AUTHORITY}{hosts} {key}"
        meant = known_lines.parse_line(syntax.clean_line(wanted))
        if meant != known_lines.Line(tuple(hosts.split(",")), key, False, True):  # a blank in it, say, ends them
            raise Problem(f"{hosts!r:.200} are no hosts; write names or patterns with commas between them: '*.example'")
        with self.edited() as lines:
            entries = self.entries(lines)
            if any(entry.authority and (entry.key, entry.names) == (key, meant.patterns) for entry in entries):
                return False
            revoked = next((entry for entry in entries if entry.key == key and entry.revoked), None)
            if revoked is not None:
                raise Problem(
                    f"{self.path}:{revoked.number}: this key is revoked; delete that line if it may come back"
                )
            append(lines, wanted)
            known_lines.parse(self.path, "\n".join(lines).encode())  # with so many patterns
        return True

    def matching(self, entries: Sequence[Entry], whom: str) -> list[Entry]:
        if not whom.startswith(ADDRESSES):
            return super().matching(entries, whom)
        names = known_lines.names_of(parse_target(whom))
        found = []
        for entry in entries:
            if entry.revoked or entry.authority or not known_lines.Line(entry.names, entry.key, False).covers(names):
                continue
            others = [name for name in entry.names if not {name, name.lower()} & {*names} and not name.startswith("|")]
            if others:
                raise Problem(
                    f"{self.path}:{entry.number}: this line is for other servers, too ({','.join(others)}); "
                    "change it with an editor"
                )
            found.append(entry)
        return found

    def revoke(self, whom: Sequence[str]) -> list[Entry]:
        with self.edited() as lines:
            entries = [entry for entry in self.entries(lines) if not entry.revoked]
            revoked = {entry.key for entry in self.entries(lines) if entry.revoked and "*" in entry.names}
            keys: dict[PublicKey, None] = {}
            for one in whom:
                key = None if one.startswith((*ADDRESSES, "SHA256:")) else self.key_of(entries, one)
                keys.update({key: None} if key else {entry.key: None for entry in self.find(entries, [one])})
            found = [entry for entry in entries if entry.key in keys]
            self.take_out(lines, found)
            for key in keys:
                if key not in revoked:
                    append(lines, f"@revoked * {key}")
        return found + [Entry(0, key, (), None, True, "") for key in keys if key not in {entry.key for entry in found}]
