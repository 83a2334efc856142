"""A session: the authenticated, multiplexed connection of two peers.

What happens to a message:

    1. `Sender.send` encodes it and queues it at its stream; the user's task stops there.
    2. The driver's writer asks the mux for the frames of everything that was queued since, and sends them in one go.
    3. The driver's reader of the other side brings them to the inbox of their stream, and stops there.
    4. `Receiver.receive` decodes it; the credit for it leaves with the next turn of the writer.

All tasks are of the session's group (but for one per accepted connection, in greeter.py): those of the driver; one per
top-level channel of a service (services.py); one per foreign stream that was sent (ends/foreign.py).

Whole: a class, how it is made, and which one is the current one.
"""

import time
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, overload

import anyio
from anyio import AsyncContextManagerMixin, CancelScope
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from chanlink import clock
from chanlink.arguments import expect, with_article
from chanlink.channels.bytestream import ByteStream
from chanlink.channels.channel import Sender, check_capacity, failure
from chanlink.channels.handle import Handle, check_contract
from chanlink.channels.typed import converter_of
from chanlink.channels.values import Kind
from chanlink.errors import ConfigError, KeyFormatError, RemoteProtocolError, SessionClosed, SessionError
from chanlink.features import FEATURES
from chanlink.instrument import Instruments, SessionInfo, SessionTotals
from chanlink.limits import Limits, PeerLimits
from chanlink.printing import printable, printable_logger
from chanlink.security.early_stream import Begun
from chanlink.security.handshake import Authenticated
from chanlink.security.keys.credential import Credential
from chanlink.security.keys.trust import Grant
from chanlink.security.stream import EarlyState, SecureStream
from chanlink.session.ends.ends import Ends
from chanlink.tasks import tasks_beside
from chanlink.wire.mux import Mux
from chanlink.wire.opening import Opening
from chanlink.wire.stream import Stream

from .driver import Driver
from .ends import foreign
from .peer import Incoming, Peer
from .reception import Reception
from .services import Services
from .states import Followers, State, States
from .telling import Telling, cause_of
from .vouching import Vouching

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")
logger = printable_logger(__name__)


Side = Literal["client", "server"]
RESERVED = "chanlink "
"""Labels that begin so are of the protocol."""


class SessionStatistics(NamedTuple):
    """A moment in the life of a session."""

    channels: int
    """Open channels and byte streams, of both sides."""
    unaccepted: int
    """Of those, the ones that the peer opened and that wait for `Session.accept`."""
    budget: int
    """Bytes by which windows may still grow."""
    age: float
    """Seconds since the handshake."""
    volume: int
    """Bytes of both directions, as they are on the wire; 0 for a session for tests, which does not count them."""
    round_trip: float
    """Seconds, the shortest that was measured: in the handshake, by `Session.ping`, under load; 0 if none was."""


