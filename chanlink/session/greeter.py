"""What every connection of a listener is met with: a handshake, which has to end in time.

The accept loops never stop, and one task per connection does the rest: first it finds out who the peer is, then it
is the host's, for the life of the session. Who may be in a handshake at a time, and how many sessions may come of it,
is the business of `admission`.
"""

import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import anyio
from anyio import CancelScope
from anyio.abc import ByteStream, TaskGroup

from chanlink import clock
from chanlink.errors import SessionClosed, SessionError, UntrustedPeer
from chanlink.instrument import Instrument, Instruments
from chanlink.limits import STEPS, Bucket, Limits
from chanlink.printing import printable_logger
from chanlink.security.admission import Admission, Seats, Visitor, source_of
from chanlink.security.early_server import PrekeyMaker, meet_either
from chanlink.security.handshake import Authenticated
from chanlink.security.handshake_server import turn_away, welcome
from chanlink.security.keys.authority import Authority
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.security import Side
from chanlink.security.statics import Statics
from chanlink.transport.accepting import Listening
from chanlink.transport.base import Transport, close_at_once, remote_of
from chanlink.transport.given import given_stream

from .peer import address_of
from .register import Unanswered
from .returns import Returns
from .telling import why_not
from .vouching import Vouching, admits_of, ours_of

logger = printable_logger(__name__)

Host = Callable[[Authenticated, str], Awaitable[None]]
"""What lives with an authenticated peer, from this address, until its session is over."""


class _Prepared:
    """Who comes by a byte stream that a listener of the program's is making, until it was made."""

    def __init__(self, visitor: Visitor) -> None:
        self._visitor: Visitor | None = visitor

    def take(self) -> Visitor | None:
        """It was made, or won't be; None if that was so before."""
        visitor, self._visitor = self._visitor, None
        return visitor


_preparing: ContextVar[_Prepared | None] = ContextVar("preparing", default=None)
"""What is being made in this task."""


