"""`listen` and `serve`: from an address to sessions.

A listener's accept loop never stops, and one task per connection does the rest: the handshake within its time, then
the session's life. Sessions live in the listener's scope.
"""

import errno
import socket
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from types import NoneType
from typing import Any

import anyio
from anyio import TASK_STATUS_IGNORED, CancelScope
from anyio.abc import Listener as AnyListener
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint

from chanlink.channels.waiting import Waiters
from chanlink.errors import (
    ConfigError,
    SessionClosed,
    SessionError,
    UntrustedPeer,
)
from chanlink.limits import Bucket, Limits
from chanlink.printing import printable_logger
from chanlink.security import suites
from chanlink.security.admission import STEPS, Admission, Seats, Visitor, source_of
from chanlink.security.handshake import Credentials, Secured, handshake_as_server, turn_away
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.trust import Grant, Trust, watch
from chanlink.security.psk import Psk, load_psk
from chanlink.transport.address import Address, parse_address
from chanlink.transport.listen import ListeningSockets, listening_sockets
from chanlink.transport.sockets import SocketTransport

from .arguments import expect
from .connecting import close_at_once
from .peer import Peer
from .services import Services, check_services
from .session import Session

logger = printable_logger(__name__)

_OF_ONE_CONNECTION = (
    errno.ECONNABORTED,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
)
"""Errors of accept(2) that concern a connection which is over already: the next one may be a good one."""


