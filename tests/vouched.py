"""Peers that an authority vouches for, as a session is told of them: the credential is a good one, and no handshake."""

from collections.abc import Collection

from chanlink import Identity, Peer
from chanlink.security.keys.trust import Issued
from tests.security.keys.credentials import CA

ADDRESS = "192.0.2.7"


def issued(
    *options: str, extensions: Collection[str] = (), command: str = "/bin/true", principal: str = "alice"
) -> Issued:
    """What vouches for alice, with these critical options."""
    credential = CA("ca").issue(
        Identity.generate().public_key,
        principal,
        serial=7,
        key_id="alice's laptop",
        force_command=command if "force-command" in options else None,
        source_address="192.0.2.0/24" if "source-address" in options else None,
        options={name: b"" for name in options if name not in ("force-command", "source-address")},
        extensions=extensions,
    )
    return Issued("example", principal, credential)


def vouched(*options: str) -> Peer:
    """A peer whose credential has these critical options."""
    by = issued(*options)
    return Peer(by.credential.key, f"{by.principal}@{by.issuer}", f"{ADDRESS}:1024", issued=by)
