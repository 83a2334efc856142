"""The other side of a session, and what it opens there."""

import dataclasses
from typing import Any, NamedTuple

from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.trust import Issued
from chanlink.transport.address import Address
from chanlink.transport.through import Bridged


@dataclasses.dataclass(slots=True)
class Peer:
    """The other side of a session."""

    key: PublicKey | None
    """Its identity; None only in a session for tests, which has none."""
    name: str
    """The name that we know it by now: the comment in the trust file, or else its fingerprint.

    It changes when the trust file does: whatever decides by it has to look each time.
    """
    address: str
    """Of a server, as it was given to `connect`. Of a client ``host:port``, or ``a local process`` by a Unix socket. Of
    one that came by another byte stream, which knows of no socket below, the name of its class; through a gateway,
    ``via:NAME`` and what the gateway calls it."""
    names: frozenset[str] | None = None
    """What it may be called in a directory: ``names="..."`` on its line of the trust file, if that is there. It changes
    as `name` does."""
    issued: Issued | None = None
    """What vouches for its key, where that is the credential of an authority, as whom, and the credential itself: the
    newest that it has shown. It changes as `name` does."""

    def __hash__(self) -> int:
        return hash(self.key)  # which never changes, so that a peer may be a key in a dict


def address_of(remote: object, otherwise: str = "somebody") -> str:
    """What the address of who has connected is called, by the socket address at the other side."""
    if isinstance(remote, Bridged):
        return str(remote)
    if isinstance(remote, tuple):
        return str(Address.of(remote)).removeprefix("tcp://")
    return "a local process" if isinstance(remote, str | bytes) else otherwise


class Incoming(NamedTuple):
    """A top-level channel or byte stream that the peer opened."""

    service: str
    """The name that it was opened by."""
    end: Any
    """A `Receiver` or a `ByteStream` (a `Sender` from peers that open channels the other way round)."""
    peer: Peer
    """Who has opened it."""
