"""What a policy says about copies."""

import os

import chanlink

from .copying_service import Refusal
from .messages import StartError
from .policy import Policy
from .policy_file import PolicyFile


def may_copy(policy: Policy | PolicyFile | None) -> Refusal:
    """Why a peer may not copy, by the policy as it is then."""

    def refusal(peer: chanlink.Peer, reads: bool, running: int) -> str | None:
        if policy is None:
            return None
        current = policy.policy if isinstance(policy, PolicyFile) else policy
        try:
            rule = current.rule_for(peer)
        except StartError as exc:
            return exc.text
        if not rule.allows_copying:
            return f"the rule {rule.name} of the server's policy does not allow to copy files"
        if running > rule.at_once:
            return f"the rule {rule.name} of the server's policy allows {rule.at_once} at once"
        if rule.users and os.geteuid() == 0:
            # Files are read and written by this process, with all its rights.
            return f"the rule {rule.name} of the server's policy is for other users than the server's own"
        return None

    return refusal
