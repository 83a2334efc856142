"""Whose a name is.

A name belongs to the key that registered it first, also when its entry has ended: what has expired frees addresses, not
names, or whoever waited for a server to be away would be that server. Several keys share a name only if whoever runs
the directory has said so of each of them: ``names="web1"`` on their lines of the trust file. A key that has said itself
which one comes in its place has lost the name with the first entry of that one.
"""

from collections.abc import Collection

from .problems import DirectoryFull, NameTaken, NotAllowed, OlderSerial
from .store import New, Owner

OWNERS = 64
"""Keys that share a name, at most: all their entries are one answer."""


def others(owners: Collection[Owner], new: New) -> list[Owner]:
    """Those who own the name beside the key of this entry, once that is taken."""
    return [owner for owner in owners if owner.key not in (new.key, new.old)]


def check_claim(owners: Collection[Owner], new: New) -> None:
    """Raise unless this entry may be taken where the name has these owners.

    `NameTaken`; `OlderSerial` when this owner has had a higher serial; `DirectoryFull` when too many share the name.
    """
    beside = others(owners, new)
    if beside and not (new.listed and all(owner.listed for owner in beside)):
        raise NameTaken(f"{new.name} belongs to another key")
    if len(beside) >= OWNERS:
        raise DirectoryFull(f"{OWNERS} keys share {new.name} already")
    for owner in owners:
        if owner.key == new.key and owner.serial > new.serial:
            raise OlderSerial(f"there was a newer entry of this key under {new.name}", owner.serial)


def check_removal(owners: Collection[Owner], name: str, key: bytes, listed: bool) -> None:
    """Raise `NotAllowed` unless this key may remove the name."""
    if not listed and all(owner.key != key for owner in owners):
        raise NotAllowed(f"{name} belongs to another key")


def check_room(names_of_key: int, names_per_key: int, names: int, most_names: int) -> None:
    """Raise `DirectoryFull` unless a key that owns so many names may own another one, where there are so many."""
    if names_of_key >= names_per_key:
        raise DirectoryFull(f"this key has {names_per_key} names already; remove some")
    if names >= most_names:
        raise DirectoryFull(f"the directory has {most_names} names already")
