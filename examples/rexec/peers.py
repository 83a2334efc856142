"""What a peer is called: among those that have something on a server, and in an audit."""

import chanlink


def owner_of(peer: chanlink.Peer) -> str:
    """Whose the commands and copies of this peer are: those of its key, whatever name that has."""
    return peer.name if peer.key is None else peer.key.fingerprint


def entries_about(peer: chanlink.Peer) -> dict[str, str | None]:
    """What each line of an audit says about it."""
    return {
        "name": peer.name,
        "key": None if peer.key is None else peer.key.fingerprint,
        "from": peer.address,
    }
