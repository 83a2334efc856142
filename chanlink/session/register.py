"""The sessions of a listener that may be resumed: who is away, and who is let back (protocol section 3.7). No I/O.

Whoever comes with the id of a session has to prove that it was there when that began. Before the proof was looked at
nothing changes, and nothing is said. What has ended is remembered for as long as its client may come back: it is told
how that ended, and what had arrived.
"""

from typing import NamedTuple, Protocol

from chanlink.errors import ConnectionLost, HandshakeError, RemoteProtocolError, SessionClosed, SessionError
from chanlink.limits import Bucket, Limits
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.resuming.agreement import Agreement
from chanlink.security.resuming.proofs import Prover, Resume
from chanlink.security.stream import farewell

LONGER = 15.0
"""Seconds that the listener waits longer than it has granted: the client gives up first, and knows that it has."""
REMEMBERED = 4_096
"""Sessions that have ended and are remembered, of some 500 bytes each; the oldest is forgotten first."""


class Stream(Protocol):
    """What is used here of the stream of a session."""

    @property
    def is_away(self) -> bool: ...

    @property
    def received(self) -> int: ...

    def fits(self, count: int) -> bool: ...

    def lose(self, problem: SessionError) -> None: ...


class Entry:
    """A session that may be resumed."""

    def __init__(self, agreement: Agreement, key: PublicKey, stream: Stream, limits: Limits) -> None:
        self.agreement = agreement
        self.key = key
        self.stream = stream
        self.attempt = 0
        """The highest one that was proved."""
        self.over = False
        """Whether no return is taken any more, though it is not known yet how it ends."""
        self.returns = Bucket(limits.resumes, limits.resumes / 5)
        self.again = Bucket(limits.sent_again, limits.sent_again / 16)

    def end(self) -> None:
        """No return is taken any more."""
        self.over = True

    def take(self, attempt: int) -> None:
        """This one was proved, and no other one is taken that is not higher."""
        self.attempt = attempt


class Ended(NamedTuple):
    """A session that is over."""

    agreement: Agreement
    key: PublicKey
    attempt: int
    received: int
    code: str
    until: float
    """When it may be forgotten."""


class Unanswered(HandshakeError):
    """The client gets no answer; `fault` says whether its source is charged for that."""

    def __init__(self, why: str, *, fault: bool) -> None:
        super().__init__(why)
        self.fault = fault


class Over(Exception):
    """The session has ended: `why` is the code, and this side has received so much."""

    def __init__(self, code: str, received: int) -> None:
        super().__init__(code, received)
        self.code = code
        self.received = received


class Register:
    """The sessions of one listener that may be resumed."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._entries: dict[bytes, Entry] = {}
        self._away: dict[bytes, Entry] = {}
        """Those whose client is away, the longest first."""
        self._away_of: dict[PublicKey, dict[bytes, Entry]] = {}
        """The same, for each key."""
        self._ended: dict[bytes, Ended] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def away(self) -> int:
        """How many are away."""
        return len(self._away)

    # --- their lives ---

    def add(self, agreement: Agreement, key: PublicKey, stream: Stream) -> Entry:
        """One more."""
        entry = self._entries[agreement.session] = Entry(agreement, key, stream, self._limits)
        return entry

    def changed(self, entry: Entry) -> None:
        """It is away, or back. When too many are away, another one is lost."""
        session = entry.agreement.session
        if session not in self._entries:
            return
        if not entry.stream.is_away:
            self._is_present(entry)
        elif session not in self._away:
            self._away[session] = entry
            self._away_of.setdefault(entry.key, {})[session] = entry
            self._bound(entry.key)

    def _bound(self, key: PublicKey) -> None:
        if len(self._away_of[key]) > self._limits.away_per_key:
            self._lose_longest(key)
        elif len(self._away) > self._limits.away:
            self._lose_longest(max(self._away_of, key=lambda key: len(self._away_of[key])))

    def _lose_longest(self, key: PublicKey) -> None:
        entry = next(iter(self._away_of[key].values()))
        self._is_present(entry)
        entry.end()
        entry.stream.lose(ConnectionLost("too many sessions are away, and this one was the longest"))

    def _is_present(self, entry: Entry) -> None:
        """It counts as away no more."""
        session = entry.agreement.session
        if self._away.pop(session, None) is not None:
            of_key = self._away_of[entry.key]
            del of_key[session]
            if not of_key:
                del self._away_of[entry.key]

    def ended(self, entry: Entry, cause: SessionError | None, now: float) -> None:
        """It is over. Where the client can be told why, it will be, should it come back."""
        session = entry.agreement.session
        if self._entries.pop(session, None) is None:
            return
        self._is_present(entry)
        words = farewell(cause) if cause is not None else ("", "")
        if words is None:
            return
        until = now + entry.agreement.seconds + LONGER
        received, code = entry.stream.received, words[0]
        self._ended[session] = Ended(entry.agreement, entry.key, entry.attempt, received, code, until)
        self._forget(now)

    def _forget(self, now: float) -> None:
        ended = self._ended
        while ended and (len(ended) > REMEMBERED or next(iter(ended.values())).until < now):
            del ended[next(iter(ended))]

    # --- coming back ---

    def prover(self, session: bytes, h: bytes) -> Prover | None:
        """What makes proofs for a session on a connection with this handshake; None for one that is not known."""
        known = self._entries.get(session) or self._ended.get(session)
        return Prover(known.agreement.secret, session, h) if known is not None else None

    def admit(self, session: bytes, key: PublicKey, resume: Resume, h: bytes, now: float) -> Entry:
        """Whether a client may come back: the session, whose attempt is this one from now on.

        Raises `SessionClosed` with code ``gone`` if there is none, `Over` if it has ended, and `Unanswered`.
        """
        self._forget(now)
        prover = self.prover(session, h)
        if prover is None:
            raise SessionClosed("gone")
        if not prover.is_proved(Role.CLIENT, resume.attempt, resume.received, resume.proof):
            raise Unanswered("it does not prove that it had this session", fault=True)
        known = self._entries.get(session) or self._ended[session]
        if key != known.key:
            raise SessionClosed("gone", "the session is that of another key")
        if resume.attempt <= known.attempt:
            raise Unanswered("it comes back with an attempt that is not new", fault=True)
        if isinstance(known, Ended):
            self._ended[session] = known._replace(attempt=resume.attempt)
            raise Over(known.code, known.received)
        self._admit(known, resume, now)
        return known

    def _admit(self, entry: Entry, resume: Resume, now: float) -> None:
        stream = entry.stream
        if entry.over:
            raise Unanswered("the session is ending", fault=False)
        if not entry.returns.take(now):
            raise Unanswered("it has come back too often", fault=True)
        if not stream.fits(resume.received):
            entry.take(resume.attempt)
            entry.end()
            problem = RemoteProtocolError("the peer says that it has received what can't be")
            stream.lose(problem)
            raise Over("protocol-error", stream.received)
        if entry.again.left(now) < 0:
            raise Unanswered("too much had to be sent again", fault=True)
        entry.take(resume.attempt)
