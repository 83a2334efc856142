"""`listen` and `serve`: a listener, and the sessions that come out of it.

How a connection gets that far is the business of the `Greeter`. Sessions live in the listener's scope.
"""

import os
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from signal import Signals
from types import NoneType
from typing import Any, NamedTuple, Protocol, overload, runtime_checkable

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import ByteStream as AnyByteStream
from anyio.abc import Listener as AnyListener
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint

from chanlink.arguments import expect, expect_function
from chanlink.channels.waiting import Waiters
from chanlink.errors import ConfigError, SessionClosed, SessionError
from chanlink.handover.local import Advertised
from chanlink.instrument import Instrument, Instruments, told
from chanlink.limits import Limits
from chanlink.printing import printable, printable_logger
from chanlink.security import suites
from chanlink.security.handshake import Authenticated
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.trust import Trust
from chanlink.security.psk import Psk, load_psk
from chanlink.security.security import Security, check_security, side_of
from chanlink.security.statics import Statics
from chanlink.tasks import tasks_beside
from chanlink.transport.address import Address
from chanlink.transport.carried import CarrierListener
from chanlink.transport.listening_at import listening_at, parse_listenable

from .greeter import Greeter
from .local_listening import LocalGreeter
from .services import Services, check_services
from .session import Session, session_with
from .signals import received, stop_on
from .vouching import Vouching, authority_of

logger = printable_logger(__name__)

Listenable = str | CarrierListener | AnyListener[AnyByteStream]
"""Where to listen: an address, what stands for one, or a listener that the program has made."""
_BY_DAEMON = (
    "identity, trust, psk, revoked, shared and security don't go with Advertised: the daemon has the keys, and listens"
)


@runtime_checkable
class Registering(Protocol):
    """What tells others where a listener is: what `serve` needs of a registration in a directory."""

    def keeping(
        self, listener: "Listener", identity: Identity | None, services: Services
    ) -> AbstractAsyncContextManager[None]:
        """Keep others told in this block."""

    async def leave(self) -> None:
        """The listener takes no more sessions: tell nobody any more. Returns soon in any case, and never raises."""


class _Kept(NamedTuple):
    """What a listener knows of a session that is open."""

    done: anyio.Event
    """That its owner is done with it."""
    vouching: Vouching


