"""`Hop`: a gateway on the way to a server, and what a way may be."""

from collections.abc import Sequence
from types import NoneType

from anyio.abc import ByteStreamConnectable

from chanlink.arguments import expect
from chanlink.errors import ConfigError
from chanlink.printing import printable
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.openssh import PublicKey
from chanlink.transport.target import parse_target

from .session import Session

MOST = 8
"""Gateways on one way: each costs a handshake, and a layer of records on all that is said."""


class Hop:
    """A gateway on the way to a server: for ``via`` of `connect`, and for `Behind`. It does not change.

    Each of its ``addresses``, as `connect` takes them, leads to a gateway that will do: they are tried in turn, and one
    that has died is passed over. ``peer`` is the public key that all of them have; without it, the ``trust`` of who
    connects decides, as it does for the server, or else the default file of known peers. ``identity`` is who we are for
    the gateway; without it, who we are for the server. Raises `TypeError`, and a `ConfigError` for no address.
    """

    __slots__ = ("addresses", "identity", "peer")

    def __init__(
        self, *addresses: str | ByteStreamConnectable, peer: PublicKey | None = None, identity: Identity | None = None
    ) -> None:
        for address in addresses:
            expect("address", address, str, ByteStreamConnectable)
            if isinstance(address, str):
                parse_target(address)
        expect("peer", peer, PublicKey, NoneType)
        expect("identity", identity, Identity, NoneType)
        if not addresses:
            raise ConfigError("a hop has at least one address")
        self.addresses = addresses
        self.peer = peer
        self.identity = identity

    def __str__(self) -> str:
        return " or ".join(str(address) for address in self.addresses)

    def __repr__(self) -> str:
        return printable(f"<Hop by {self}>")


Way = Sequence[str | Hop | Session]
"""Gateways, the nearest first."""


def read_way(via: object) -> tuple[Hop | Session, ...]:
    """The hops of what was given as ``via``. Raises `TypeError`, and a `ConfigError` for what can't be one."""
    if isinstance(via, str):  # else each of its letters would be one
        raise TypeError(f"via is a sequence of hops, not one string: [{via!r}]")
    expect("via", via, Sequence)
    assert isinstance(via, Sequence)
    for hop in via:
        expect("via", hop, str, Hop, Session)
    if len(via) > MOST:
        raise ConfigError(f"via has {MOST} hops at most")
    if any(isinstance(hop, Session) for hop in via[1:]):
        raise ConfigError("a Session can only be the first of via: what is nearer is on its way already")
    return tuple(Hop(hop) if isinstance(hop, str) else hop for hop in via)


def name_of(hop: Hop | Session) -> str:
    """What errors call it."""
    return hop.peer.address if isinstance(hop, Session) else str(hop)
