"""`listen` and `serve`: a listener, and the sessions that come out of it.

How a connection gets that far is the business of the `Greeter`. Sessions live in the listener's scope.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import NoneType
from typing import Any

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import Listener as AnyListener
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint

from chanlink.channels.waiting import Waiters
from chanlink.errors import ConfigError
from chanlink.limits import Limits
from chanlink.printing import printable_logger
from chanlink.security import suites
from chanlink.security.handshake import Authenticated
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.trust import Trust, watch
from chanlink.security.psk import Psk, load_psk
from chanlink.security.statics import Statics
from chanlink.tasks import tasks_beside
from chanlink.transport.address import parse_address
from chanlink.transport.listen import listening_sockets

from .arguments import expect
from .greeter import Greeter
from .peer import Peer
from .services import Services, check_services
from .session import Session

logger = printable_logger(__name__)


class Listener(AnyListener[Session]):
    """Accepts connections, authenticates them, and gives sessions. Made by `listen`."""

    def __init__(self, greeter: Greeter, services: Services | None, limits: Limits) -> None:
        self._greeter = greeter
        self._services = services
        self._limits = limits
        self._accepted: deque[Session] = deque()
        self._accepting = Waiters()
        self._sessions: set[Session] = set()

    @property
    def addresses(self) -> list[str]:
        """The addresses that it listens on, as `connect` takes them, with their real ports."""
        return self._greeter.addresses

    @property
    def sessions(self) -> list[Session]:
        """The sessions that are open now, also those that nobody has accepted."""
        return list(self._sessions)

    async def accept(self) -> Session:
        """The next authenticated session. Raises `anyio.ClosedResourceError` once the listener is closed.

        The session lives until one side closes it, or until the listener's block is left. Raises `ConfigError` when
        the listener was made with ``services``: then it serves its sessions by itself.
        """
        await checkpoint()
        self._check_gives_sessions()
        while not self._greeter.closed:
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
        if self._services is not None:
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
        self._greeter.stop()
        self._accepting.wake_all()

    async def _live(self, authenticated: Authenticated, address: str) -> None:
        """A session, from the welcome on."""
        peer = Peer(authenticated.key, authenticated.grant.name, address)
        suite = authenticated.stream.suite
        logger.info("%s connected from %s with %s (%s)", peer.name, address, authenticated.key.fingerprint, suite)
        session = Session(
            authenticated.stream,
            client_side=False,
            peer=peer,
            limits=self._limits,
            peer_limits=authenticated.peer_limits,
            services=self._services,
            allows=authenticated.grant.allows,
            round_trip=authenticated.round_trip,
        )
        try:
            async with session:
                self._regrant(session)  # the trust may have changed since the client came
                await self._keep(session)
        except Exception:  # a defect of ours: the other sessions go on
            logger.exception("the session with %s at %s failed", peer.name, address)

    async def _keep(self, session: Session) -> None:
        """Keep a session until it is over, or until the listener is."""
        if self._greeter.closed:
            return
        self._sessions.add(session)
        try:
            if self._services is None:
                self._accepted.append(session)
                self._accepting.wake()
            await session.wait_closed()
        finally:
            self._sessions.discard(session)
            if session in self._accepted:  # nobody wants it any more
                self._accepted.remove(session)

    def _trust_changed(self, trust: Trust) -> None:
        """The trust file says something else now: what it does not allow any more is cut."""
        self._greeter.change_trust(trust)
        for session in self._sessions:
            self._regrant(session)

    def _regrant(self, session: Session) -> None:
        assert session.peer.key is not None
        grant = self._greeter.trust.check(session.peer.key)
        if grant is not None and grant.name != session.peer.name:
            logger.info("%s at %s is called %s from now on", session.peer.name, session.peer.address, grant.name)
        session._regrant(grant)

    @property
    def extra_attributes(self) -> Any:
        """None."""
        return {}


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
    by an exception, they are ended. With a ``psk`` (32 bytes, or a file with them) anyone who lacks it gets no answer.
    Raises `ConnectFailed` when the address can't be listened on, or a `ConfigError`.
    """
    expect("identity", identity, Identity, NoneType)
    expect("trust", trust, Trust)
    check_services(services)
    limits = limits or Limits()
    parsed = parse_address(address)
    suites.offer()  # what is wrong with CHANLINK_SUITES is said here, and the first client need not wait for it
    statics = Statics(identity or Identity.default(), Role.SERVER, load_psk(psk))
    greeter = Greeter(await listening_sockets(parsed), statics, trust, limits)
    listener = Listener(greeter, services, limits)
    async with tasks_beside() as tasks:
        greeter.start(tasks, listener._live)
        tasks.start_soon(watch, trust, limits.trust_interval, listener._trust_changed)
        try:
            yield listener
            await listener.aclose()
        finally:
            tasks.cancel_scope.cancel()
            listener._stop()


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
    """Serve services, by name, until cancelled. ``task_status.started`` gets the `Listener`.

    A service is ``async def service(receiver, peer)``, or ``streams(service)`` for one that takes byte streams. Each
    channel that a peer opens to it runs in a task of its own. When the service returns, its end is closed (``done``);
    an exception is logged, tells the peer ``handler-failed``, and touches nothing else. So does `SystemExit`, unless
    it is of a task that the service started (asyncio ends its event loop then); `KeyboardInterrupt` ends all.
    Otherwise as `listen`.
    """
    async with listen(address, identity=identity, trust=trust, services=services, limits=limits, psk=psk) as listener:
        task_status.started(listener)
        await anyio.sleep_forever()
