"""Changing the files that say whom to trust, as lists of lines: the others stay as they are, comments and all."""

import abc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from chanlink import ConfigError, KeyFormatError, KnownPeers, PublicKey, TrustFormatError, WrongPeer
from chanlink.command.problems import Problem
from chanlink.security.keys import files, known_peers, syntax, trust
from chanlink.transport.address import parse_address

REVOKED = "# revoked "


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

    def to_map(self) -> dict[str, Any]:
        return {
            "line": self.number,
            "public_key": str(self.key),
            "fingerprint": self.key.fingerprint,
            "name": self.key.comment,
            "addresses": list(self.names),
            "services": None if self.services is None else sorted(self.services),
            "revoked": self.revoked,
        }


class PeerFile(abc.ABC):
    """A file of keys, one a line. Everything raises `ConfigError` or `Problem`, and has changed nothing then."""

    def __init__(self, path: str) -> None:
        self.path = files.expand(path)

    @abc.abstractmethod
    def parse(self, number: int, text: str) -> Entry | None:
        """What `clean_line` left of a line."""

    @abc.abstractmethod
    def add(self, key: PublicKey, subject: str | None) -> bool:
        """Add a key; False if it was there."""

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


class TrustFile(PeerFile):
    """Who may connect: ``authorized_keys`` syntax. What was revoked stays as a comment."""

    def parse(self, number: int, text: str) -> Entry | None:
        parsed = trust.parse_line(text)
        if parsed is None:
            return None
        services, key = parsed
        subject = "all services" if services is None else ",".join(sorted(services))
        return Entry(number, key, (), services, False, subject)

    def add(self, key: PublicKey, subject: str | None) -> bool:
        wanted = f'services="{subject}" {key}' if subject is not None else str(key)
        added = self.parse(0, syntax.clean_line(wanted))
        assert added is not None
        if added.key != key:
            raise Problem(f"{subject!r} are no names of services; write --services NAME,NAME")
        with self.edited() as lines:
            for entry in self.entries(lines):
                if entry.key == key and entry.services == added.services:
                    return False
                if entry.key == key:
                    raise Problem(
                        f"{self.path}:{entry.number}: has this key with other services ({entry.subject}); "
                        "remove it first"
                    )
            for number, line in enumerate(lines, start=1):
                if line.startswith(REVOKED) and str(PublicKey(key.raw)) in line:
                    raise Problem(f"{self.path}:{number}: this key was revoked; delete that line if it may come back")
            append(lines, wanted)
        return True

    def revoke(self, whom: Sequence[str]) -> list[Entry]:
        today = time.strftime("%Y-%m-%d")
        with self.edited(exists=True) as lines:
            entries = self.entries(lines)
            known = {entry.key for entry in entries}
            keys = {one: None if one.startswith("SHA256:") else self.key_of(entries, one) for one in whom}
            strangers = [key for key in dict.fromkeys(keys.values()) if key and key not in known]
            found = self.find(entries, [one for one in whom if keys[one] not in strangers])
            for entry in found:
                lines[entry.number - 1] = f"{REVOKED}{today}: {lines[entry.number - 1].strip()}"
            for key in strangers:
                append(lines, f"{REVOKED}{today}: {key}")
        return found + [Entry(0, key, (), None, True, "") for key in strangers]


class KnownFile(PeerFile):
    """Servers that we connect to: ``known_hosts`` syntax."""

    def _contents(self) -> bytes:
        return super()._contents() if self.path.exists() else b""

    def parse(self, number: int, text: str) -> Entry | None:
        line = known_peers.parse_line(text)
        if line is None:
            return None
        subject = ("@revoked " if line.revoked else "") + ",".join(line.patterns)
        return Entry(number, line.key, line.patterns, None, line.revoked, subject)

    def add(self, key: PublicKey, subject: str | None) -> bool:
        assert subject is not None
        address = parse_address(subject)
        names = known_peers.names_of(address)
        with self.edited() as lines:
            known = KnownPeers(Path(self.path), known_peers.parse(self.path, "\n".join(lines).encode()))
            try:
                if known.find(address, key) is not None:
                    return False
            except WrongPeer as exc:
                raise Problem(
                    f"{self.path}: has another key for {subject}, {exc.expected}; if that is not in use any more: "
                    f"chanlink peers remove {subject}"
                ) from exc
            append(lines, f"{names[0]} {key}")
        return True

    def matching(self, entries: Sequence[Entry], whom: str) -> list[Entry]:
        if not whom.startswith(("tcp://", "unix:")):
            return super().matching(entries, whom)
        names = known_peers.names_of(parse_address(whom))
        found = []
        for entry in entries:
            if entry.revoked or not known_peers.Line(entry.names, entry.key, False).covers(names):
                continue
            others = [name for name in entry.names if name.lower() not in names and not name.startswith("|")]
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
                key = None if one.startswith(("tcp://", "unix:", "SHA256:")) else self.key_of(entries, one)
                keys.update({key: None} if key else {entry.key: None for entry in self.find(entries, [one])})
            found = [entry for entry in entries if entry.key in keys]
            self.take_out(lines, found)
            for key in keys:
                if key not in revoked:
                    append(lines, f"@revoked * {key}")
        return found + [Entry(0, key, (), None, True, "") for key in keys if key not in {entry.key for entry in found}]
