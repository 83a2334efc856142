"""Records: what bytes become when they are sealed, and what is left of them when they are opened (protocol section 3).

No I/O and no clock. A `RecordWriter` makes records of what one side sends, and a `RecordReader` opens those of the
other; the keys of both are one `RecordKeys`. Their buffers are those that all connections of an event loop share: what
is in one of them must be used before anybody waits.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Any

from chanlink import clock
from chanlink.bytes_like import Part, cut
from chanlink.errors import (
    ConnectionLost,
    HandshakeError,
    LocalProtocolError,
    RemoteProtocolError,
    SessionClosed,
    SessionError,
    UntrustedPeer,
)
from chanlink.limits import MAX_RECORD, Bucket
from chanlink.printing import printable, printable_logger
from chanlink.security.keys.openssh import PublicKey

from .payloads import CLOSED, WELCOMED, Table, read
from .rekey import FORKED, REKEY, SHOW, RecordKeys

logger = printable_logger(__name__)

DATA, CLOSE, WELCOME, RECEIVED, RESUME = 0, 1, 3, 4, 5
"""Kinds of records, besides REKEY."""
COUNT = Struct(">Q")
"""The body of RECEIVED."""
LENGTH = Struct(">H")
"""What stands before each record, and before each message of the handshake."""
_WITH_LENGTH = LENGTH.size + MAX_RECORD
_EMPTY, _EMPTY_A_SECOND = 200, 20
"""Data records with nothing in them, at once and a second: no honest peer has any, and they cost as much as others."""


def prefixed(data: bytes) -> bytes:
    return LENGTH.pack(len(data)) + data


# --- out ----------------------------------------------------------------------------------------


class RecordWriter:
    """Seals what one side sends, in as few records as possible."""

    def __init__(self, keys: RecordKeys, sealed: memoryview) -> None:
        self._keys = keys
        self._sealed = sealed  # the buffer
        self._max_body = keys.suite.max_body
        self._unsealed: list[Part] = []
        self._last: list[tuple[int, bytes]] = []  # records of other kinds, behind that
        self._count: int | None = None  # of what was received, before that
        self._credential = b""
        self.closed = False
        """Whether the close record is sealed: there are no new keys behind it."""

    def add(self, parts: Iterable[Part]) -> None:
        """Bytes to send, in parts, none of them empty: they are copied into records from where they are."""
        self._unsealed.extend(parts)

    def add_record(self, kind: int, body: bytes) -> None:
        """A record of its own, behind all that was added. Raises `LocalProtocolError` for a body that is too long."""
        if len(body) > self._max_body:
            raise LocalProtocolError("the body does not fit in a record")
        self._last.append((kind, body))

    def acknowledge(self, count: int) -> None:
        """Say this count, before the data that waits. The newest one is enough."""
        self._count = count

    def show(self, credential: bytes) -> None:
        """Show this credential, before the data that waits. The newest one is enough."""
        self._credential = credential

    @property
    def has_more(self) -> bool:
        """Whether something was added that is not sealed yet."""
        return bool(self._unsealed or self._last or self._credential) or self._count is not None

    def seal_some(self, now: float) -> memoryview:
        """As many records as there is room for; what the renewal of keys has to say comes first."""
        end = self._seal_rekey(now) if self._keys.has_record(now) and not self.closed else 0
        if self._count is not None:
            end = self._seal(end, RECEIVED, [COUNT.pack(self._count)])
            self._count = None
        if self._credential:
            if not self.closed:
                end = self._seal(end, REKEY, [bytes([SHOW]), self._credential])
            self._credential = b""
        room = len(self._sealed) - _WITH_LENGTH
        while self._unsealed and end <= room:
            end = self._seal(end, DATA, cut(self._unsealed, self._max_body))
        while self._last and not self._unsealed and end <= room:
            kind, body = self._last.pop(0)
            self.closed = self.closed or kind == CLOSE
            end = self._seal(end, kind, [body])
        return self._sealed[:end]

    def forget(self) -> None:
        """Drop all that was added."""
        self._unsealed.clear()
        self._last.clear()
        self._count, self._credential = None, b""

    def _seal_rekey(self, now: float) -> int:
        logger.debug("keys: sends a rekey record in epoch %d", self._keys.epoch)
        return self._prefix(0, self._keys.next_record(now, self._sealed[LENGTH.size :]))

    def _seal(self, at: int, kind: int, body: Sequence[Part]) -> int:
        """Put a record into the buffer; returns where it ends."""
        return self._prefix(at, self._keys.seal(kind, body, self._sealed[at + LENGTH.size :]))

    def _prefix(self, at: int, length: int) -> int:
        LENGTH.pack_into(self._sealed, at, length)
        return at + LENGTH.size + length


# --- in -----------------------------------------------------------------------------------------


class _Closed(Exception):
    """The peer's close record came."""


