"""What a policy says about copies."""

import os
import time

import chanlink

from ..messages import SERVICE, StartError
from ..policy.file import PolicyFile
from ..policy.policy import Policy
from .service import Refusal

NO_ROOT = (
    "without --copy-root, whoever copies may change what this server runs and trusts; so only who may run anything may"
)


LOOK_EVERY = 1.0
"""Seconds for which the trust file is not read again, lest a peer that asks a thousand times have it read as often."""


def may_copy(policy: Policy | PolicyFile | None, *, trust: str | None = None) -> Refusal:
    """Why a peer may not copy, by the policy as it is then.

    ``trust`` is given if there is no root: the path of the trust file. Then only
    peers may copy that may run any command as well: others could put what they want to be run, or a key of theirs, into
    a file that is not for them.
    """

    trusted = None if trust is None else _Trusted(trust)

    def refusal(peer: chanlink.Peer, reads: bool, running: int) -> str | None:
        if trusted is not None and not trusted.may_run(peer):
            return NO_ROOT
        if policy is None:
            return None
        current = policy.policy if isinstance(policy, PolicyFile) else policy
        try:
            rule = current.rule_for(peer)
        except StartError as exc:
            return exc.text
        if not rule.allows_copying:
            return f"the rule {rule.name} of the server's policy does not allow to copy files"
        if trusted is not None and rule.restricted:
            return NO_ROOT
        if running > rule.at_once:
            return f"the rule {rule.name} of the server's policy allows {rule.at_once} at once"
        if rule.users and os.geteuid() == 0:
            # Files are read and written by this process, with all its rights.
            return f"the rule {rule.name} of the server's policy is for other users than the server's own"
        return None

    return refusal


class _Trusted:
    """What the trust file says, or said a moment ago."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._trust: chanlink.Trust | None = None
        self._look_at = 0.0

    def may_run(self, peer: chanlink.Peer) -> bool:
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_EVERY
            try:
                self._trust = chanlink.Trust.load(self._path)
            except chanlink.TrustFormatError:
                self._trust = None
        return self._trust is not None and _allows_running(self._trust, peer)


def _allows_running(trust: chanlink.Trust, peer: chanlink.Peer) -> bool:
    """By the line of the peer's key, or of who vouches for it."""
    if peer.issued is None:
        grant = None if peer.key is None else trust.check(peer.key)
        return grant is not None and grant.allows(SERVICE)
    lines = [one for one in trust.issuers.all if one.label == peer.issued.issuer]
    return any(one.services is None or SERVICE in one.services for one in lines)
