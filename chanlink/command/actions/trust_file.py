"""Changing a trust file: who may connect, and which authorities may say so of others."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from chanlink import PublicKey, TrustFormatError
from chanlink.command.problems import Problem
from chanlink.security.keys import syntax, trust_lines

from .peer_files import Entry, PeerFile, append

COMMENT = "# revoked "
"""What a line began with of a key that was revoked by an older version."""


class Rights(NamedTuple):
    """What a new line says of its key, as the options of a command have it."""

    services: str | None = None
    names: str | None = None
    issuer: str | None = None
    """Of an authority."""
    principals: str | None = None
    krl: str | None = None

    def line(self, key: PublicKey) -> trust_lines.Line:
        """What is meant."""
        services, names = (None if text is None else frozenset(text.split(",")) for text in self[:2])
        principals = () if self.principals is None else tuple(self.principals.split(","))
        return trust_lines.Line(services, names, key, self.issuer or "", principals, self.krl or "")

    def text(self, key: PublicKey) -> str:
        """The line."""
        said = {
            "issuer": self.issuer,
            "principals": self.principals,
            "revoked": self.krl,
            "services": self.services,
            "names": self.names,
        }
        options = [f'{name}="{value}"' for name, value in said.items() if value is not None]
        if self.issuer is not None:
            options.insert(0, "cert-authority")
        return f"{','.join(options)} {key}".lstrip()


class TrustFile(PeerFile):
    """Who may connect: ``authorized_keys`` syntax. What is revoked stays, and is refused whoever vouches for it."""

    def parse(self, number: int, text: str) -> Entry | None:
        line = trust_lines.parse_line(text)
        if line is None:
            return None
        subject, said = _subject(line), (line.issuer, line.principals, bool(line.issuer))
        return Entry(number, line.key, (), line.services, line.is_revoked, subject, *said)

    def add(self, key: PublicKey, rights: Rights) -> bool:
        """Add a key; False if it was there."""
        wanted, meant = rights.text(key), rights.line(key)
        if trust_lines.parse_line(syntax.clean_line(wanted)) != meant:  # a quote in it, say, ends an option
            raise Problem(f"{wanted!r:.200} would say something else; write names with commas between them")
        with self.edited() as lines:
            for number, text in enumerate(lines, start=1):
                if self._is_there(number, text, meant):
                    return False
            append(lines, wanted)
            self._check(lines)
        return True

    def _is_there(self, number: int, text: str, meant: trust_lines.Line) -> bool:
        """Whether a line says this already. Raises `Problem` for one that says another thing of the same key."""
        place = f"{self.path}:{number}"
        if text.startswith(COMMENT) and str(PublicKey(meant.key.raw)) in text:
            raise Problem(f"{place}: this key was revoked; delete that line if it may come back")
        line = self._parse_line(number, text)
        if line == meant:
            return True
        if line is None or line.key != meant.key:
            return False
        if line.is_revoked:
            raise Problem(f"{place}: this key is revoked; delete that line if it may come back")
        if not (line.issuer and meant.issuer):
            raise Problem(f"{place}: has this key with other services ({_subject(line)}); remove it first")
        return False

    def _parse_line(self, number: int, text: str) -> trust_lines.Line | None:
        try:
            return trust_lines.parse_line(syntax.clean_line(text))
        except ValueError as exc:
            raise TrustFormatError(f"{self.path}:{number}: {exc}") from exc

    def _check(self, lines: Sequence[str]) -> None:
        """Raise `TrustFormatError` unless a server can read the file when it is like this."""
        trust_lines.parse(self.path, lines)

    def matching(self, entries: Sequence[Entry], whom: str) -> list[Entry]:
        issuers = [entry for entry in entries if entry.issuer == whom]
        if not issuers:
            return super().matching(entries, whom)
        if any(entry.key.comment == whom and entry not in issuers for entry in entries):
            raise Problem(f"{self.path}: {whom!r} is an issuer, and the name of a key; give a fingerprint (SHA256:...)")
        return issuers

    def revoke(self, whom: Sequence[str]) -> list[Entry]:
        today = time.strftime("%Y-%m-%d")
        with self.edited(exists=True) as lines:
            entries = self.entries(lines)
            revoked = {entry.key for entry in entries if entry.revoked}
            good = [entry for entry in entries if not entry.revoked]
            found, strangers = self._meant(good, whom)
            for entry in found:
                lines[entry.number - 1] = f"# until {today}: {lines[entry.number - 1].strip()}"
            for key in dict.fromkeys([*(entry.key for entry in found), *strangers]):
                if key not in revoked:
                    append(lines, f"{trust_lines.REVOKED}{key}")
        return found + [Entry(0, key, (), None, True, "") for key in strangers]

    def _meant(self, entries: Sequence[Entry], whom: Sequence[str]) -> tuple[list[Entry], list[PublicKey]]:
        """All lines of the keys that are meant, and keys that have none."""
        keys: dict[PublicKey, None] = {}
        for one in whom:
            if one.startswith("SHA256:") or any(entry.issuer == one for entry in entries):
                keys.update((entry.key, None) for entry in self.find(entries, [one]))
                continue
            key = self.key_of(entries, one)
            keys.update({key: None} if key is not None else {entry.key: None for entry in self.find(entries, [one])})
        known = {entry.key for entry in entries}
        return [entry for entry in entries if entry.key in keys], [key for key in keys if key not in known]


def _subject(line: trust_lines.Line) -> str:
    """Whom or what a key is for."""
    if line.is_revoked:
        return "@revoked"
    subject = "all services" if line.services is None else ",".join(sorted(line.services))
    if line.offers:
        subject = f"{subject}{' and ' if subject else ''}offers {','.join(sorted(line.offers))}"
    if line.names is not None:
        subject += f" as {','.join(sorted(line.names))}"
    return f"{','.join(line.principals)} @{line.issuer}: {subject}" if line.issuer else subject
