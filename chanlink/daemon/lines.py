"""The sessions that were handed over: each has a row, which lives until its application says that it is over.

An application holds a session by a control line. When that ends, or the daemon is another one by now, the session waits
for a while for its application to attach it again. What was revoked meanwhile is said then. No I/O of its own.
"""

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from chanlink.printing import printable_logger
from chanlink.security.keys.presented import Presented

from .audit import Audit
from .bounds import SESSIONS, Held
from .handing import presented_in
from .journal import INCOMING, OUTGOING, Journal, Row

logger = printable_logger(__name__)

ATTACH = 60.0
"""Seconds that an application has to attach a session, after its line has ended or the daemon was started."""
REMEMBERED = 4_096
"""Sessions that were ended while nobody held them; the oldest is forgotten first."""


class Holder(Protocol):
    """A control line."""

    def tell(self, id_: bytes, code: str) -> None:
        """Tell the application that the session with this id must end, and why. Raises nothing."""

    def rename(self, id_: bytes, name: str) -> None:
        """Tell the application what the peer is called from now on. Raises nothing."""

    def lost(self, id_: bytes) -> None:
        """Another line holds this session."""


class Entry:
    """One session, and the lines that hold it.

    There may be two for a while: the one of before, and one by which the session may come back. An application says
    which try was the right one by attaching it.
    """

    def __init__(self, row: Row) -> None:
        self.row = row
        self._holders: dict[Holder, bool] = {}
        """The newest is last; whether the application has said that this is its line."""
        self._until: float | None = None
        self._presented: tuple[str, Presented] | None = None

    @property
    def id(self) -> bytes:
        return bytes.fromhex(self.row.id)

    def presented(self) -> Presented:
        """What the peer has shown. Raises `ConfigError`, and `ValueError`, for what was changed by somebody else.

        A credential is verified once: each change of a trust file asks for all of them.
        """
        row = self.row
        if self._presented is None or self._presented[0] != row.credential:
            self._presented = row.credential, presented_in(row)
        return self._presented[1]._replace(address=row.address)

    @property
    def holders(self) -> list[Holder]:
        """The lines that hold it; none if it waits for one."""
        return list(self._holders)

    def is_overdue(self, now: float) -> bool:
        """Whether nobody has attached it in time."""
        return self._until is not None and now >= self._until

    def hold(self, holder: Holder) -> None:
        """This line holds it from now on, and none before."""
        before, self._holders, self._until = self._holders, {holder: True}, None
        for one in before:
            if one is not holder:
                one.lost(self.id)

    def lend(self, holder: Holder) -> None:
        """This line may be the one that holds it."""
        self._holders[holder], self._until = False, None

    def let_go(self, holder: Holder, until: float) -> bool:
        """This line has ended: whether that was the last one that the application has called its own.

        If it was the last of all, the session waits for another one.
        """
        was_its_own = self._holders.pop(holder, False)
        if not self._holders and self._until is None:
            self._until = until
        return was_its_own and not self._holders

    def wait(self, until: float) -> None:
        """No line holds it."""
        self._until = until

    def change(self, row: Row) -> None:
        """Something is otherwise from now on."""
        self.row = row


class Lines:
    """All of them."""

    def __init__(self, journal: Journal, audit: Audit, now: float) -> None:
        self._journal = journal
        self._audit = audit
        self._entries: dict[str, Entry] = {}
        self._of_key: Counter[str] = Counter()
        self._ended: dict[str, tuple[int, str]] = {}
        """The uid, and the code."""
        self._unwritten: deque[tuple[Row, str, float]] = deque()
        """What has ended, why and when, and is not in the audit yet: the journal has it until then."""
        self.held = Held(SESSIONS)
        for row in journal.rows.values():
            self._add(Entry(row)).wait(now + ATTACH)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def of_key(self, key: str) -> int:
        """How many incoming sessions a peer has."""
        return self._of_key[key]

    def find(self, id_: bytes) -> Entry | None:
        return self._entries.get(id_.hex())

    def begin(self, row: Row, holder: Holder) -> Entry:
        """A session is about to be handed over. Raises `Full`, and `OSError` if it can't be written down, or one that
        has ended can't."""
        self.held.check(row.uid)
        self._write_down()
        self._journal.keep(row)
        entry = self._add(Entry(row))
        entry.hold(holder)
        return entry

    def _add(self, entry: Entry) -> Entry:
        row = entry.row
        self._entries[row.id] = entry
        if row.way == INCOMING:
            self._of_key[row.key] += 1
        self.held.add(row.uid)
        return entry

    def change(self, entry: Entry, row: Row) -> None:
        """Something is otherwise from now on. Raises `OSError`."""
        if row == entry.row:
            return
        self._journal.keep(row)
        if row.name != entry.row.name:
            for holder in entry.holders:
                holder.rename(entry.id, row.name)
        entry.change(row)

    def owned(self, id_: bytes, uid: int, service: str, way: str) -> Entry | None:
        """The session with this id, if it is this user's, and of this service and direction."""
        entry = self.find(id_)
        if entry is None or (entry.row.uid, entry.row.service, entry.row.way) != (uid, service, way):
            return None
        return entry

    def why_over(self, id_: bytes, uid: int) -> str:
        """With which code a session of this user's was ended while nobody held it."""
        owner, code = self._ended.get(id_.hex(), (-1, ""))
        return code if owner == uid and code else "unknown-session"

    def let_go(self, entry: Entry, holder: Holder, now: float) -> None:
        """This line has ended. If it was that of an outgoing session, that is over; an incoming one waits."""
        if entry.let_go(holder, now + ATTACH) and entry.row.way == OUTGOING:
            self.end(entry, "")

    def end(self, entry: Entry, code: str) -> None:
        """It is over. Nothing happens if it was before."""
        row = entry.row
        if self._entries.get(row.id) is not entry:
            return
        del self._entries[row.id]
        if row.way == INCOMING:
            self._of_key[row.key] -= 1
            if not self._of_key[row.key]:
                del self._of_key[row.key]
        self.held.give(row.uid)
        logger.info("%s session %s of %s with %s is over: %s", row.way, row.id, row.user, row.name, code or "ended")
        self._unwritten.append((row, code, time.time()))
        with suppress(OSError):
            self._write_down()

    def _write_down(self) -> None:
        """Have what has ended in the audit. Raises `OSError` while there is no room for that."""
        while self._unwritten:
            row, code, at = self._unwritten[0]
            self._audit.ended(row, code, at)
            self._unwritten.popleft()
            self._journal.end(row)

    def revoke(self, entry: Entry, code: str = "revoked") -> None:
        """It must end, at once: who holds it is told, or told later."""
        if self._entries.get(entry.row.id) is not entry:
            return
        for holder in entry.holders:
            holder.tell(entry.id, code)
        if not entry.holders:
            self._ended[entry.row.id] = entry.row.uid, code
            if len(self._ended) > REMEMBERED:
                del self._ended[next(iter(self._ended))]
        self.end(entry, code)

    def step(self, now: float, wall: float) -> None:
        """Those that nobody has attached in time are over, and those whose peer is not vouched for any more.

        ``wall`` is in seconds since 1970.
        """
        with suppress(OSError):
            self._write_down()
        for entry in self:
            if entry.is_overdue(now):
                self.end(entry, "not-attached")
            elif 0 < entry.row.expiry <= wall:
                self.revoke(entry, "expired")
