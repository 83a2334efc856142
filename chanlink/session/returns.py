"""What a listener does with clients that come back: their connection is that of their session from now on.

Who is let back is the business of the `Register`. Here is what is said on the new connection, and the change from the
old one, which is never used again once the new one is answered.
"""

from typing import Any

from chanlink import clock
from chanlink.errors import ConnectionLost, SessionClosed, SessionError, UntrustedPeer
from chanlink.limits import Limits
from chanlink.printing import printable_logger
from chanlink.security.handshake import Authenticated
from chanlink.security.handshake_server import Met, refuse, send_welcome
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.presented import Presented
from chanlink.security.resuming.agreement import Terms
from chanlink.security.resuming.proofs import Prover, Resume
from chanlink.security.resuming.resumable import ResumableStream

from .driver import Foretold
from .peer import Peer
from .register import LONGER, Entry, Over, Register, Unanswered
from .vouching import Admits, Vouching

logger = printable_logger(__name__)


NOBODY = "the client was away when the listener was closed"


class Resumable:
    """A session of a listener that may be resumed: what has come of it until now."""

    def __init__(self, entry: Entry, stream: ResumableStream) -> None:
        self.entry = entry
        self.stream = stream
        self._away_since = 0.0
        self._peer: Peer
        self.vouching: Vouching

    def belongs_to(self, peer: Peer, vouching: Vouching) -> None:
        """This is its peer, whose address may become another one, and what vouches for it."""
        self._peer, self.vouching = peer, vouching

    def went(self) -> None:
        """The client is away."""
        self._away_since = clock.now()
        logger.info("%s at %s is away: %s", self._peer.name, self._peer.address, self.stream.away_because)

    def attach(self, met: Met, count: int, address: str) -> None:
        """Go on over another connection, from there."""
        stream, before = self.stream, self.stream.sent_again
        stream.attach(met.stream, count)
        again, seconds = stream.sent_again - before, clock.now() - self._away_since
        self.entry.again.spend(again)
        self._peer.address = address
        logger.info(
            "%s is back from %s after %.1f s: %d bytes are sent again", self._peer.name, address, seconds, again
        )


class Returns:
    """The sessions of one listener that may be resumed, and their clients that come back."""

    def __init__(self, limits: Limits, admits: Admits, *, shared: bool = False, renews: bool = False) -> None:
        """With ``renews`` each connection begins a new epoch: another process has done its handshake."""
        self.terms = Terms.made(limits.resume, shared=shared)
        self._register = Register(limits)
        self._limits = limits
        self._admits = admits
        self._renews = renews
        self._sessions: dict[bytes, Resumable] = {}
        self._closed = False

    def is_called(self, instance: bytes) -> None:
        """This is what names the listener, where somebody else has said that to its clients."""
        self.terms = self.terms._replace(instance=instance)

    # --- sessions ---

    def begin(self, authenticated: Authenticated) -> Resumable | None:
        """A session begins: what it is if its client may come back; None if it may not."""
        agreement = authenticated.agreement
        if agreement is None:
            return None
        stream = ResumableStream(
            authenticated.stream,
            unacknowledged=self._limits.unacknowledged,
            peer_unacknowledged=authenticated.peer_limits.unacknowledged,
            progress=self._limits.progress,
            patience=agreement.seconds + LONGER,
            # The welcome may be lost with the connection: then the client does not know that it has a session.
            unheard=min(agreement.seconds, self._limits.handshake) + LONGER,
            ended=lambda cause: entry.end(),
        )
        entry = self._register.add(agreement, authenticated.key, stream)
        resumable = self._sessions[agreement.session] = Resumable(entry, stream)
        stream.on_state(lambda: self._changed(resumable))
        return resumable

    def _changed(self, resumable: Resumable) -> None:
        if resumable.stream.is_away:
            resumable.went()
        self._register.changed(resumable.entry)
        if self._closed and resumable.stream.is_away:
            resumable.stream.lose(ConnectionLost(NOBODY))

    def close(self) -> None:
        """Nobody can connect any more: who is away is lost, and who goes away, too."""
        self._closed = True
        away = [resumable.stream for resumable in self._sessions.values() if resumable.stream.is_away]
        if away:
            logger.warning("the listener is closed, and sessions whose client is away are lost: %d", len(away))
        for stream in away:
            stream.lose(Foretold(NOBODY))

    def ended(self, resumable: Resumable | None, cause: SessionError | None) -> None:
        """A session is over, if it was one of these, and was not said to be before."""
        if resumable is not None and self._sessions.pop(resumable.entry.agreement.session, None) is not None:
            self._register.ended(resumable.entry, cause, clock.now())

    # --- clients that come back ---

    async def take(self, met: Met, resume: Resume, address: str) -> None:
        """Answer a client that comes back; the connection is the session's afterwards.

        Raises `SessionClosed` and `UntrustedPeer` when it was told that there is no session any more, and `Unanswered`.
        """
        session, h = met.heard.session, met.stream.handshake_hash
        try:
            entry = self._register.admit(session, met.key, resume, h, clock.now())
            resumable = self._sessions[session]
            presented, grant = resumable.vouching.again(met.heard.presented)
            count = _freeze(resumable.stream)
        except Over as over:
            closed = SessionClosed("closed")
            said = self._proved(met, resume, over.received, self._register.prover(session, h))
            await refuse(met, closed, {**said, "why": over.code})
            raise closed from None
        except (SessionClosed, UntrustedPeer) as exc:
            why = self._untrusted(met.heard.presented) or exc
            await refuse(met, why, {"instance": self.terms.instance})
            raise why from None
        await send_welcome(met, self._proved(met, resume, count, self._register.prover(session, h)))
        if entry.over or entry.attempt != resume.attempt:
            raise Unanswered("another connection was faster", fault=False)
        if self._renews:
            met.stream.begin_epoch()
        resumable.vouching.take(presented, grant)
        resumable.attach(met, resume.received, address)

    def _untrusted(self, presented: Presented) -> UntrustedPeer | None:
        """Why a client would not be let in now; None if it would."""
        try:
            self._admits(presented)
        except UntrustedPeer as exc:
            return exc
        return None

    def _proved(self, met: Met, resume: Resume, count: int, prover: Prover | None) -> dict[str, Any]:
        """The entries of a welcome that prove that this side has, or had, the session."""
        assert prover is not None
        resumed = {"count": count, "proof": prover.prove(Role.SERVER, resume.attempt, count)}
        return {"instance": self.terms.instance, "resumed": resumed}


def _freeze(stream: ResumableStream) -> int:
    """Use the connection before no more. Raises `Unanswered` if it is too late."""
    try:
        return stream.freeze()
    except SessionError as exc:
        raise Unanswered(f"the session is ending: {exc}", fault=False) from exc
