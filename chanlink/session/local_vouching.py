"""What a daemon says of the peer of a session that it has handed over (protocol section 16.4).

It takes the place of a trust here: who the peer is, until when, and that it is trusted no more.
"""

import dataclasses

from chanlink.errors import UntrustedPeer
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant

from .vouching import Vouching

EXPIRED = "expired"


class LocalVouching(Vouching):
    """The word of the daemon on one session."""

    def __init__(self, presented: Presented, grant: Grant, expires: int | None) -> None:
        self._grant = grant
        self._is_revoked = False
        super().__init__(presented, grant, self._allowed)
        self.expires = expires

    def _allowed(self, presented: Presented) -> Grant:
        if self._is_revoked:
            raise UntrustedPeer(presented.key.fingerprint)
        issued, credential = self._grant.issued, presented.credential
        if issued is not None and credential is not None:
            return dataclasses.replace(self._grant, issued=issued._replace(credential=credential))
        return self._grant

    def decided(self, grant: Grant) -> None:
        """As that of any session; when it expires the daemon has said."""
        expires = getattr(self, "expires", None)
        super().decided(grant)
        self.expires = expires

    # --- what the daemon says ---

    def changed(self, name: str | None, expires: int | None) -> None:
        """The peer is called so from now on; the session ends then."""
        if expires is not None:
            self.expires = expires
        if name is not None:
            self._grant = dataclasses.replace(self._grant, name=name)
            self._granted(self._grant)

    def over(self, code: str) -> None:
        """The session ends now, as expired or as revoked."""
        if code == EXPIRED:
            self.expires = 0
        else:
            self._is_revoked = True
            self._granted(None)
