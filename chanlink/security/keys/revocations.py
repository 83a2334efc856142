"""What is revoked besides keys of the trust file: the KRLs that hold now."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from chanlink.errors import UntrustedPeer

from .credential import Credential
from .openssh import PublicKey


class Krl(Protocol):
    """A list of what is revoked."""

    def revokes(self, key: PublicKey) -> bool:
        """Whether it has this key."""

    def revokes_credential(self, credential: Credential) -> bool:
        """Whether it has this credential."""


_NONE: Mapping[str, Krl] = MappingProxyType({})


class Revocations(NamedTuple):
    """The KRL that holds for all, and those of single authorities."""

    all: Krl | None = None
    """Asked for every peer, also those that have a line of their own."""
    by_file: Mapping[str, Krl] = _NONE
    """Asked for those that an authority vouches for whose line names the file: by its name, as it stands there."""

    def check_key(self, key: PublicKey) -> None:
        """Raise `UntrustedPeer` if nobody with this key is let in."""
        if self.has_key(key):
            raise UntrustedPeer(key.fingerprint, "its key is revoked")

    def has_key(self, key: PublicKey) -> bool:
        """Whether nobody with this key is let in."""
        return self.all is not None and self.all.revokes(key)

    def check_credential(self, credential: Credential, file: str) -> None:
        """Raise `UntrustedPeer` unless the credential still counts, by the KRL in ``file``, if any, and the one of all.

        A file that is not among those that were read is no reason to let somebody in.
        """
        if file and file not in self.by_file:
            raise UntrustedPeer(credential.key.fingerprint, f"what its authority has revoked was not read ({file})")
        for krl in (self.all, self.by_file.get(file)):
            if krl is not None:
                _check(krl, credential)


def _check(krl: Krl, credential: Credential) -> None:
    for what, is_revoked in (
        ("its key", krl.revokes(credential.key)),
        ("its authority", krl.revokes(credential.ca)),
        ("its credential", krl.revokes_credential(credential)),
    ):
        if is_revoked:
            raise UntrustedPeer(credential.key.fingerprint, f"{what} is revoked")
