"""A session: the authenticated, multiplexed connection of two peers.

What happens to a message:

    1. `Sender.send` encodes it and queues it at its stream; the user's task stops there.
    2. The driver's writer asks the mux for the frames of everything that was queued since, and sends them in one go.
    3. The driver's reader of the other side brings them to the inbox of their stream, and stops there.
    4. `Receiver.receive` decodes it; the credit for it leaves with the next turn of the writer.

All tasks are of the session's group (but for one per accepted connection, in greeter.py): those of the driver; one per
top-level channel of a service (services.py); one per foreign stream that was sent (ends/foreign.py).
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar, overload

import anyio
from anyio import AsyncContextManagerMixin
from anyio.abc import ByteStream as AnyByteStream
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from chanlink.channels.bytestream import ByteStream
from chanlink.channels.channel import Sender, check_capacity, failure
from chanlink.channels.handle import Handle
from chanlink.channels.values import Kind
from chanlink.channels.waiting import Waiters
from chanlink.errors import SessionClosed, SessionError
from chanlink.limits import Limits, PeerLimits
from chanlink.printing import printable_logger
from chanlink.security.keys.trust import Grant
from chanlink.security.stream import PlainStream, SecureStream
from chanlink.session.ends.ends import Ends
from chanlink.tasks import tasks_beside
from chanlink.wire.multiplexer import CLOSING
from chanlink.wire.mux import Mux
from chanlink.wire.opening import Opening
from chanlink.wire.stream import Stream

from .driver import Driver, Phase
from .ends import foreign
from .peer import Incoming, Peer, withdraw
from .services import Services, Serving, no_such_service

T = TypeVar("T")
logger = printable_logger(__name__)


class SessionStatistics(NamedTuple):
    """A moment in the life of a session."""

    channels: int
    """Open channels and byte streams, of both sides."""
    unaccepted: int
    budget: int
    """Bytes by which windows may still grow."""
    age: float
    """Seconds since the handshake."""
    volume: int
    """Bytes of both directions, as they are on the wire; 0 for a session over a byte stream of your own."""
    round_trip: float
    """Seconds, the shortest that was measured: in the handshake, by `Session.ping`, under load; 0 if none was."""


class Session(AsyncContextManagerMixin):
    """The connection of two peers. Either side opens channels on it.

    `chanlink.connect` and `chanlink.listen` make sessions. Made over an `anyio.abc.ByteStream` of your own (the sides
    agree who is ``client_side``), one adds no encryption and no identity: `anyio.connect_tcp` has none. It is an async
    context manager. Its death never cancels the block: its ends, `wait_closed` and later calls report it. Left
    normally, it is closed as by `aclose`; left by an exception, its channels fail with the exception's name.
    """

    def __init__(
        self,
        stream: AnyByteStream,
        *,
        client_side: bool,
        peer: Peer,
        limits: Limits | None = None,
        peer_limits: PeerLimits | None = None,
        services: Services | None = None,
        allows: Callable[[str], bool] | None = None,
        round_trip: float = 0.0,
    ) -> None:
        # Whole: the parts of a session are made here, and joined; nothing else happens.
        self.peer = peer
        self._limits = limits or Limits()
        self._allows = allows
        self._incoming: deque[Incoming] = deque()
        self._accepting = Waiters()
        peer_limits = peer_limits or PeerLimits()
        self._below = stream if isinstance(stream, SecureStream) else PlainStream(stream)
        self._driver = Driver(
            self._below,
            partial(Mux, client_side=client_side, limits=self._limits, peer_limits=peer_limits),
            peer,
            self._limits,
            client_side=client_side,
            opened=self._opened,
            lost=self._accepting.wake_all,
        )
        self._mux = self._driver.mux
        if round_trip:
            self._mux.measured(round_trip)
        self._ends = Ends(
            self._mux,
            self._limits,
            peer_limits,
            wrap=foreign.wrap,
            start=self._start_pump,
            before_wait=self._driver.flush,
        )
        self._serving: Serving | None = None
        if services is not None:
            limit = self._limits.open_channels
            self._serving = Serving(services, peer, limit=limit, adopt=self._ends.adopt)
        self._tasks: TaskGroup

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator["Session", None]:
        self._ends.loop.watch()
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
            withdraw(self._incoming, "not-taken", "the session was left")

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
    async def open(self, service: str, *, capacity: int | None = None) -> Sender[Any]: ...

    @overload
    async def open(self, service: str, item_type: type[T], capacity: int | None = None) -> Sender[T]: ...

    async def open(self, service: str, item_type: object = Any, capacity: int | None = None) -> Sender[Any]:
        """Open a channel to a service of the peer. Usable at once: nothing waits for the peer.

        A refusal arrives on the sender as `ChannelRefused` (``no-such-service``, ``wrong-kind``, ``busy``).
        Raises `LimitReached` when too many channels are open, or the error that ended the session.
        """
        await checkpoint()
        return self._open("receiver", service, capacity)  # type: ignore[return-value]

    async def open_stream(self, service: str) -> ByteStream:
        """Open a byte stream to a service of the peer; otherwise as `open`."""
        await checkpoint()
        return self._open("bytes", service, None)  # type: ignore[return-value]

    def _open(self, kind: Kind, service: str, capacity: int | None) -> Handle:
        self._driver.check()
        if not 0 < len(service.encode()) <= 255:
            raise ValueError("the name of a service has 1 to 255 bytes")
        check_capacity(capacity)
        return self._ends.adopt(self._mux.open(Opening(kind, service, capacity=capacity)))

    async def accept(self) -> Incoming:
        """The next top-level channel that the peer opened. Raises the error that ended the session."""
        await checkpoint()
        while not self._incoming:
            self._driver.check()
            await self._accepting.wait()
        if len(self._incoming) > 1:
            self._accepting.wake()
        return self._incoming.popleft()

    def __aiter__(self) -> "Session":
        return self

    async def __anext__(self) -> Incoming:
        try:
            return await self.accept()
        except SessionClosed:
            raise StopAsyncIteration from None

    def _opened(self, stream: Stream) -> None:
        """The peer opened a top-level stream."""
        service = stream.opening.service or ""
        if self._driver.phase is not Phase.OPEN:
            stream.discard("draining", CLOSING)
        elif self._allows is not None and not self._allows(service):
            # The same answer as for one that does not exist: which ones there are is nobody's business.
            logger.info("%s asked for the service %r, which it may not use", self.peer.name, service[:64])
            stream.discard("no-such-service", no_such_service(service))
        elif self._serving is not None:
            self._serving.start(self._tasks, service, stream)
        elif len(self._incoming) >= self._limits.unaccepted:
            stream.discard("busy", f"{len(self._incoming)} channels wait to be accepted")
        else:
            self._incoming.append(Incoming(service, self._ends.adopt(stream), self.peer))
            self._accepting.wake()

    def _start_pump(self, end: Handle) -> None:
        if isinstance(end, foreign.ForeignStream):
            self._tasks.start_soon(foreign.pump, end.source, end.inner())

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
            self.peer.name, self._allows = grant.name, grant.allows
            self._ends.arrivals.revoke(grant.allows)
        withdraw(self._incoming, "revoked", allows=grant.allows if grant is not None else None)
        if self._serving is not None:
            self._serving.stop(grant)

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

    def exporter(self, label: str, length: int) -> bytes:
        """A secret of ``length`` bytes of the two peers for each ``label`` (ASCII), the same on both sides at any time.

        Raises `ValueError` for what can't be, also over a byte stream of your own, which has no secrets.
        """
        return self._below.export(label, length)

    def statistics(self) -> SessionStatistics:
        """What it is doing, in numbers."""
        volume = self._below.volume
        streams, budget, round_trip = self._mux.statistics()
        age = self._below.clock() - self._driver.began
        return SessionStatistics(streams, len(self._incoming), budget, age, volume, round_trip)

    @property
    def suite(self) -> str:
        """The name of the record suite (protocol section 3.1); empty over a byte stream of your own."""
        return self._below.suite
