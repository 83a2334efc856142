"""`Seen`: what a client of a directory has seen, and for how long it may go by it. No I/O.

A serial that was seen stays seen: a directory that answers with what a server has replaced is not believed. What was
found is good until it expires, so that a server whose address was just asked for costs no round trip.
"""

from collections.abc import Sequence

from .entries import Entry, Said

NAMES = 1_024
"""Of which the entries are kept; those that were asked for longest ago are forgotten."""
SERIALS = 16_384
"""Names and keys of which the highest serial is kept."""


class Seen:
    """What one client has seen."""

    def __init__(self) -> None:
        self._found: dict[str, Sequence[Entry]] = {}
        self._serials: dict[tuple[str, bytes], int] = {}

    def is_newest(self, said: Said) -> bool:
        """Whether no higher serial of this entry was seen; it is seen now."""
        which = said.name, said.key.raw
        serial = self._serials.pop(which, 0)
        self._serials[which] = max(serial, said.serial)
        if len(self._serials) > SERIALS:
            del self._serials[next(iter(self._serials))]
        return said.serial >= serial

    def keep(self, name: str, entries: Sequence[Entry]) -> None:
        """Remember what a name stands for; that it stands for nothing is not remembered."""
        self._found.pop(name, None)
        if entries:
            self._found[name] = entries
        if len(self._found) > NAMES:
            del self._found[next(iter(self._found))]

    def find(self, name: str) -> list[Entry]:
        """The entries that are still good; none if one of them is not, as there may be others by now."""
        entries = self._found.get(name, ())
        if any(not entry.expires_in for entry in entries):
            del self._found[name]
            return []
        return list(entries)