class Listener(AnyListener[Session]):
    """Accepts connections, authenticates them, and gives sessions. Made by `listen`."""

    def __init__(
        self,
        greeter: Greeter | LocalGreeter,
        services: Services | None,
        limits: Limits,
        instruments: Instruments | None,
    ) -> None:
        self._greeter = greeter
        self._instruments = instruments
        self._services = services
        self._limits = limits
        self._accepted: deque[Session] = deque()
        self._accepting = Waiters()
        self._drains = False
        self._sessions: dict[Session, _Kept] = {}
        """Those that are open."""

    def __repr__(self) -> str:
        state = "closed" if self._greeter.closed else "draining" if self._drains else "open"
        return printable(f"<Listener on {', '.join(self.addresses)}: {state}, sessions {len(self._sessions)}>")

    @property
    def addresses(self) -> list[str]:
        """The addresses that it listens on, as `connect` takes them, with their real ports."""
        return self._greeter.addresses

    @property
    def sessions(self) -> list[Session]:
        """The sessions that are open now, also those that nobody has accepted."""
        return list(self._sessions)

    async def accept(self) -> Session:
        """The next authenticated session. Raises `anyio.ClosedResourceError` once the listener is closed, or drains.

        The session lives until one side closes it, or until the listener's block is left. Raises `ConfigError` when
        the listener was made with ``services``: then it serves its sessions by itself.
        """
        await checkpoint()
        self._check_gives_sessions()
        while not (self._drains or self._greeter.closed):
            if self._accepted:
                return self._accepted.popleft()
            await self._accepting.wait()
        raise anyio.ClosedResourceError

    async def serve(self, handler: Callable[[Session], Any], task_group: TaskGroup | None = None) -> None:
        """Call ``handler(session)`` in a task of its own for every session, until cancelled or drained.

        The tasks are started in ``task_group``, if it is given. An exception of a handler ends that group, or this
        call: catch in the handler what concerns only its peer. Raises `ConfigError` as `accept` does.
        """
        expect_function("handler", handler)
        expect("task_group", task_group, TaskGroup, NoneType)
        self._check_gives_sessions()
        async with AsyncExitStack() as stack:
            if task_group is None:
                task_group = await stack.enter_async_context(anyio.create_task_group())
            while True:
                try:
                    session = await self.accept()
                except anyio.ClosedResourceError:
                    if self._drains:
                        return  # handlers go on; without a group of the caller's, this waits for them
                    raise
                task_group.start_soon(self._handle, handler, session)

    async def _handle(self, handler: Callable[[Session], Any], session: Session) -> None:
        kept = self._sessions.get(session)  # it may be over by now
        try:
            await handler(session)
        finally:
            if kept is not None:
                kept.done.set()

    def _check_gives_sessions(self) -> None:
        if self._services is not None:
            raise ConfigError(
                "this listener was made with services, and serves its sessions by itself: accept and serve would wait"
                " for ever; leave services away, or see Listener.sessions"
            )

    async def drain(self, seconds: float) -> None:
        """Stop in order: begin nothing new, wait until what was begun has ended, and close, as `aclose` does.

        No more connections are accepted, and each session drains (see `Session.drain`). What is waited for is that all
        services have returned; without ``services``, that the handlers of `serve` have, and that the sessions that
        `accept` gave are closed. A service that waits for more of a client has to notice: see
        `Session.cancel_when_draining`. It takes ``seconds`` at most, and then what closing takes. Cancelled, the
        listener and its sessions stay as they are: they take nothing new, and are to be closed.
        """
        expect("seconds", seconds, int, float)
        self._drains = True
        self._greeter.stop_accepting()
        self._accepting.wake_all()
        for session in self._sessions:
            session.drain()
        with anyio.move_on_after(seconds) as scope:
            for session in list(self._sessions):
                await self._finished(session)
        if scope.cancelled_caught:
            logger.info("closing %d sessions that were not done within %g s", len(self._sessions), seconds)
        await self.aclose()

    async def _finished(self, session: Session) -> None:
        """Wait until a session that drains has nothing left to do."""
        if self._services is not None:
            await session._served()
        elif session in self._sessions and session not in self._accepted:
            await self._sessions[session].done.wait()

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
        name, suite = authenticated.grant.name, authenticated.stream.suite
        doubt = "" if authenticated.stream.is_live else "; that may be a recording, until more comes"
        logger.info("%s connected from %s with %s (%s)%s", name, address, authenticated.key.fingerprint, suite, doubt)
        resumable = self._greeter.returns.begin(authenticated)
        vouching = self._greeter.vouching_of(authenticated)
        session = session_with(
            authenticated,
            address,
            client_side=False,
            limits=self._limits,
            services=self._services,
            instruments=self._instruments,
            below=resumable.stream if resumable is not None else None,
            vouching=vouching,
        )
        if resumable is not None:
            resumable.belongs_to(session.peer, vouching)
        cause: SessionError = SessionClosed("aborted")
        try:
            async with session:
                self._regrant(session, vouching)  # the trust may have changed since the client came
                cause = await self._keep(session, vouching) or cause
                self._greeter.returns.ended(resumable, cause)  # here: services may go on for a while
        except Exception:  # a defect of ours: the other sessions go on
            logger.exception("the session with %s at %s failed", name, address)
        finally:
            self._greeter.returns.ended(resumable, cause)

    async def _keep(self, session: Session, vouching: Vouching) -> SessionError | None:
        """Keep a session until it is over, and say why it is; or until the listener is."""
        if self._greeter.closed:
            return None
        done = anyio.Event()
        self._sessions[session] = _Kept(done, vouching)
        if self._drains:  # it was in its handshake when this began to drain
            session.drain()
        try:
            if self._services is None:
                self._accepted.append(session)
                self._accepting.wake()
            return await session.wait_closed()
        finally:
            done.set()
            del self._sessions[session]
            if session in self._accepted:  # nobody wants it any more
                self._accepted.remove(session)

    async def _prekey(self) -> bytes:
        """For a registration: what lets who finds it in a directory begin at once; empty if nothing does."""
        return await self._greeter.prekey()

    def _trust_changed(self) -> None:
        """The files say something else now: what they do not allow any more is cut."""
        for session, kept in self._sessions.items():
            self._regrant(session, kept.vouching)

    def _regrant(self, session: Session, vouching: Vouching) -> None:
        grant = vouching.admitted_still()
        if grant is not None and grant.name != session.peer.name:
            logger.info("%s at %s is called %s from now on", session.peer.name, session.peer.address, grant.name)
        session._regrant(grant)

    @property
    def extra_attributes(self) -> Any:
        """None."""
        return {}