class Listener(AnyListener[Session]):
    """Accepts connections, authenticates them, and gives sessions.  Made by `listen`."""

    def __init__(self, sockets: ListeningSockets, greeter: "_Greeter", limits: Limits, tasks: TaskGroup) -> None:
        self._sockets = sockets
        self._greeter = greeter
        self._limits = limits
        self._tasks = tasks
        self._accepted: deque[Session] = deque()
        self._accepting = Waiters()
        self._greeting = Admission(limits)
        self._seats = Seats(limits)
        self._sessions: set[Session] = set()
        self._closed = False

    @property
    def addresses(self) -> list[str]:
        """The addresses that it listens on, as `connect` takes them, with their real ports."""
        return list(self._sockets.addresses)

    @property
    def sessions(self) -> list[Session]:
        """The sessions that are open now, also those that nobody has accepted."""
        return list(self._sessions)

    async def accept(self) -> Session:
        """The next authenticated session.  Raises `anyio.ClosedResourceError` once the listener is closed.

        The session lives until one side closes it, or until the listener's block is left. Raises `ConfigError` when
        the listener was made with ``services``: then it serves its sessions by itself.
        """
        await checkpoint()
        self._check_gives_sessions()
        while not self._closed:
            if self._accepted:
                return self._accepted.popleft()
            await self._accepting.wait()
        raise anyio.ClosedResourceError

    async def serve(self, handler: Callable[[Session], Any], task_group: TaskGroup | None = None) -> None:
        """Call ``handler(session)`` in a task of its own for every session, until cancelled.

        The tasks are started in ``task_group``, if it is given. An exception of a handler ends that group, or this
        call: catch in the handler what concerns only its peer. Raises `ConfigError` as `accept` does.
        """
        self._check_gives_sessions()
        async with AsyncExitStack() as stack:
            if task_group is None:
                task_group = await stack.enter_async_context(anyio.create_task_group())
            while True:
                task_group.start_soon(handler, await self.accept())

    def _check_gives_sessions(self) -> None:
        if self._greeter.services is not None:
            raise ConfigError(
                "this listener was made with services, and serves its sessions by itself: accept and serve would wait"
                " for ever; leave services away, or see Listener.sessions"
            )

    async def aclose(self) -> None:
        """Accept no more, and close the sessions in order."""
        self._stop()
        async with anyio.create_task_group() as tasks:
            for session in list(self._sessions):
                tasks.start_soon(session.aclose)

    def _stop(self) -> None:
        if not self._closed:
            self._closed = True
            self._sockets.close()
            self._accepting.wake_all()
            for visitor in self._greeting:
                visitor.leave()

    def _start(self) -> None:
        """Begin to accept connections."""
        for sock in self._sockets.sockets:
            self._tasks.start_soon(self._accept_loop, sock)
        self._tasks.start_soon(self._keep_time)

    async def _keep_time(self) -> None:
        """End the handshakes that take too long."""
        while True:
            await anyio.sleep(self._limits.handshake / STEPS)
            self._greeting.step()

    async def _accept_loop(self, sock: socket.socket) -> None:
        """Accept connections until the listener is closed; nothing that a peer does ends this."""
        complaints = Bucket(1, 1.0)
        while True:
            try:
                connection, address = sock.accept()
            except BlockingIOError:
                try:
                    await anyio.wait_readable(sock)
                except anyio.ClosedResourceError:
                    return
            except OSError as exc:
                if self._closed or sock.fileno() < 0:  # the latter in a forked child
                    return
                if exc.errno not in _OF_ONE_CONNECTION:  # too many open files, no memory: one who is silent has to go
                    if complaints.take(time.monotonic()):
                        logger.warning("can't accept connections: %s", exc.strerror)
                    await anyio.sleep(0.01 if self._greeting.send_one_away() else 0.1)
            else:
                self._meet(connection, address)
            await checkpoint()  # who connects faster than we accept must not keep all else from running

    def _meet(self, connection: socket.socket, address: Any) -> None:
        """Somebody has connected: begin a handshake."""
        scope = CancelScope()
        visitor = self._greeting.enter(source_of(address), scope.cancel)
        self._tasks.start_soon(self._connection, connection, _source(address), scope, visitor)

    async def _connection(self, connection: socket.socket, source: str, scope: CancelScope, visitor: Visitor) -> None:
        """The life of one connection."""
        try:
            secured = await self._greet(connection, source, scope, visitor)
            if secured is not None:
                await self._live(secured, source)
        finally:
            self._seats.leave(visitor)

    async def _live(self, secured: Secured, source: str) -> None:
        """A session, from the welcome on."""
        peer = Peer(secured.key, secured.grant.name, source)
        suite = secured.stream.suite
        logger.info("%s connected from %s with %s (%s)", peer.name, source, secured.key.fingerprint, suite)
        session = Session(
            secured.stream,
            client_side=False,
            peer=peer,
            limits=self._limits,
            peer_limits=secured.peer_limits,
            services=self._greeter.services,
            allows=secured.grant.allows,
            round_trip=secured.round_trip,
        )
        try:
            async with session:
                self._regrant(session)  # the trust may have changed since the client came
                await self._host(session)
        except Exception:  # a defect of ours: the other sessions go on
            logger.exception("the session with %s at %s failed", peer.name, source)

    async def _host(self, session: Session) -> None:
        """Keep a session until it is over, or until the listener is."""
        if self._closed:
            return
        self._sessions.add(session)
        try:
            if self._greeter.services is None:
                self._accepted.append(session)
                self._accepting.wake()
            await session.wait_closed()
        finally:
            self._sessions.discard(session)
            if session in self._accepted:  # nobody wants it any more
                self._accepted.remove(session)

    def _trust_changed(self, trust: Trust) -> None:
        """The trust file says something else now: what it does not allow any more is cut."""
        self._greeter.trust = trust
        for session in self._sessions:
            self._regrant(session)

    def _regrant(self, session: Session) -> None:
        assert session.peer.key is not None
        grant = self._greeter.trust.check(session.peer.key)
        if grant is not None and grant.name != session.peer.name:
            logger.info("%s at %s is called %s from now on", session.peer.name, session.peer.address, grant.name)
        session.regrant(grant)

    async def _greet(
        self, connection: socket.socket, source: str, scope: CancelScope, visitor: Visitor
    ) -> Secured | None:
        transport = SocketTransport(connection)
        secured = None
        told = False
        try:
            with scope:
                if not await transport.readable():
                    logger.info("%s was closed: it said nothing", source)
                elif self._greeting.spoke(visitor, time.monotonic()):
                    secured = await self._greeter.greet(transport, source, partial(self._seats.take, visitor))
                else:
                    await self._greeter.turn_away(transport)
                    told = True
                    logger.info("%s was closed: too many handshakes of that address, of which many fail", source)
            if scope.cancelled_caught and not self._closed:
                in_time = f"no handshake within {self._limits.handshake:g} s"
                why = "too many are in their handshake" if visitor.was_sent_away else in_time
                logger.info("%s was closed: %s", source, why)
        except UntrustedPeer:
            told = True  # and the greeter has logged it
        except SessionClosed as exc:
            told = True
            logger.warning("%s was closed: %s", source, exc)
        except anyio.BrokenResourceError:
            logger.info("%s was closed: the connection broke", source)
        except SessionError as exc:
            logger.info("%s was closed: %s", source, exc)
        except Exception:  # of who signs for our identity
            visitor.blameless = True
            logger.exception("%s was closed: the handshake failed on this side", source)
        finally:
            self._greeting.left(visitor)
            if secured is None and not self._closed and self._greeting.failed(visitor, time.monotonic()):
                logger.warning("%s: handshakes from there fail all the time, and come last for now", source)
            if secured is None:
                if not told:  # all failures look alike
                    transport.reset_when_closed()
                await close_at_once(transport)
        return secured

    @property
    def extra_attributes(self) -> Any:
        return {}


