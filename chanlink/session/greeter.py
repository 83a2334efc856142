"""What every connection of a listener is met with: a handshake, which has to end in time.

The accept loops never stop, and one task per connection does the rest: first it finds out who the peer is, then it
is the host's, for the life of the session. Who may be in a handshake at a time, and how many sessions may come of it,
is the business of `admission`.
"""

import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from anyio import CancelScope
from anyio.abc import TaskGroup

from chanlink.errors import SessionClosed, SessionError, UntrustedPeer
from chanlink.limits import STEPS, Bucket, Limits
from chanlink.printing import printable_logger
from chanlink.security.admission import Admission, Seats, Visitor, source_of
from chanlink.security.handshake import Authenticated, handshake_as_server, turn_away
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.trust import Grant, Trust
from chanlink.security.statics import Statics
from chanlink.transport.accepting import accept_each
from chanlink.transport.address import Address
from chanlink.transport.base import close_at_once
from chanlink.transport.listen import ListeningSockets
from chanlink.transport.sockets import SocketTransport

logger = printable_logger(__name__)

Host = Callable[[Authenticated, str], Awaitable[None]]
"""What lives with an authenticated peer, from this address, until its session is over."""


class Greeter:
    """Meets every connection of a listener: it gets a session, or is closed."""

    def __init__(self, sockets: ListeningSockets, statics: Statics, trust: Trust, limits: Limits) -> None:
        self.sockets = sockets
        self.trust = trust
        """Who may connect."""
        self.admission = Admission(limits)
        self.seats = Seats(limits)
        self.closed = False
        self.statics = statics
        self._limits = limits
        self._complaints = Bucket(1, 1.0)
        self._tasks: TaskGroup
        self._host: Host

    @property
    def addresses(self) -> list[str]:
        """The addresses that it listens on, with their real ports."""
        return list(self.sockets.addresses)

    def start(self, tasks: TaskGroup, host: Host) -> None:
        """Begin to accept connections."""
        self._tasks, self._host = tasks, host
        for sock in self.sockets.sockets:
            tasks.start_soon(accept_each, sock, self._meet, self._make_room)
        tasks.start_soon(self._keep_time)

    def change_trust(self, trust: Trust) -> None:
        """The file says something else from now on."""
        self.trust = trust

    def stop(self) -> None:
        """Accept no more, and close the connections that are still in their handshake."""
        if not self.closed:
            self.closed = True
            self.sockets.close()
            for visitor in self.admission:
                visitor.close()

    async def _keep_time(self) -> None:
        """End the handshakes that take too long."""
        while True:
            await anyio.sleep(self._limits.handshake / STEPS)
            self.admission.step()

    def _make_room(self, problem: OSError) -> float:
        """Nothing more can be opened: a connection that is silent has to go."""
        if self._complaints.take(time.monotonic()):
            logger.warning("can't accept connections: %s", problem.strerror)
        return 0.01 if self.admission.send_one_away() else 0.1

    def _meet(self, connection: socket.socket, address: Any) -> None:
        """Somebody has connected: begin a handshake."""
        scope = CancelScope()
        visitor = self.admission.enter(source_of(address), scope.cancel)
        self._tasks.start_soon(self._connection, SocketTransport(connection), _text(address), scope, visitor)

    async def _connection(self, transport: SocketTransport, address: str, scope: CancelScope, visitor: Visitor) -> None:
        """The life of one connection."""
        try:
            authenticated = await self._greet(transport, address, scope, visitor)
            if authenticated is not None:
                await self._host(authenticated, address)
        finally:
            self.seats.leave(visitor)

    async def _greet(
        self, transport: SocketTransport, address: str, scope: CancelScope, visitor: Visitor
    ) -> Authenticated | None:
        """From the first byte to the welcome; None if there is none, and the connection was closed."""
        authenticated, told = None, False
        try:
            with scope:
                if not await transport.readable():
                    logger.info("%s was closed: it said nothing", address)
                elif self.admission.spoke(visitor, time.monotonic()):
                    authenticated = await self.authenticate(transport, address, visitor)
                else:
                    await turn_away(transport, self.statics)
                    told = True
                    logger.info("%s was closed: too many handshakes of that address, of which many fail", address)
            if scope.cancelled_caught and not self.closed:
                in_time = f"no handshake within {self._limits.handshake:g} s"
                why = "too many are in their handshake" if visitor.was_sent_away else in_time
                logger.info("%s was closed: %s", address, why)
        except Exception as exc:
            told = self._explain(exc, address, visitor)
        finally:
            self.admission.gone(visitor)
            if authenticated is None and not self.closed and self.admission.failed(visitor, time.monotonic()):
                logger.warning("%s: handshakes from there fail all the time, and come last for now", address)
            if authenticated is None:
                if not told:  # all failures look alike
                    transport.reset_when_closed()
                await close_at_once(transport)
        return authenticated

    async def authenticate(self, transport: SocketTransport, address: str, visitor: Visitor) -> Authenticated:
        """Find out who it is, and whether we trust it. Raises what the handshake raises."""

        def admit(key: PublicKey) -> Grant:
            grant = self.trust.check(key)
            if grant is None:
                # Before the client is told: it may be slow to read that, and its time may end.
                logger.warning("%s was refused: its key %s is not trusted", address, key.fingerprint)
                raise UntrustedPeer(key.fingerprint)
            self.seats.take(visitor, key, listed=key in self.trust.grants)
            return grant

        return await handshake_as_server(transport, self.statics, admit, self._limits)

    def _explain(self, problem: Exception, address: str, visitor: Visitor) -> bool:
        """Say in the log why there is no session. Returns whether the peer was told, too."""
        match problem:
            case UntrustedPeer():  # `authenticate` has said so
                return True
            case SessionClosed():
                logger.warning("%s was closed: %s", address, problem)
                return True
            case anyio.BrokenResourceError():
                logger.info("%s was closed: the connection broke", address)
            case SessionError():
                logger.info("%s was closed: %s", address, problem)
            case _:  # raised by the signer of our identity
                visitor.excuse()
                logger.error("%s was closed: the handshake failed on this side", address, exc_info=problem)
        return False


def _text(address: Any) -> str:
    """The address of a peer, for logs and for `Peer.address`."""
    if not isinstance(address, tuple):
        return "a local process"
    return str(Address.of(address)).removeprefix("tcp://")