class RecordReader:
    """Opens what the other side sends. What comes after an end or a problem is not looked at any more."""

    peer_close: tuple[str, str] = ("", "")
    """Code and text of the peer's close record."""
    ended = False
    """Whether that has come."""
    problem: SessionError | None = None
    """Why nothing more will come, if it was no orderly end."""
    counts = False
    """Whether `expect_counts` was called."""
    has_news = False
    """Whether such a record has come, or the close record before them, since the last `forget_news`."""
    is_forged = False
    """Whether the problem is a record that does not open: anybody on the way may have made that."""

    def __init__(self, keys: RecordKeys, arrived: memoryview) -> None:
        self._keys = keys
        self._arrived = arrived  # the buffer
        self._rest = b""  # the beginning of a record
        self._empty = Bucket(_EMPTY, _EMPTY_A_SECOND)
        self._welcome_of: PublicKey | None = None
        self._may_count = False
        self._unshown = ""
        self._count: int | None = None
        self._last_count = 0
        self._came: Callable[[], None] = lambda: None
        self._take: Callable[[RecordReader, int, bytes, float], None] = RecordReader._take_record
        self.welcome: dict[str, Any] = {}
        """What the server has said in its welcome."""
        self.bodies: deque[bytes] = deque()
        """Of data records, not received yet."""

    def space(self) -> memoryview:
        """Where to put what comes next: at least 256 KiB."""
        return self._arrived[len(self._rest) :]

    def filled(self, size: int, now: float) -> None:
        """This many bytes are in that space now: open all records that are whole."""
        arrived, begin = self._arrived, len(self._rest)
        arrived[:begin], self._rest = self._rest, b""
        try:
            self._open(arrived[: begin + size], now)
        except _Closed:
            self.ended = True
        except SessionError as exc:
            self.fail(exc)

    def take_all(self) -> deque[bytes]:
        """The bodies that were not received yet."""
        bodies, self.bodies = self.bodies, deque()
        return bodies

    def forget_news(self) -> None:
        """Whoever calls this looks at them."""
        self.has_news = False

    def expect_counts(self) -> None:
        """Records of what the other side has received may come, also behind its close record."""
        self.counts = True

    def take_count(self) -> int | None:
        """What the other side has received, if it has said so since the last call."""
        count, self._count = self._count, None
        return count

    def _open(self, data: memoryview, now: float) -> None:
        at, size = 0, len(data)
        while size - at >= LENGTH.size:
            begin = at + LENGTH.size
            end = begin + LENGTH.unpack_from(data, at)[0]
            if end > size:
                break
            at = end
            try:
                plaintext = self._keys.open(data[begin:end])
            except RemoteProtocolError:
                self.is_forged = True
                raise
            if not plaintext:
                raise RemoteProtocolError("an empty record")
            self._take(self, plaintext[0], bytes(plaintext[1:]), now)
        self._rest = bytes(data[at:])

    def _take_record(self, kind: int, body: bytes, now: float) -> None:
        if kind == DATA:  # the common case
            if body:
                self.bodies.append(body)
            elif not self._empty.take(now):
                raise RemoteProtocolError("too many empty records")
        elif kind == REKEY:
            self._keys.receive(body, now)
        elif kind == CLOSE:
            said = _said(body, CLOSED)
            self.peer_close = _word(said["code"]), _word(said.get("text", ""))
            self._take_end()
        elif kind == RECEIVED and self.counts:
            self._take_received(body, now)
        else:
            raise RemoteProtocolError(f"a record of kind {kind}")

    def _take_end(self) -> None:
        if not self.counts:
            raise _Closed
        self.ended = self.has_news = True
        self._take = RecordReader._take_last

    def _take_received(self, body: bytes, now: float) -> None:
        if len(body) != COUNT.size:
            raise RemoteProtocolError("a malformed count")
        (count,) = COUNT.unpack(body)
        if count < self._last_count:
            raise RemoteProtocolError("a count that falls")
        if count == self._last_count and not self._empty.take(now):
            raise RemoteProtocolError("too many empty records")
        self._count = self._last_count = count
        self.has_news = True

    def _take_last(self, kind: int, body: bytes, now: float) -> None:
        if kind != RECEIVED:
            raise RemoteProtocolError(f"a record of kind {kind} behind the close record")
        self._take_received(body, now)

    # --- the other side's first record ---

    def on_first(self, came: Callable[[], None]) -> None:
        """Have ``came`` called when the first record has opened."""
        self._came = came
        self._take = RecordReader._take_first

    def _take_first(self, kind: int, body: bytes, now: float) -> None:
        self._take = RecordReader._take_record
        self._came()
        self._take_record(kind, body, now)

    def expect_welcome(self, identity: PublicKey, *, resumes: bool = False, unshown: str = "") -> None:
        """The first record must be the server's welcome of this identity; until then, what fails is the handshake.

        ``unshown`` is what would have vouched for the identity, if it were its time. If this side ``resumes``
        something, or has asked for that, a welcome that grants it is followed by counts.
        """
        self._welcome_of, self._may_count, self._unshown = identity, resumes, unshown
        self._take = RecordReader._take_welcome

    @property
    def awaits_welcome(self) -> bool:
        return self._welcome_of is not None

    def _take_welcome(self, kind: int, body: bytes, now: float) -> None:
        identity = self._welcome_of
        assert identity is not None
        if kind != WELCOME:
            raise RemoteProtocolError("no welcome")
        said = _said(body, WELCOMED)
        if said["you"] != identity.raw:
            raise HandshakeError("the server takes this client for another one")
        self.welcome = said
        self._welcome_of = None
        self._take = RecordReader._take_record
        if self._may_count and "instance" in said and ("resumable" in said or "resumed" in said):
            self.expect_counts()  # here: some may have come in the same read
        code = _word(said["code"])
        if code == "untrusted":
            advice = self._unshown or f"it has to add this line to its trust file: {identity}"
            raise UntrustedPeer(identity.fingerprint, advice, remote=True)
        if code:
            raise SessionClosed(code, _word(said.get("text", "")))

    # --- problems ---

    def fail(self, exc: SessionError) -> SessionError:
        """Nothing more will be opened; returns the reason."""
        if self.awaits_welcome and not isinstance(exc, HandshakeError):
            failed = HandshakeError(f"the server's welcome did not come: {exc}")
            failed.__cause__, exc = exc.__cause__, failed
        self.problem = exc
        return exc

    def lost(self) -> SessionError:
        """Nothing more will come, and nobody has said why."""
        if self._keys.forgotten:
            return self.fail(ConnectionLost(FORKED))
        if self.awaits_welcome:
            why = f"it closed the connection when it had our certificate; {clock.which_is_wrong()}"
            return self.fail(HandshakeError(f"the server's welcome did not come: {why}", code="clock"))
        return self.fail(ConnectionLost("the connection ended without a farewell"))


def _said(body: bytes, table: Table) -> dict[str, Any]:
    """The map in a record."""
    try:
        return read(body, table)
    except HandshakeError as exc:
        raise RemoteProtocolError(f"a malformed record: {exc}") from exc


def _word(word: str) -> str:
    """One of the peer's words, as it may stand in a log."""
    return printable(word[:256])[:256]
