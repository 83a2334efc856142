"""`Replica`: the entries that there are in etcd, as far as this process has heard. No I/O."""

from collections.abc import Iterable, Iterator

from chanlink import clock
from chanlink.directory.news import Pending, Readers
from chanlink.directory.store import Gone, Stored

from .layout import Row


class Replica:
    """What there is, and who is told what changes."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[bytes, tuple[float, Row]]] = {}
        """By name and key: until when, by our own clock, and what."""
        self._revision = 0
        self._readers = Readers()

    @property
    def revision(self) -> int:
        """Of etcd: all until that was heard."""
        return self._revision

    def heard(self, revision: int) -> None:
        """All until then."""
        self._revision = max(self._revision, revision)

    def find(self, name: str) -> list[Stored]:
        """The entries under a name that live."""
        now = clock.now()
        return [row.as_stored(until - now) for until, row in self._rows.get(name, {}).values() if until > now]

    def replace(self, rows: Iterable[tuple[Row, float]]) -> None:
        """This is all that there is now: rows, and how long each lives. What is another than before is told."""
        missing = {(name, key) for name, found in self._rows.items() for key in found}
        for row, left in rows:
            missing.discard((row.name, row.key))
            _, before = self._rows.get(row.name, {}).get(row.key, (0.0, None))
            if before is None or before.lease != row.lease:
                self.put(row, left)
        for name, key in missing:
            self.forget(name, key)

    def put(self, row: Row, left: float) -> None:
        """This entry is there, in the place of an older one, and lives for so long."""
        self._rows.setdefault(row.name, {})[row.key] = clock.now() + left, row
        self._readers.tell(row.as_stored(left))

    def forget(self, name: str, key: bytes) -> None:
        """This entry is there no more."""
        rows = self._rows.get(name, {})
        if rows.pop(key, None) is not None:
            self._readers.tell(Gone(name, key))
        if not rows:
            self._rows.pop(name, None)

    def reader(self) -> Pending:
        """Somebody who is told what there is, and then what changes, until it is discarded."""
        reader = Pending(self._all())
        self._readers.add(reader)
        return reader

    def discard(self, reader: Pending) -> None:
        self._readers.discard(reader)

    def _all(self) -> Iterator[Stored]:
        return (stored for name in self._rows for stored in self.find(name))
