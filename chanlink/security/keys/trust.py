"""Trust: which keys may connect, and which services each may use.

The file is in ``authorized_keys`` syntax (sshd(8)), one key a line:

    # our laptops
    ssh-ed25519 AAAA... alice@laptop
    services="rexec,ping" ssh-ed25519 AAAA... bob@laptop
    services="directory,directory.register",names="web1" ssh-ed25519 AAAA... web1
    offers="build" ssh-ed25519 AAAA... build, behind NAT
    cert-authority,issuer="example",principals="carol,dave",services="rexec" ssh-ed25519 AAAA... our CA
    @revoked ssh-ed25519 AAAA... stolen

Whoever writes such a line wants to allow something *and no more*. So a line that is not understood to its last
character is an error and never a grant: unknown options (``from=``, ``expiry-time=``, a misspelt ``service=``), other
types of keys, the same key twice.

A peer has one grant, by the first of these that holds, and grants are never joined: that its key is revoked; the key's
own line; what an authority says of the key; the line of a key in whose place this one comes.
"""

import dataclasses
import os
import re
from collections.abc import Iterable
from types import NoneType
from typing import NamedTuple, Self

from chanlink.arguments import expect
from chanlink.errors import TrustFormatError, UntrustedPeer
from chanlink.transport.through import OFFER

from . import trust_lines
from .credential import Credential
from .issuers import Issuer, Issuers, refused
from .openssh import PublicKey
from .presented import Presented
from .revocations import Revocations

_LIKE_A_KEY = re.compile(r"(SHA256:|MD5:|AAAA|(ssh|ecdsa|sk)-\S+ +AAAA)")
"""How fingerprints and keys begin."""


class Issued(NamedTuple):
    """An authority vouches for a peer."""

    issuer: str
    """What we call the authority."""
    principal: str
    """Who the peer is, of those that the credential names."""
    credential: Credential
    """What it has said."""


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """What a trusted peer may do. ``name`` is for people: the key's comment in the trust file, or its fingerprint; of a
    peer that an authority vouches for, ``PRINCIPAL@ISSUER``. It never looks like a key that the peer does not have."""

    name: str
    services: frozenset[str] | None
    """The services that the key may use; ``None`` means all of them."""
    names: frozenset[str] | None = None
    """What the key may be called in a directory, and share with others; ``None``: any name that nobody has."""
    issued: "Issued | None" = None
    """What vouches for the key, where that is not its own line."""
    offers: frozenset[str] = frozenset()
    """The names by which a gateway leads to the key: what it may offer is never one of all services."""

    def allows(self, service: str) -> bool:
        """Tell whether the key may use ``service``."""
        if service.startswith(OFFER):
            return service.removeprefix(OFFER) in self.offers
        return self.services is None or service in self.services

    def only(self, service: str) -> "Grant":
        """What a peer may do that has come for this service alone; the same if that is empty."""
        if not service:
            return self
        allowed = self.allows(service)
        offers = self.offers & {service.removeprefix(OFFER)} if allowed and service.startswith(OFFER) else frozenset()
        return dataclasses.replace(self, services=frozenset({service} if allowed else ()), offers=offers)


