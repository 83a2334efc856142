"""What a peer is called: among those that have something on a server, and in an audit."""

import chanlink

from .words import one_line


def owner_of(peer: chanlink.Peer) -> str:
    """Whose the commands and copies of this peer are: those of its key, whatever name that has."""
    return peer.name if peer.key is None else peer.key.fingerprint


def entries_about(peer: chanlink.Peer) -> dict[str, str | int | None]:
    """What each line of an audit says about it."""
    about: dict[str, str | int | None] = {
        "name": peer.name,
        "key": None if peer.key is None else peer.key.fingerprint,
        "from": peer.address,
    }
    if peer.issued is not None:
        credential = peer.issued.credential
        about |= {"issuer": peer.issued.issuer, "principal": peer.issued.principal}
        about |= {"serial": credential.serial, "key_id": credential.key_id}
    return about


def vouched_by(peer: chanlink.Peer) -> str:
    """What a line of a log says of its credential; nothing if it came without."""
    if peer.issued is None:
        return ""
    credential = peer.issued.credential
    return one_line(f", credential {credential.key_id!r}, serial {credential.serial}")