class Session(AsyncContextManagerMixin):
    """The connection of two peers. Either side opens channels on it.

    `chanlink.connect`, `chanlink.accept` and `chanlink.listen` make sessions, each after a handshake; there are none
    without, but for tests (`chanlink.testing.session_over`). It is an async context manager. Its death never cancels
    the block: its ends, `wait_closed` and later calls report it. Left normally, it is closed as by `aclose`; left by an
    exception, its channels fail with the exception's name.

    Whole: the face of a session, most of it what its methods promise; what they do is done by the parts made here.
    """

    def __init__(
        self,
        below: SecureStream,
        *,
        client_side: bool,
        peer: Peer,
        limits: Limits | None = None,
        peer_limits: PeerLimits | None = None,
        services: Services | None = None,
        allows: Callable[[str], bool] | None = None,
        round_trip: float = 0.0,
        features: Collection[str] = FEATURES,
        instruments: Instruments | None = None,
        only: str = "",
        vouching: Vouching | None = None,
    ) -> None:
        # Whole: the parts of a session are made here, and joined; nothing else happens.
        if not isinstance(below, SecureStream):
            raise ConfigError(
                f"a session over {with_article(type(below))} would be in the clear: connect and accept take a byte"
                " stream, too, and are secure over any; for tests there is chanlink.testing.session_over"
            )
        self.peer = peer
        self._side: Side = "client" if client_side else "server"
        self._limits = limits or Limits()
        peer_limits = peer_limits or PeerLimits()
        self._below = below
        self._instruments = instruments
        """Those that are told of it; None if there are none."""
        self._telling = self._telling_of(client_side) if instruments is not None else None
        self._driver = Driver(
            self._below,
            partial(
                Mux,
                client_side=client_side,
                limits=self._limits,
                peer_limits=peer_limits,
                features=features,
                observer=self._telling,
            ),
            peer,
            self._limits,
            client_side=client_side,
            opened=self._opened,
            changed=self._changed,
            tend=self._tend,
            telling=self._telling,
        )
        self._mux = self._driver.mux
        if round_trip:
            self._mux.measured(round_trip)
        self._only = only
        """The service that the peer has come for, as ``allows`` knows; empty if for all that it may use."""
        self._vouching = vouching
        self._ends = Ends(
            self._mux,
            self._limits,
            peer_limits,
            wrap=foreign.replaced,
            start=self._start_pump,
            before_wait=self._driver.flush,
            observer=self._telling,
            instruments=instruments,
        )
        self._shared_channels: dict[str, Sender[Any]] = {}
        self._followers = Followers(lambda: self._driver.state, lambda: self._mux.draining)
        self._reception = Reception(
            peer,
            self._limits,
            services=services,
            allows=allows,
            adopt=self._ends.adopt,
            enter=partial(_current.set, self),
            telling=self._telling,
            is_live=below.is_live,
        )
        below.on_live(self._reception.live)
        if vouching is not None:
            vouching.on_granted(self._regrant)
            below.on_credential(self._shown)
        self._tasks: TaskGroup

    def _telling_of(self, client_side: bool) -> Telling:
        assert self._instruments is not None
        key = self.peer.key.fingerprint if self.peer.key is not None else ""
        info = SessionInfo(self.peer.name, key, self.peer.address, self._below.suite, client_side)
        return Telling(self._instruments, info, read=self._totals, knows=lambda name: self._reception.knows(name))

    def _totals(self) -> SessionTotals:
        now = self.statistics()
        return SessionTotals(now.age, now.volume, now.channels, *cause_of(self._driver.cause))

    def __repr__(self) -> str:
        cause = self._driver.cause
        why = "" if cause is None else f" ({type(cause).__name__}{cause.code and f': {cause.code}'})"
        channels = self.statistics().channels
        words = f"<Session with {self.peer.name!r} at {self.peer.address!r}: {self.state}{why}, channels {channels}>"
        return printable(words)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator["Session", None]:
        self._ends.loop.watch()
        if self._telling is not None:
            self._telling.begun()
        try:
            async with tasks_beside() as self._tasks:
                self._tasks.start_soon(self._driver.run)
                try:
                    yield self
                except BaseException as exc:
                    await self._leave(type(exc))
                    raise
                else:
                    await self._leave(None)
        finally:
            self._reception.withdraw("not-taken", "the session was left")

    async def _leave(self, why: type[BaseException] | None) -> None:
        reason = failure(why)
        try:
            if reason is None:
                await self._driver.close()
            else:
                await self._driver.give_up(reason.code)
        except BaseException:  # asyncio's `timeout` has no scope that would reach the services, too
            self._tasks.cancel_scope.cancel()
            raise
        # Services see the end of the session at their ends; one that goes on after a while is cancelled.
        self._tasks.cancel_scope.deadline = anyio.current_time() + self._limits.close

    # --- opening and accepting --------------------------------------------------------------------

    @overload
    async def open(self, service: str, *, capacity: int | None = None, contract: str | None = None) -> Sender[Any]: ...

    @overload
    async def open(
        self,
        service: str,
        item_type: type[T],
        capacity: int | None = None,
        *,
        check: bool = False,
        contract: str | None = None,
    ) -> Sender[T]: ...

    @overload
    async def open(
        self,
        service: str,
        item_type: "TypeForm[T]",
        capacity: int | None = None,
        *,
        check: bool = False,
        contract: str | None = None,
    ) -> Sender[T]: ...

    async def open(
        self,
        service: str,
        item_type: object = Any,
        capacity: int | None = None,
        *,
        check: bool = False,
        contract: str | None = None,
    ) -> Sender[Any]:
        """Open a channel to a service of the peer. Usable at once: nothing waits for the peer.

        A refusal arrives on the sender as `ChannelRefused` (``no-such-service``, ``wrong-kind``, ``busy``,
        ``draining``). Raises `ChannelRefused` with code ``draining`` when the peer has said that it takes no new
        channels, `LimitReached` when too many are open, or the error that ended the session.
        `item_type`, `check` and `contract` are as those of `pipe`: objects of that type can be sent. Raises as that,
        too.
        """
        await checkpoint()
        converter = converter_of(item_type, check=check)
        end = self._open("receiver", service, capacity, check_contract(contract))
        if converter is not None:
            end._converts_by(converter)
        return end  # type: ignore[return-value]

    async def open_stream(self, service: str) -> ByteStream:
        """Open a byte stream to a service of the peer; otherwise as `open`."""
        await checkpoint()
        return self._open("bytes", service, None)  # type: ignore[return-value]

    def _open(self, kind: Kind, service: str, capacity: int | None, contract: bytes | None = None) -> Handle:
        expect("service", service, str)
        self._driver.check()
        if not 0 < len(service.encode()) <= 255:
            raise ValueError("the name of a service has 1 to 255 bytes")
        check_capacity(capacity)
        return self._ends.adopt(self._mux.open(Opening(kind, service, capacity=capacity, item_type=contract)))

    def _shared(self, service: str) -> Sender[Any]:
        """The channel to a service of the peer that all clients of it share; another one when it is over. As `open`."""
        sender = self._shared_channels.get(service)
        if sender is None or sender._send_core.is_over():
            end = self._open("receiver", service, None)
            assert isinstance(end, Sender)
            sender = self._shared_channels[service] = end
        return sender

    async def accept(self) -> Incoming:
        """The next top-level channel that the peer opened.

        Raises the error that ended the session, or `SessionClosed` with code ``draining`` when this side takes no more.
        """
        await checkpoint()
        return await self._reception.accept(self._check_takes_more)

    def _check_takes_more(self) -> None:
        self._driver.check()
        if self._mux.draining:
            raise SessionClosed("draining")

    def __aiter__(self) -> "Session":
        return self

    async def __anext__(self) -> Incoming:
        try:
            return await self.accept()
        except SessionClosed:
            raise StopAsyncIteration from None

    def _opened(self, stream: Stream) -> None:
        """The peer opened a top-level stream."""
        self._reception.opened(stream, self._tasks)

    def _start_pump(self, end: Handle) -> None:
        pump = end.pump_for() if isinstance(end, foreign.ForeignStream) else None
        if pump is not None:
            self._tasks.start_soon(pump)

    # --- its states -------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """``open``, ``away``, ``draining`` or ``closed``.

        Draining: one of the two takes no new channels (see `drain`), and only the other's `open` is refused; or this
        side is closing the session. Away: there is no connection now, and the session waits for the next one; all
        else goes on, and the times of `Limits` stand still. A session that drains and is away is ``draining``.
        """
        return self._driver.state

    def states(self) -> States[State]:
        """An async iterator of the states: the current one first, then each change, and ``closed`` at last.

        Whoever looks seldom may miss one between two others, never the last.
        """
        return self._followers.states()

    def drain(self) -> None:
        """Take no more top-level channels from the peer; all else goes on, in both directions.

        The peer's `open` raises `ChannelRefused` with code ``draining`` from then on, also for a channel that was under
        way. What is open is served as before, with all that travels in its messages, and this side may go on to open
        channels. `accept` gives what has come before. A peer of chanlink 0.1 is not told: each channel that it opens is
        refused. There is no way back; end the session with `aclose`. Nothing happens when it is over.
        """
        self._driver.drain()

    def cancel_when_draining(self) -> AbstractContextManager[CancelScope]:
        """Cancel the block once this side takes no more channels: it drains, or closes the session.

        For a service whose client would go on for ever: the block is where it waits for more work. It is left by a
        cancellation that goes no further, and the scope's ``cancelled_caught`` says so. No task is started. When the
        session ends in another way the block goes on: its ends tell, once everything was taken that has come by them.
        """
        return self._followers.cancel_when_draining()

    def _changed(self) -> None:
        """For the driver: the session goes on to another phase."""
        self._reception.changed()
        self._followers.changed()
        if self._telling is not None:
            self._telling.changed(self._driver.state)

    # --- the end ----------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Close the session: take no more, deliver what was accepted (for `Limits.close` seconds at most), say so.

        Channels that are still open are lost on both sides: close what you want to end in order. When the peer closes
        at the same time, the session ends once both have delivered. Never raises.
        """
        await self._driver.close()

    def abort(self) -> None:
        """End the session at once; what was accepted and has not left is lost."""
        self._driver.abort()

    def _regrant(self, grant: Grant | None) -> None:
        """For the listener: the peer's name, and what it may do from now on; what it may do no more is ``revoked``."""
        if grant is None:
            self._mux.drop_arrived()
            self._driver.lose(SessionClosed("revoked"))
        else:
            grant = grant.only(self._only)
            self.peer.name, self.peer.names, self.peer.issued = grant.name, grant.names, grant.issued
            if self._vouching is not None:
                self._vouching.decided(grant)
        self._reception.regrant(grant)
        if grant is not None:
            self._ends.arrivals.revoke(self._reception.may_use)

    # --- credentials ------------------------------------------------------------------------------

    def _tend(self) -> None:
        """For the driver, at regular times."""
        vouching, now = self._vouching, time.time()
        if vouching is None:
            return
        if vouching.is_over(now):
            self._driver.lose(SessionClosed("expired"))
        elif vouching.is_due(now) and not self._below.is_away:
            self._tasks.start_soon(self._show_newer)

    async def _show_newer(self) -> None:
        assert self._vouching is not None
        credential = await self._vouching.newer()
        if credential is not None:
            self._below.show_credential(credential.blob)

    def _shown(self, blob: bytes) -> None:
        """The peer shows a newer credential."""
        assert self._vouching is not None
        if not self._vouching.may_renew:  # it is not even verified, which costs something
            logger.info(
                "%s at %s is known by its own key, and has shown a credential", self.peer.name, self.peer.address
            )
            return
        try:
            credential = Credential.parse(blob)
        except KeyFormatError as exc:
            self._driver.lose(RemoteProtocolError(f"a credential that can't be read: {exc}"))
            return
        if self._vouching.renew(credential):
            logger.info("%s at %s has shown a newer credential: %r", self.peer.name, self.peer.address, credential)
        else:
            logger.info("%s at %s has shown a credential that does not count", self.peer.name, self.peer.address)

    async def _served(self) -> None:
        """For the listener: wait until the services that the peer has opened channels to have returned."""
        await self._reception.served()

    async def wait_closed(self) -> SessionError:
        """Return, with the cause, when the session is over."""
        return await self._driver.wait_closed()

    @property
    def closed(self) -> bool:
        """Whether the session is over; `wait_closed` says why."""
        return self._driver.cause is not None

    # --- about it ---------------------------------------------------------------------------------

    async def ping(self) -> float:
        """Measure the round trip to the peer's session, in seconds. Raises the error that ended the session.

        More than some 20 a second, for long, are a flood to the peer, which ends the session.
        """
        return await self._driver.ping()

    def check(self) -> None:
        """There is reason to doubt that the connection still works, such as another network: find out soon.

        The peer is asked by a PING. Of a session that may be resumed (see `chanlink.connect`) the connection is given
        up when nothing comes for 3 s, instead of 10; one that is away tries at once to come back. Never waits, and
        never raises.
        """
        self._driver.check_connection()

    def exporter(self, label: str, length: int) -> bytes:
        """A secret of ``length`` bytes of the two peers for each ``label`` (ASCII), the same on both sides at any time.

        It stays the same when the session is resumed. Raises `ValueError` for what can't be, also in a session for
        tests and in one over `nacl_tls`, which have no secrets. Labels that begin with ``chanlink`` and a space are
        not for applications.
        """
        expect("label", label, str)
        expect("length", length, int)
        if label.startswith(RESERVED):
            raise ValueError(f"labels that begin with {RESERVED!r} are not for applications")
        return self._below.export(label, length)

    @property
    def id(self) -> str:
        """The same on both sides, and of no other session: 16 hexadecimal digits, which are no secret.

        Empty in a session for tests.
        """
        return self._below.id

    def statistics(self) -> SessionStatistics:
        """What it is doing, in numbers."""
        volume = self._below.volume
        streams, budget, round_trip = self._mux.statistics()
        age = clock.now() - self._driver.began
        return SessionStatistics(streams, self._reception.waiting, budget, age, volume, round_trip)

    @property
    def early(self) -> EarlyState:
        """What became of the data that left with the first message of the handshake (`connect(early=True)`).

        ``taken``: by the server, at once. ``sent again``: the server did not take it then, and has it by now. ``none``:
        there was none, or it is not known yet. At the server, ``taken`` or ``none``.
        """
        return self._below.early

    @property
    def suite(self) -> str:
        """The name of the record suite (protocol section 3.1); empty in a session for tests, which has none."""
        return self._below.suite


