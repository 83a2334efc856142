"""What a credential forbids its holder, and which services see to that.

A critical option is a condition of whoever signed the credential. The address that it asks for, the listener looks at;
what else there is, only a service can enforce, since only it knows what its peers ask of it. So a service says that it
does, and none that does not say so is opened for a peer under one.
"""

from collections.abc import Collection

from chanlink.arguments import expect
from chanlink.errors import ConfigError

from .peer import Peer

RESTRICTIONS = frozenset({"force-command"})
"""The critical options that a service may enforce."""
OF_LISTENERS = frozenset({"source-address"})
"""Those that were looked at before there is a session."""


def check_enforced(names: object) -> frozenset[str]:
    """What a service says that it enforces. Raises `TypeError`, and `ConfigError` for what there is not."""
    if isinstance(names, str):  # else each of its letters would be one
        raise TypeError(f"enforces is a collection of names, not one string: [{names!r}]")
    expect("enforces", names, Collection)
    assert isinstance(names, Collection)
    for name in names:
        expect("enforces", name, str)
        if name not in RESTRICTIONS:
            known = ", ".join(sorted(RESTRICTIONS))
            raise ConfigError(f"enforces: there is no restriction {name[:40]!r}, only {known}")
    return frozenset(names)


def restrictions_of(peer: Peer) -> frozenset[str]:
    """What a service has to enforce that this peer may open now."""
    if peer.issued is None:
        return frozenset()
    return frozenset(name for name, _ in peer.issued.credential.options) - OF_LISTENERS
