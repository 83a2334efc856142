"""What the other side of a handshake has shown of itself: what is asked of who decides whether it is trusted."""

from typing import NamedTuple

from .credential import Credential
from .openssh import PublicKey
from .successor import Successor


class Presented(NamedTuple):
    """A peer that has proved its key, and what it has shown beside that."""

    key: PublicKey
    credential: Credential | None = None
    """Of this key, and signed by its authority, whoever that is."""
    successor: Successor | None = None
    """Signed by the old key, whoever that is."""
    address: str = ""
    """The IP address that it comes from; empty if it has none of its own."""

    def counted_at(self, now: int) -> int:
        """The time nearest to ``now`` at which the credential holds, to ask of a peer that was let in before: how long
        it may stay is no question of whom one trusts."""
        if self.credential is None:
            return now
        return min(max(now, self.credential.valid_after), self.credential.valid_before - 1)
