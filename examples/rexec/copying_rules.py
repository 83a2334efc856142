"""What a policy says about copies."""

import os

import chanlink

from .copying_service import Refusal
from .messages import SERVICE, StartError
from .policy import Policy
from .policy_file import PolicyFile

NO_ROOT = (
    "without --copy-root, whoever copies may change what this server runs and trusts; so only who may run anything may"
)


def may_copy(policy: Policy | PolicyFile | None, *, trust: str | None = None) -> Refusal:
    """Why a peer may not copy, by the policy as it is then.

    ``trust`` is given if there is no root: the path of the trust file. Then those copy who may run any command, too,
    and nobody else: in a file that is not for them they could put whatever they want to be run, or a key of theirs.
    """

    def refusal(peer: chanlink.Peer, reads: bool, running: int) -> str | None:
        if trust is not None and not _may_run(peer, trust):
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
        if trust is not None and rule.restricted:
            return NO_ROOT
        if running > rule.at_once:
            return f"the rule {rule.name} of the server's policy allows {rule.at_once} at once"
        if rule.users and os.geteuid() == 0:
            # Files are read and written by this process, with all its rights.
            return f"the rule {rule.name} of the server's policy is for other users than the server's own"
        return None

    return refusal


def _may_run(peer: chanlink.Peer, trust: str) -> bool:
    """What the trust file says now; copies are few, and the file is short."""
    try:
        grant = None if peer.key is None else chanlink.Trust.load(trust).check(peer.key)
    except chanlink.TrustFormatError:
        return False
    return grant is not None and grant.allows(SERVICE)
