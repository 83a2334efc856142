"""How a rule may call a peer: keys are matched with keys, and names with names.

A name is what the trust file says: the comment on the line of a key, or ``PRINCIPAL@ISSUER`` of one that an authority
vouches for. Whoever chose it may have chosen a text that looks like somebody else's key, or that stands for many.
"""

import re
from collections.abc import Iterator

import chanlink

EVERYBODY = "*"
ALL_OF = "*@"
"""Begins what stands for all whom an issuer vouches for."""
OF_ISSUER = re.compile(r"\*@[A-Za-z0-9._-]{1,64}")


def looks_like_key(text: str) -> bool:
    """Whether this is meant as a key, and so can't be a name."""
    return text.startswith(("SHA256:", "MD5:", "ssh-", "ecdsa-", "sk-", "AAAA"))


def is_name(text: str) -> bool:
    """Whether it is the name of one, as far as rules are concerned."""
    return not looks_like_key(text) and text != EVERYBODY and not text.startswith(ALL_OF)


def names_of(peer: chanlink.Peer) -> Iterator[set[str]]:
    """How rules may call it: its own key and name; all whom its issuer vouches for; everybody."""
    yield identities(peer.key, peer.name)
    if peer.issued is not None:
        yield {ALL_OF + peer.issued.issuer}
    yield {EVERYBODY}


def identities(key: chanlink.PublicKey | None, name: str) -> set[str]:
    """How a rule may call a key that has this name in the trust file."""
    names = {name} if is_name(name) else set()
    return names if key is None else names | {key.fingerprint, " ".join(str(key).split()[:2])}
