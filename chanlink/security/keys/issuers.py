"""Certification authorities that a trust file names, and whether one of them vouches for a peer (protocol 2.5).

What is asked is what sshd asks for with ``TrustedUserCAKeys`` and ``AuthorizedPrincipalsFile``, in no order that
matters: all of it must be so. Whoever is refused is told nothing of this; the reasons are for our own log.
"""

from collections.abc import Iterable
from typing import NamedTuple

from chanlink import clock
from chanlink.errors import UntrustedPeer

from .credential import USER, Credential, out_of_time
from .openssh import PublicKey
from .presented import Presented
from .revocations import Revocations


class Issuer(NamedTuple):
    """An authority, by one of its lines."""

    label: str
    """What we call it: ``issuer="..."``."""
    ca: PublicKey
    principals: tuple[str, ...]
    """For whom it may speak by this line."""
    services: frozenset[str] | None
    """Which those may use; ``None`` means all of them."""
    krl: str
    """The file with what it has revoked; empty if there is none."""


class Issuers:
    """The authorities of a trust file, in the order of their lines."""

    __slots__ = ("_by_principal", "_cas", "all")

    def __init__(self, issuers: Iterable[Issuer] = ()) -> None:
        self.all = tuple(issuers)
        self._cas = frozenset(issuer.ca for issuer in self.all)
        self._by_principal = {
            (issuer.ca, principal): (place, number)
            for place, issuer in enumerate(self.all)
            for number, principal in enumerate(issuer.principals)
        }

    def __contains__(self, ca: PublicKey) -> bool:
        return ca in self._cas

    def vouching(self, presented: Presented, now: int, revocations: Revocations) -> tuple[Issuer, str]:
        """Who vouches for the peer with its credential, and as whom. Raises `UntrustedPeer`."""
        credential = presented.credential
        assert credential is not None
        if credential.ca not in self._cas:
            raise refused(presented, f"its credential is of {credential.ca.fingerprint}, which is no authority here")
        check(presented, credential, USER, now)
        issuer, principal = self._find(presented, credential)
        if not credential.allows_address(presented.address):
            where = presented.address or "an address of its own it does not have"
            raise refused(presented, f"its credential may not be used from {where}")
        revocations.check_credential(credential, issuer.krl)
        return issuer, principal

    def _find(self, presented: Presented, credential: Credential) -> tuple[Issuer, str]:
        """Of several lines of an authority the first one, and of its principals the first that the credential has."""
        places = (self._by_principal.get((credential.ca, name)) for name in credential.principals)
        found = min((place for place in places if place is not None), default=None)
        if found is None:
            names = ", ".join(credential.principals)
            raise refused(presented, f"no line of its authority has a principal of its credential ({names:.200})")
        place, number = found
        return self.all[place], self.all[place].principals[number]


def check(presented: Presented, credential: Credential, type: int, now: int) -> None:
    """What does not depend on whom the reader trusts. Raises `UntrustedPeer`."""
    if credential.key != presented.key:
        raise refused(presented, "its credential is one of another key")
    if credential.type != type:
        raise refused(presented, f"its credential is one of a {'host' if type == USER else 'user'}")
    if why := out_of_time(credential, now):
        raise refused(presented, f"its credential {why}; our clock says {clock.as_text(now)}")
    if credential.unknown_options:
        option = credential.unknown_options[0]
        raise refused(presented, f"its credential has the critical option {option!r:.80}, which nobody here enforces")


def refused(presented: Presented, why: str) -> UntrustedPeer:
    """The error for a peer that is not trusted, and why it is not."""
    return UntrustedPeer(presented.key.fingerprint, why)