class _Greeter:
    """What every connection of a listener is met with."""

    def __init__(
        self, identity: Identity, trust: Trust, limits: Limits, services: Services | None, psk: Psk | None
    ) -> None:
        suites.offer()  # what is wrong with CHANLINK_SUITES is said here, and the first client need not wait for it
        self._credentials = Credentials(identity, Role.SERVER, load_psk(psk))
        self.trust = trust
        self._limits = limits
        self.services = services

    async def greet(self, transport: SocketTransport, source: str, seat: Callable[..., None]) -> Secured:
        def admit(key: PublicKey) -> Grant:
            grant = self.trust.check(key)
            if grant is None:
                # Before the client is told: it may be slow to read that, and its time may end.
                logger.warning("%s was refused: its key %s is not trusted", source, key.fingerprint)
                raise UntrustedPeer(key.fingerprint)
            seat(key, listed=key in self.trust.grants)
            return grant

        return await handshake_as_server(transport, self._credentials, admit, self._limits)

    async def turn_away(self, transport: SocketTransport) -> None:
        await turn_away(transport, self._credentials)


@asynccontextmanager
async def listen(
    address: str,
    *,
    identity: Identity | None = None,
    trust: Trust,
    services: Services | None = None,
    limits: Limits | None = None,
    psk: Psk | None = None,
) -> AsyncGenerator[Listener, None]:
    """Listen on ``tcp://host:port`` or ``unix:/path``: an async context manager that gives a `Listener`.

    ``trust`` says who may connect; when the file that it was loaded from has changed, sessions and channels that it
    does not allow any more end as ``revoked``. ``services`` are served on every session; without them, and only then,
    sessions come out of `Listener.accept` and `Listener.serve`. Left normally, the sessions are closed in order; left
    by an exception, they are ended. With a ``psk`` (32 bytes, or a file with them) who lacks it gets no answer. Raises
    `ConnectFailed` when the address can't be listened on, or a `ConfigError`.
    """
    expect("identity", identity, Identity, NoneType)
    expect("trust", trust, Trust)
    check_services(services)
    limits = limits or Limits()
    parsed = parse_address(address)
    greeter = _Greeter(identity or Identity.default(), trust, limits, services, psk)
    sockets = await listening_sockets(parsed)
    error: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        listener = Listener(sockets, greeter, limits, tasks)
        listener._start()
        tasks.start_soon(watch, trust, limits.trust_interval, listener._trust_changed)
        try:
            yield listener
            await listener.aclose()
        # Caught here and raised below: a task group would wrap the caller's exception in a group.
        except BaseException as exc:
            error = exc
        tasks.cancel_scope.cancel()
        listener._stop()
    if error is not None:
        raise error


async def serve(
    services: Services,
    address: str,
    *,
    identity: Identity | None = None,
    trust: Trust,
    limits: Limits | None = None,
    psk: Psk | None = None,
    task_status: TaskStatus[Listener] = TASK_STATUS_IGNORED,
) -> None:
    """Serve services, by name, until cancelled.  ``task_status.started`` gets the `Listener`.

    A service is ``async def service(receiver, peer)``, or ``streams(service)`` for one that takes byte streams. Each
    channel that a peer opens to it runs in a task of its own. When the service returns, its end is closed (``done``);
    an exception is logged, tells the peer ``handler-failed``, and touches nothing else. So does `SystemExit`, unless
    it is of a task that the service started (asyncio ends its event loop then); `KeyboardInterrupt` ends all.
    Otherwise as `listen`.
    """
    async with listen(address, identity=identity, trust=trust, services=services, limits=limits, psk=psk) as listener:
        task_status.started(listener)
        await anyio.sleep_forever()


def _source(address: Any) -> str:
    if not isinstance(address, tuple):
        return "a local process"
    return str(Address.of(address)).removeprefix("tcp://")