class Greeter:
    """Meets every connection of a listener (it is its `Acceptor`): it gets a session, or is closed."""

    def __init__(
        self,
        listening: Listening,
        statics: Statics,
        authority: Authority,
        limits: Limits,
        instruments: Instruments | None = None,
        *,
        shared: bool = False,
        needs_service: bool = False,
        side: Side | None = None,
    ) -> None:
        """With ``needs_service`` a client has to say for which service it comes; with a ``side``, clients are to use
        that in the place of Noise."""
        self.listening = listening
        self.authority = authority
        """Says who may connect."""
        self._needs_service = needs_service
        self._side = side
        self.admission = Admission(limits)
        self.seats = Seats(limits)
        self.returns = Returns(limits, admits_of(authority), shared=shared)
        """The sessions that may be resumed."""
        self.closed = False
        self._accepts = True
        self.statics = statics
        self.prekeys = PrekeyMaker(statics.identity, limits, is_loaded=self._is_loaded)
        self._limits = limits
        self._instruments = instruments
        self._complaints = Bucket(1, 1.0)
        self._tasks: TaskGroup
        self._host: Host

    @property
    def addresses(self) -> list[str]:
        """The addresses that it listens on, with their real ports."""
        return list(self.listening.addresses)

    def _is_loaded(self) -> bool:
        return len(self.admission) > self._limits.handshake_load

    def start(self, tasks: TaskGroup, host: Host) -> None:
        """Begin to accept connections."""
        self._tasks, self._host = tasks, host
        self.listening.start(tasks, self)
        tasks.start_soon(self._keep_time)

    def vouching_of(self, authenticated: Authenticated) -> Vouching:
        """What vouches for the peer of a session that begins, and for this side."""
        ours = ours_of(self.statics, by_prekey=authenticated.stream.early == "taken")
        return Vouching(authenticated.presented, authenticated.grant, admits_of(self.authority), ours)

    async def prekey(self) -> bytes:
        """What lets who finds it in a directory begin at once; empty if nothing does."""
        prekey = await self.prekeys.newest() if self._side is None else None
        return b"" if prekey is None else prekey.packed

    def stop_accepting(self) -> None:
        """Accept no more; who has connected before gets a handshake, and a session."""
        if self._accepts:
            self.listening.give_waiting()
            self._close_listening()

    def _close_listening(self) -> None:
        if self._accepts:
            self._accepts = False
            self.listening.close()
            self.returns.close()

    def stop(self) -> None:
        """Accept no more, and close the connections that are still in their handshake."""
        if not self.closed:
            self.closed = True
            self._close_listening()
            for visitor in self.admission:
                visitor.close()

    async def _keep_time(self) -> None:
        """End the handshakes that take too long."""
        while True:
            await anyio.sleep(self._limits.handshake / STEPS)
            self.admission.step()

    def no_room(self, problem: OSError) -> float:
        """As an `Acceptor`: a connection that is silent has to go."""
        if self._complaints.take(time.monotonic()):
            logger.warning("can't accept connections: %s", problem.strerror)
        return 0.01 if self.admission.send_one_away() else 0.1

    def accepted(self, transport: Transport, address: object) -> None:
        """As an `Acceptor`: begin a handshake."""
        scope = CancelScope()
        visitor = self.admission.enter(source_of(address), scope.cancel)
        self._tasks.start_soon(self._connection, transport, address_of(address), scope, visitor)

    def preparing(self, prepare: Callable[[], Awaitable[object]], address: object) -> None:
        """As an `Acceptor`: a listener of the program's has something to do first, within the time for a handshake."""
        scope = CancelScope()
        visitor = self.admission.enter(source_of(address), scope.cancel)
        self._tasks.start_soon(self._prepare, prepare, address_of(address), scope, visitor)

    async def _prepare(
        self, prepare: Callable[[], Awaitable[object]], address: str, scope: CancelScope, visitor: Visitor
    ) -> None:
        prepared = _Prepared(visitor)
        _preparing.set(prepared)
        try:
            with scope:
                await prepare()
        except Exception:  # of the program's listener: the other connections go on
            logger.exception("%s was closed: the listener failed with it", address)
        finally:
            was_made = prepared.take() is None  # then it is for `_greet` to say that it is gone
            if not was_made:
                self.admission.gone(visitor)
        if scope.cancelled_caught and not self.closed:
            self._tell_refused(address, self._log_sent_away(address, visitor))
        elif not was_made:
            self._tell_refused(address, "closed")
            logger.info("%s: its listener is done with it, and has handed over no byte stream", address)

    async def prepared(self, stream: ByteStream) -> None:
        """As an `Acceptor`: begin a handshake."""
        scope, remote = CancelScope(), remote_of(stream)
        prepared = _preparing.get()
        visitor = (prepared and prepared.take()) or self.admission.enter(source_of(remote), scope.cancel)
        visitor.closed_by(scope.cancel)
        if remote is not None:
            visitor.comes_from(source_of(remote))
        address = address_of(remote, type(stream).__name__)
        await self._connection(given_stream(stream), address, scope, visitor)

    async def _connection(self, transport: Transport, address: str, scope: CancelScope, visitor: Visitor) -> None:
        """The life of one connection."""
        try:
            authenticated = await self._greet(transport, address, scope, visitor)
            if authenticated is not None:
                await self._host(authenticated, address)
        finally:
            self.seats.leave(visitor)

    async def _greet(
        self, transport: Transport, address: str, scope: CancelScope, visitor: Visitor
    ) -> Authenticated | None:
        """From the first byte to the welcome; None if there is none, and the connection was closed."""
        authenticated, is_back, told, why = None, False, False, "closed"
        try:
            with scope:
                if not await transport.readable():
                    why = "silent"
                    logger.info("%s was closed: it said nothing", address)
                elif self.admission.spoke(visitor, time.monotonic()):
                    authenticated = await self.authenticate(transport, address, visitor)
                    is_back = authenticated is None
                else:
                    await self._turn_away(transport)
                    told, why = True, "busy"
                    logger.info("%s was closed: too many handshakes of that address, of which many fail", address)
            if scope.cancelled_caught and not self.closed:
                why = self._log_sent_away(address, visitor)
        except Exception as exc:
            told, why = self._explain(exc, address, visitor), why_not(exc)
        finally:
            self.admission.gone(visitor)
            if authenticated is None and not is_back:
                await self._close(transport, address, visitor, why, told=told)
        return authenticated

    async def _turn_away(self, transport: Transport) -> None:
        await (turn_away(transport, self.statics) if self._side is None else self._side.turn_away(transport))

    async def _close(self, transport: Transport, address: str, visitor: Visitor, why: str, *, told: bool) -> None:
        """Close a connection of which nothing has come."""
        self._tell_refused(address, why)
        if not self.closed and self.admission.failed(visitor, time.monotonic()):
            logger.warning("%s: handshakes from there fail all the time, and come last for now", address)
        if not told:  # all failures look alike
            transport.reset_when_closed()
        await close_at_once(transport)

    def _tell_refused(self, address: str, why: str) -> None:
        if self._instruments is not None:
            self._instruments.tell(Instrument.connection_refused, address, why)

    def _log_sent_away(self, address: str, visitor: Visitor) -> str:
        """Say why a connection was closed; returns that as an instrument is told."""
        in_time = f"no handshake within {self._limits.handshake:g} s"
        why = "too many are in their handshake" if visitor.was_sent_away else in_time
        logger.info("%s was closed: %s", address, why)
        return "no-room" if visitor.was_sent_away else "timeout"

    async def authenticate(self, transport: Transport, address: str, visitor: Visitor) -> Authenticated | None:
        """Find out who it is, and whether we trust it; None if the connection belongs to a session that there is.

        Raises what the handshake raises, and `Unanswered`.
        """

        def admit(presented: Presented) -> Grant:
            try:
                grant = self.authority.admit(presented, clock.since_1970())
            except UntrustedPeer as exc:
                # Before the client is told: it may be slow to read that, and its time may end.
                why = f": {exc.advice}" if exc.advice else ""
                logger.warning("%s was refused: its key %s is not trusted%s", address, exc.fingerprint, why)
                raise
            listed = grant.issued is not None or presented.key in self.authority.trust.grants
            self.seats.take(visitor, presented.key, listed=listed)
            return grant

        if self._side is not None:
            found = await self._side.meet(transport)
            return await welcome(found, admit, self.returns.terms, needs_service=self._needs_service)
        met = await meet_either(transport, self.statics, self.prekeys, admit, self._limits)
        if isinstance(met, Authenticated):
            return met
        if met.resume is not None:
            await self.returns.take(met, met.resume, address)
            return None
        prekey = await self.prekeys.newest() if met.heard.wants_prekey else None
        return await welcome(met, admit, self.returns.terms, prekey, needs_service=self._needs_service)

    def _explain(self, problem: Exception, address: str, visitor: Visitor) -> bool:
        """Say in the log why there is no session. Returns whether the peer was told, too."""
        match problem:
            case UntrustedPeer():  # `authenticate` has said so
                return True
            case SessionClosed(code="gone" | "closed"):
                visitor.excuse()
                logger.info("%s was closed: the session that it comes back to is over", address)
                return True
            case SessionClosed():
                logger.warning("%s was closed: %s", address, problem)
                return True
            case Unanswered(fault=fault):
                if not fault:
                    visitor.excuse()
                logger.info("%s was closed: %s", address, problem)
            case anyio.BrokenResourceError():
                logger.info("%s was closed: the connection broke", address)
            case SessionError():
                logger.info("%s was closed: %s", address, problem)
            case _:  # raised by the signer of our identity
                visitor.excuse()
                logger.error("%s was closed: the handshake failed on this side", address, exc_info=problem)
        return False