@overload
def listen(
    address: Advertised,
    *,
    services: Services | None = None,
    limits: Limits | None = None,
    instruments: Collection[Instrument] = (),
) -> AbstractAsyncContextManager[Listener]: ...


@overload
def listen(
    address: Listenable,
    *,
    identity: Identity | None = None,
    trust: Trust,
    services: Services | None = None,
    limits: Limits | None = None,
    psk: Psk | None = None,
    revoked: str | os.PathLike[str] | None = None,
    shared: bool = False,
    security: Security | None = None,
    instruments: Collection[Instrument] = (),
) -> AbstractAsyncContextManager[Listener]: ...


@asynccontextmanager
async def listen(
    address: Listenable | Advertised,
    *,
    identity: Identity | None = None,
    trust: Trust | None = None,
    services: Services | None = None,
    limits: Limits | None = None,
    psk: Psk | None = None,
    revoked: str | os.PathLike[str] | None = None,
    shared: bool = False,
    security: Security | None = None,
    instruments: Collection[Instrument] = (),
) -> AsyncGenerator[Listener, None]:
    """Listen on ``tcp://host:port``, ``unix:/path`` or ``ws://host:port/path``: an async context manager that gives a
    `Listener`.

    - ``address`` may also be what stands for one (`WebSocketListener`), or a listener of anyio's whose streams are byte
      streams, such as a `TLSListener`. It is closed with ours. What it has to do before a stream is there counts as a
      part of the handshake, and of its time; what it raises then is logged, and what it raises otherwise (but for what
      the system says of accepting) ends the block. With an `Advertised`, the daemon of this machine listens, has the
      keys, and says who may connect; of the ``limits``, those that clients are told are its. With a
      `Behind` it is reached by a gateway alone.
    - ``identity`` is who we are, `Identity.default` if none is given.
    - ``trust`` says who may connect, and is needed but for an `Advertised`; when the file that it was loaded from has
      changed, sessions and channels that it does not allow any more end as ``revoked``.
    - ``revoked`` is a file with what is not to be trusted, whoever vouches for it: keys, authorities and credentials,
      as ``ssh-keygen -k`` writes it. It is read again when it has changed, as the trust file is.
    - ``services`` are served on every session; without them, and only then, sessions come out of `Listener.accept` and
      `Listener.serve`.
    - With a ``psk`` (32 bytes, or a file with them) anyone who lacks it gets no answer.
    - ``shared``: other processes listen on the same address, with ``shared`` as well, and the system gives each
      connection to one of them (``SO_REUSEPORT``, of TCP only). A client that comes back to its session is told so, and
      tries until it gets to the one that has it.
    - With ``security``, `nacl_tls`, clients have to speak TLS 1.3 in the place of Noise. Not with a ``psk``; nobody
      comes back to a session, or has early data.
    - ``instruments`` are told who is refused, and what the sessions and their channels do.

    Left normally, the sessions are closed in order; left by an exception, they are ended.

    Raises `ConnectFailed` when the address can't be listened on, or a `ConfigError`.
    """
    expect("identity", identity, Identity, NoneType)
    expect("limits", limits, Limits, NoneType)
    expect("shared", shared, bool)
    check_services(services)
    check_security(security, psk=psk)
    limits, all_told = limits or _limits_of(address), told(instruments)
    if isinstance(address, Advertised):
        if any(one is not None for one in (identity, trust, psk, revoked, security)) or shared:
            raise ConfigError(_BY_DAEMON)
        async with LocalGreeter.opened(address, limits, all_told) as local:
            listener = Listener(local, services, local.limits, all_told)
            async with _accepting(listener, local):
                yield listener
        return
    expect("trust", trust, Trust)
    assert trust is not None
    where = _where(address)
    suites.offer()  # what is wrong with CHANLINK_SUITES is said here, and the first client need not wait for it
    statics = Statics(identity or Identity.default(), Role.SERVER, load_psk(psk))
    side = side_of(security, statics, limits)
    authority = await authority_of(trust, revoked)
    listening = await listening_at(where, shared=shared)
    greeter = Greeter(listening, statics, authority, limits, all_told, shared=shared, side=side)
    listener = Listener(greeter, services, limits, all_told)
    async with _accepting(listener, greeter) as tasks:
        tasks.start_soon(authority.watch, limits.trust_interval, listener._trust_changed)
        yield listener