def session_with(
    authenticated: Authenticated | Begun,
    address: str,
    *,
    client_side: bool,
    limits: Limits,
    services: Services | None,
    instruments: Instruments | None,
    below: SecureStream | None = None,
    vouching: Vouching | None = None,
) -> Session:
    """The session with the peer of a handshake, who is at this address; over ``below``, if that is another stream than
    what remains of the handshake."""
    only = "" if client_side else authenticated.service
    grant = authenticated.grant.only(only)
    return Session(
        below or authenticated.stream,
        client_side=client_side,
        peer=Peer(authenticated.key, grant.name, address, grant.names, grant.issued),
        limits=limits,
        peer_limits=authenticated.peer_limits,
        services=services,
        allows=grant.allows,
        round_trip=authenticated.round_trip,
        features=authenticated.features,
        instruments=instruments,
        only=only,
        vouching=vouching,
    )


_current: ContextVar[Session] = ContextVar("chanlink session")


def current_session() -> Session:
    """The session that the running service serves, so that it can call back: ``current_session().open("news")``.

    It is that of the task of the service, and of the tasks that this has started. Raises `LookupError` elsewhere.
    """
    session = _current.get(None)
    if session is None:
        raise LookupError("there is a current session in services only, and in the tasks that they start")
    return session


def until_draining() -> AbstractContextManager[object]:
    """For what is a service: a block that is cancelled when the current session takes no more channels.

    See `Session.cancel_when_draining`. Where there is no current session, as for a channel in memory, nothing does.
    """
    try:
        return current_session().cancel_when_draining()
    except LookupError:
        return nullcontext()