class Trust:
    """Who may connect. Make one with `of`, `load`, `anyone` or `nobody`; it does not change afterwards."""

    __slots__ = ("_for_anyone", "grants", "issuers", "path", "revoked")

    def __init__(
        self,
        grants: dict[PublicKey, Grant],
        for_anyone: frozenset[str] = frozenset(),
        path: str | os.PathLike[str] | None = None,
        issuers: Issuers | None = None,
        revoked: frozenset[PublicKey] = frozenset(),
    ) -> None:
        self.grants = grants
        """By the keys' own lines."""
        self.path = path
        """The file that it was read from."""
        self.issuers = issuers or Issuers()
        """The authorities that may vouch for others."""
        self.revoked = revoked
        """The keys that are refused, also as authorities."""
        self._for_anyone = for_anyone

    @classmethod
    def of(cls, *keys: PublicKey) -> Self:
        """Trust these keys, for all services."""
        for key in keys:
            expect("key", key, PublicKey)
        return cls({key: Grant(name_of(key), None) for key in keys})

    @classmethod
    def anyone(cls, services: Iterable[str]) -> Self:
        """Trust whoever connects, for these services only. Raises `TrustFormatError` when there are none."""
        if isinstance(services, str):  # else each of its letters would be a service
            raise TrustFormatError(f"services are a collection of names, not one string: [{services!r}]")
        expect("services", services, Iterable)
        names = list(services)
        for name in names:
            expect("services", name, str)
        return cls({}, trust_lines.check_services(names))

    @classmethod
    def nobody(cls) -> Self:
        """Trust no key at all."""
        return cls({})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a trust file (synchronously; ``~`` is expanded).

        A listener reads it again when it has changed (`Limits.trust_interval`), and ends with code ``revoked`` what
        it does not allow any more. One that can't be read then leaves things as they are: to trust nobody, empty it.
        The files with what authorities have revoked the listener reads, too.

        Raises `TrustFormatError`, ``FILE:LINE: what is wrong``, for the first line that is not understood, and
        ``FILE: why`` for a file that can't be read, is larger than 1 MiB, or that everybody may write.
        """
        lines = trust_lines.read(path)
        revoked = frozenset(line.key for line in lines if line.is_revoked)
        good = [line for line in lines if line.key not in revoked]
        return cls(
            {line.key: _granted(line) for line in good if not line.issuer},
            path=path,
            issuers=Issuers(
                Issuer(line.issuer, line.key, line.principals, line.services, line.krl) for line in good if line.issuer
            ),
            revoked=revoked,
        )

    def check(self, key: PublicKey) -> Grant | None:
        """Return what ``key`` may do by itself, or ``None`` when it is not trusted.

        The name in it is ours: a comment that came with ``key`` does not count.
        """
        expect("key", key, PublicKey)
        grant = self.grants.get(key)
        if grant is None and self._for_anyone and key not in self.revoked:
            return Grant(key.fingerprint, self._for_anyone)
        return grant

    def admit(self, presented: Presented, now: int, revocations: Revocations | None = None) -> Grant:
        """What a peer may do at this time (seconds since 1970), by its key and what it has shown beside that.

        An authority whose line names a file with what it has revoked lets nobody in without ``revocations`` that have
        it: `Authority` reads them. Raises `UntrustedPeer`, whose advice says why, for our log only.
        """
        expect("presented", presented, Presented)
        expect("now", now, int)
        expect("revocations", revocations, Revocations, NoneType)
        revocations = revocations or Revocations()
        if presented.key in self.revoked:
            raise refused(presented, "its key is revoked")
        revocations.check_key(presented.key)
        grant = self.check(presented.key)
        why = ""
        if grant is None and presented.credential is not None:
            try:
                grant = self._issued(presented, now, revocations)
            except UntrustedPeer as exc:
                why = exc.advice
        old = self._followed(presented, now)
        if grant is None and old is not None:
            if revocations.has_key(old):
                raise refused(presented, "the key in whose place it comes is revoked")
            grant = _renamed(self.grants[old], old, presented.key)
        if grant is None:
            raise refused(presented, why)
        return grant

    def _followed(self, presented: Presented, now: int) -> PublicKey | None:
        """The key in whose place this one comes, by what the peer has shown: one with a line of its own."""
        successor = presented.successor
        if successor is None or successor.new != presented.key or not successor.holds(now):
            return None
        if successor.old not in self.grants or presented.key in self.grants or presented.key in self.revoked:
            return None
        return successor.old

    def _following(self, old: PublicKey, new: PublicKey) -> Self:
        """The trust where the one key has the line of the other one, if there is one, and that is refused."""
        grants = {key: grant for key, grant in self.grants.items() if key != old}
        if old in self.grants and new not in self.revoked:
            grants.setdefault(new, _renamed(self.grants[old], old, new))
        return type(self)(grants, self._for_anyone, self.path, self.issuers, self.revoked | {old})

    def _issued(self, presented: Presented, now: int, revocations: Revocations) -> Grant:
        issuer, principal = self.issuers.vouching(presented, now, revocations)
        assert presented.credential is not None
        issued = Issued(issuer.label, principal, presented.credential)
        return Grant(f"{principal}@{issuer.label}", issuer.services, None, issued)


def _granted(line: trust_lines.Line) -> Grant:
    return Grant(name_of(line.key), line.services, line.names, offers=line.offers)


def _renamed(grant: Grant, old: PublicKey, new: PublicKey) -> Grant:
    """A key that has no name of ours is called by its fingerprint."""
    return dataclasses.replace(grant, name=new.fingerprint) if grant.name == old.fingerprint else grant


def name_of(key: PublicKey) -> str:
    """The name of a peer that is known by its key alone, for people: the comment that we have of it, or its
    fingerprint, which stands also in the place of a comment that could be taken for another key."""
    return key.comment if key.comment and not _LIKE_A_KEY.match(key.comment) else key.fingerprint