@asynccontextmanager
async def _accepting(listener: Listener, greeter: Greeter | LocalGreeter) -> AsyncGenerator[TaskGroup, None]:
    """A block in which a listener accepts; left normally, it closes its sessions in order."""
    async with tasks_beside() as tasks:
        greeter.start(tasks, listener._live)
        try:
            yield tasks
            await listener.aclose()
        finally:
            tasks.cancel_scope.cancel()
            listener._stop()


def _limits_of(address: object) -> Limits:
    return (address.default_limits if isinstance(address, CarrierListener) else None) or Limits()


def _where(address: Listenable) -> Address | CarrierListener | AnyListener[AnyByteStream]:
    """An address that was parsed, or the listener. Raises `AddressError`, `TypeError`."""
    if isinstance(address, str):
        return parse_listenable(address)
    if not isinstance(address, CarrierListener | AnyListener) or isinstance(address, Listener):
        raise TypeError(f"address must be str or anyio.abc.Listener[ByteStream], not {type(address).__name__}")
    return address


@overload
async def serve(
    services: Services,
    address: Advertised,
    *,
    limits: Limits | None = None,
    drain: float = 30.0,
    signals: Collection[Signals] = (),
    instruments: Collection[Instrument] = (),
    task_status: TaskStatus[Listener] = TASK_STATUS_IGNORED,
) -> None: ...


@overload
async def serve(
    services: Services,
    address: Listenable,
    *,
    identity: Identity | None = None,
    trust: Trust,
    limits: Limits | None = None,
    psk: Psk | None = None,
    revoked: str | os.PathLike[str] | None = None,
    shared: bool = False,
    security: Security | None = None,
    drain: float = 30.0,
    signals: Collection[Signals] = (),
    register: Registering | None = None,
    instruments: Collection[Instrument] = (),
    task_status: TaskStatus[Listener] = TASK_STATUS_IGNORED,
) -> None: ...


async def serve(
    services: Services,
    address: Listenable | Advertised,
    *,
    identity: Identity | None = None,
    trust: Trust | None = None,
    limits: Limits | None = None,
    psk: Psk | None = None,
    revoked: str | os.PathLike[str] | None = None,
    shared: bool = False,
    security: Security | None = None,
    drain: float = 30.0,
    signals: Collection[Signals] = (),
    register: Registering | None = None,
    instruments: Collection[Instrument] = (),
    task_status: TaskStatus[Listener] = TASK_STATUS_IGNORED,
) -> None:
    """Serve services, by name, until cancelled. ``task_status.started`` gets the `Listener`.

    A service is ``async def service(receiver, peer)``, or ``streams(service)`` for one that takes byte streams. Each
    channel that a peer opens to it runs in a task of its own. When the service returns, its end is closed (``done``);
    an exception is logged, tells the peer ``handler-failed``, and touches nothing else. So does `SystemExit`, unless
    it is of a task that the service started (asyncio ends its event loop then); `KeyboardInterrupt` ends all.
    Otherwise as `listen`.

    With ``signals``, such as ``(signal.SIGTERM,)``, the first of them stops it in order, and then this returns: see
    `Listener.drain`, which gets ``drain`` seconds; a second one cuts that short. They are received in the main thread
    only (`ConfigError`). Cancelled, this does not drain: sessions end as when the block of `listen` is cancelled.

    With ``register``, a `chanlink.directory.Registration`, a directory tells others where this is, as long as it takes
    sessions.
    """
    expect("drain", drain, int, float)
    expect("register", register, Registering, NoneType)
    if isinstance(signals, int):
        raise TypeError("signals must be a collection, such as (signal.SIGTERM,), not one signal")
    expect("signals", signals, Collection)
    for one in signals:
        expect("signals", one, int)
    listens: Any = listen  # what goes with which address, it says itself
    # Signals first: the first process of a container loses one that comes when there is an address, but no handler yet.
    with received(signals) as arriving:
        async with AsyncExitStack() as stack:
            listener = await stack.enter_async_context(
                listens(
                    address,
                    identity=identity,
                    trust=trust,
                    services=services,
                    limits=limits,
                    psk=psk,
                    revoked=revoked,
                    shared=shared,
                    security=security,
                    instruments=instruments,
                )
            )
            if register is not None:
                await stack.enter_async_context(register.keeping(listener, identity, services))
            task_status.started(listener)
            await stop_on(arriving, partial(_drain, listener, register, drain))


async def _drain(listener: Listener, register: Registering | None, seconds: float) -> None:
    if register is not None:  # first, so that nobody is led here any more
        await register.leave()
    await listener.drain(seconds)
