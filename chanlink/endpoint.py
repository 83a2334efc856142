"""Endpoints: `connect`, `listen`, `serve`.  Address -> byte stream -> `NoiseStream` -> `Session`.

A listener's accept loop never stops, and one task per connection does the rest: the handshake within its time, then
the session's life. Sessions live in the listener's scope.
"""

import errno
import logging
import socket
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import anyio
from anyio import TASK_STATUS_IGNORED, CancelScope
from anyio.abc import ByteStream, ByteStreamConnectable, TaskGroup, TaskStatus
from anyio.abc import Listener as AnyListener
from anyio.lowlevel import checkpoint

from .errors import (
    ConfigError,
    ConnectFailed,
    HandshakeTimeout,
    SessionError,
    UntrustedPeer,
    WrongPeer,
)
from .identity import Identity, Role
from .limits import Limits
from .openssh import PublicKey
from .secure import Admit, Credentials, Secured, handshake_as_client, handshake_as_server
from .session import Peer, Services, Session
from .sockets import ListeningSockets, RawStream, connect_socket, listening_sockets, parse_address
from .trust import Grant, Trust
from .waiting import Waiters

logger = logging.getLogger("chanlink")

Connectable = str | ByteStream | ByteStreamConnectable

_OF_ONE_CONNECTION = (
    errno.ECONNABORTED,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
)
"""Errors of accept(2) that concern a connection which is over already: the next one may be a good one."""


# --- connecting ---------------------------------------------------------------------------------


@asynccontextmanager
async def connect(
    address: Connectable,
    *,
    identity: Identity | None = None,
    peer: PublicKey | None = None,
    trust: Trust | None = None,
    services: Services | None = None,
    timeout: float = 10.0,
    limits: Limits | None = None,
    eager: bool = False,
) -> AsyncGenerator[Session, None]:
    """Connect to a listener and open a session: an async context manager that gives a `Session`.

    ``address`` is ``tcp://host:port`` (the port is 9323 if none is given), ``unix:/path``, or an anyio byte stream or
    connectable. ``identity`` is who we are, `Identity.default` if none is given. ``peer`` is the server's public key;
    ``trust`` may be given instead, and then any server with a key in it will do. ``services`` are served to the
    other side; with a ``trust``, those that it allows. ``timeout`` (seconds) is for everything until the server's
    welcome. With ``eager`` the block begins one round trip earlier, and a refusal is then the error that ends the
    session.

    Raises `ConnectFailed`, `HandshakeTimeout`, `WrongPeer` (the server has another key), `UntrustedPeer` (one side
    does not trust the other's key), `HandshakeError`, `SessionClosed` (the server is busy), or a `ConfigError`. An
    exception of the block leaves it as it is.
    """
    if peer is None and trust is None:
        raise ConfigError("say which server you expect: peer=PublicKey.parse('ssh-ed25519 ...')")
    limits = limits or Limits()
    credentials = Credentials(identity or Identity.default(), Role.CLIENT)
    admit = partial(_admit_server, peer, trust)
    progress: SessionError = ConnectFailed(f"{_name(address)}: no answer within {timeout:g} s")
    try:
        with anyio.fail_after(timeout):
            transport = await _transport(address)
            progress = HandshakeTimeout(f"{_name(address)}: the handshake did not end within {timeout:g} s")
            secured = await _authenticate(transport, credentials, admit, limits, eager)
    except TimeoutError as exc:
        raise progress from exc
    session = Session(
        secured.stream,
        client_side=True,
        peer=Peer(secured.key, secured.grant.name, _name(address)),
        limits=limits,
        peer_limits=secured.peer_limits,
        services=services,
        allows=secured.grant.allows,
        round_trip=secured.round_trip,
    )
    async with session:
        yield session


def _admit_server(peer: PublicKey | None, trust: Trust | None, key: PublicKey) -> Grant:
    """What the server with this key may do.  Of `peer` and `trust`, what is given must agree to it."""
    if peer is not None and key != peer:
        raise WrongPeer(peer.fingerprint, key.fingerprint)
    if trust is None:
        assert peer is not None
        return Grant(peer.comment or peer.fingerprint, None)
    grant = trust.check(key)
    if grant is None:
        raise UntrustedPeer(key.fingerprint)
    return grant


async def _transport(address: Connectable) -> ByteStream:
    if isinstance(address, ByteStream):
        return address
    if isinstance(address, ByteStreamConnectable):
        try:
            return await address.connect()
        except OSError as exc:
            raise ConnectFailed(f"{_name(address)}: {exc}") from exc
    return await connect_socket(parse_address(address))


async def _authenticate(
    transport: ByteStream, credentials: Credentials, admit: Admit, limits: Limits, eager: bool
) -> Secured:
    try:
        return await handshake_as_client(
            transport, credentials, admit, limits, upgrade=_upgrade(transport), eager=eager
        )
    except BaseException:
        with CancelScope(shield=True):
            await anyio.aclose_forcefully(transport)
        raise


def _upgrade(transport: ByteStream) -> Callable[[], Awaitable[ByteStream]] | None:
    return transport.upgrade if isinstance(transport, RawStream) else None


def _name(address: Connectable) -> str:
    return address if isinstance(address, str) else type(address).__name__


# --- listening ----------------------------------------------------------------------------------


class Listener(AnyListener[Session]):
    """Accepts connections, authenticates them, and gives sessions.  Made by `listen`."""

    def __init__(self, sockets: ListeningSockets, greeter: "_Greeter", limits: Limits, tasks: TaskGroup) -> None:
        self._sockets = sockets
        self._greeter = greeter
        self._limits = limits
        self._tasks = tasks
        self._accepted: deque[Session] = deque()
        self._accepting = Waiters()
        self._greeting: dict[CancelScope, None] = {}  # the oldest first
        self._sessions: set[Session] = set()
        self._closed = False

    @property
    def addresses(self) -> list[str]:
        """The addresses that it listens on, as `connect` takes them, with their real ports."""
        return list(self._sockets.addresses)

    async def accept(self) -> Session:
        """The next authenticated session.  Raises `anyio.ClosedResourceError` once the listener is closed.

        The session lives until one side closes it, or until the listener's block is left.
        """
        await checkpoint()
        while not self._closed:
            if self._accepted:
                return self._accepted.popleft()
            await self._accepting.wait()
        raise anyio.ClosedResourceError

    async def serve(self, handler: Callable[[Session], Any], task_group: TaskGroup | None = None) -> None:
        """Call ``handler(session)`` in a task of its own for every session, until cancelled.

        The tasks are started in ``task_group``, if it is given. An exception of a handler ends that group, or this
        call: catch in the handler what concerns only its peer.
        """
        async with AsyncExitStack() as stack:
            if task_group is None:
                task_group = await stack.enter_async_context(anyio.create_task_group())
            while True:
                task_group.start_soon(handler, await self.accept())

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
            for scope in self._greeting:
                scope.cancel()

    def _start(self) -> None:
        """Begin to accept connections."""
        for sock in self._sockets.sockets:
            self._tasks.start_soon(self._accept_loop, sock)

    async def _accept_loop(self, sock: socket.socket) -> None:
        """Accept connections until the listener is closed; nothing that a peer does ends this."""
        while True:
            try:
                connection, source = sock.accept()
            except BlockingIOError:
                try:
                    await anyio.wait_readable(sock)
                except anyio.ClosedResourceError:
                    return
            except OSError as exc:
                if self._closed:
                    return
                if exc.errno not in _OF_ONE_CONNECTION:  # too many open files, no memory: wait until some are closed
                    logger.warning("can't accept connections: %s", exc.strerror)
                    await anyio.sleep(0.1)
            else:
                self._tasks.start_soon(self._connection, connection, _source(source), self._make_room())
            await checkpoint()  # who connects faster than we accept must not keep all else from running

    def _make_room(self) -> CancelScope:
        """The scope of one more handshake.  Of too many strangers the one goes that has been here longest."""
        if self._greeting and len(self._greeting) >= self._limits.unauthenticated:
            oldest = next(iter(self._greeting))
            del self._greeting[oldest]  # here, not when it has gone: the next one to go is another one
            oldest.cancel()
        scope = CancelScope()
        self._greeting[scope] = None
        return scope

    async def _connection(self, connection: socket.socket, source: str, scope: CancelScope) -> None:
        """The life of one connection."""
        secured = await self._greet(connection, source, scope)
        if secured is None:
            return
        peer = Peer(secured.key, secured.grant.name, source)
        logger.info("%s connected from %s with %s", peer.name, source, secured.key.fingerprint)
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

    async def _greet(self, connection: socket.socket, source: str, scope: CancelScope) -> Secured | None:
        transport = RawStream(connection)
        secured = None
        try:
            with scope, anyio.fail_after(self._limits.handshake):
                secured = await self._greeter.greet(transport, source)
            if scope.cancelled_caught and not self._closed:
                logger.info("%s was closed: too many are in their handshake", source)
        except UntrustedPeer:
            pass  # the greeter has logged it
        except TimeoutError:
            logger.info("%s was closed: no handshake within %g s", source, self._limits.handshake)
        except SessionError as exc:
            logger.info("%s was closed: %s", source, exc)
        except Exception:  # of who signs for our identity
            logger.exception("%s was closed: the handshake failed on this side", source)
        finally:
            self._greeting.pop(scope, None)
            if secured is None:
                with CancelScope(shield=True):
                    await anyio.aclose_forcefully(transport)
        return secured

    @property
    def extra_attributes(self) -> Any:
        return {}


class _Greeter:
    """What every connection of a listener is met with."""

    def __init__(self, identity: Identity, trust: Trust, limits: Limits, services: Services | None) -> None:
        self._credentials = Credentials(identity, Role.SERVER)
        self._trust = trust
        self._limits = limits
        self.services = services

    async def greet(self, transport: RawStream, source: str) -> Secured:
        def admit(key: PublicKey) -> Grant:
            grant = self._trust.check(key)
            if grant is None:
                # Before the client is told: it may be slow to read that, and its time may end.
                logger.warning("%s was refused: its key %s is not trusted", source, key.fingerprint)
                raise UntrustedPeer(key.fingerprint)
            return grant

        return await handshake_as_server(transport, self._credentials, admit, self._limits, upgrade=transport.upgrade)


@asynccontextmanager
async def listen(
    address: str,
    *,
    identity: Identity | None = None,
    trust: Trust,
    services: Services | None = None,
    limits: Limits | None = None,
) -> AsyncGenerator[Listener, None]:
    """Listen on ``tcp://host:port`` or ``unix:/path``: an async context manager that gives a `Listener`.

    ``trust`` says who may connect. ``services`` are served on every session; without them, sessions come out of
    `Listener.accept` and `Listener.serve`. Left normally, the sessions are closed in order; left by an exception,
    they are ended. Raises `ConnectFailed` when the address can't be listened on.
    """
    limits = limits or Limits()
    parsed = parse_address(address)
    greeter = _Greeter(identity or Identity.default(), trust, limits, services)
    sockets = await listening_sockets(parsed)
    error: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        listener = Listener(sockets, greeter, limits, tasks)
        listener._start()
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
    task_status: TaskStatus[Listener] = TASK_STATUS_IGNORED,
) -> None:
    """Serve services, by name, until cancelled.  ``task_status.started`` gets the `Listener`.

    A service is ``async def service(receiver, peer)``, or ``streams(service)`` for one that takes byte streams. Each
    channel that a peer opens to it runs in a task of its own. When the service returns, its end is closed (``done``);
    an exception is logged, tells the peer ``handler-failed``, and touches nothing else. Otherwise as `listen`.
    """
    async with listen(address, identity=identity, trust=trust, services=services, limits=limits) as listener:
        task_status.started(listener)
        await anyio.sleep_forever()


def _source(address: Any) -> str:
    if not isinstance(address, tuple):
        return "a local process"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
