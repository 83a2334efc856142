"""A session: the authenticated, multiplexed connection of two peers.

What happens to a message, in the order of the functions below:

    1. `Sender.send` encodes it and queues it at its stream; the user's task stops there.
    2. `_write_loop` asks the mux for the frames of everything that was queued since, and sends them in one go.
    3. `_read_loop` of the other side brings them to the inbox of their stream, and stops there.
    4. `Receiver.receive` decodes it; the credit for it leaves with the next turn of the write loop.

All tasks are of the session's group (but for one per accepted connection, in endpoint.py): a reader, a writer and a
keeper; one per top-level channel of a service (services.py); one per foreign stream that was sent (foreign.py).
"""

import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar, overload

import anyio
from anyio import AsyncContextManagerMixin, CancelScope
from anyio.abc import ByteStream as AnyByteStream
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from chanlink.channels.bytestream import ByteStream
from chanlink.channels.channel import Sender, check_capacity, failure
from chanlink.channels.handle import Handle
from chanlink.channels.values import Kind
from chanlink.channels.waiting import Waiters, within
from chanlink.errors import ConnectionLost, RemoteProtocolError, SessionClosed, SessionError
from chanlink.limits import Limits, PeerLimits
from chanlink.printing import printable_logger
from chanlink.security.keys.trust import Grant
from chanlink.security.stream import UNDER_WAY, PlainStream, SecureStream, farewell
from chanlink.session.ends.departure import Carrier
from chanlink.wire.multiplexer import CLOSING, Multiplexer
from chanlink.wire.mux import TURN_BYTES, Mux
from chanlink.wire.opening import Opening
from chanlink.wire.stream import Stream

from .ends import foreign
from .liveness import Liveness
from .peer import Incoming, Peer, withdraw
from .services import Services, Serving, no_such_service

T = TypeVar("T")
logger = printable_logger(__name__)

FAREWELL = 1.0
"""Seconds that a session takes at most to say why it ends when it does not end in order."""


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
    """The connection of two peers.  Either side opens channels on it.

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
        self.peer = peer
        self._below = stream if isinstance(stream, SecureStream) else PlainStream(stream)
        self._limits = limits or Limits()
        self._allows = allows
        self._cause: SessionError | None = None
        self._aborted = False
        self._closing: SessionClosed | None = None
        """Set while the session drains: the cause of its end once everything has left."""
        self._incoming: deque[Incoming] = deque()
        self._accepting = Waiters()
        self._pings: dict[bytes, tuple[float, anyio.Event]] = {}
        self._ping_count = 0
        self._output = anyio.Event()
        self._over = anyio.Event()
        """Set as soon as there is a cause; `_ended` when that was said to the peer, too."""
        self._ended = anyio.Event()
        self._began = self._below.clock()
        self._arrived_before = 0
        peer_limits = peer_limits or PeerLimits()
        self._mux: Multiplexer = Mux(self, client_side=client_side, limits=self._limits, peer_limits=peer_limits)
        if round_trip:
            self._mux.measured(round_trip)
        self._below.wake_writer = self.wake_writer  # for what it has to say besides data
        self._liveness = Liveness(self._limits, self._began, None if client_side else self._below)
        self._carrier = Carrier(
            self._mux,
            self._limits,
            peer_limits,
            wrap=foreign.wrap,
            start=self._start_pump,
            before_wait=self._flush,
        )
        self._serving: Serving | None = None
        if services is not None:
            limit = self._limits.open_channels
            self._serving = Serving(services, peer, limit=limit, adopt=self._carrier.adopt)
        self._tasks: TaskGroup
        # Shielded: a block that is cancelled has something to say to the peer yet. `_lose` ends it, in any case.
        self._io_scope = CancelScope(shield=True)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator["Session", None]:
        error: BaseException | None = None
        self._carrier.loop.watch()
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._run)
            try:
                yield self
            # Caught here and raised below: a task group would wrap the caller's exception in a group.
            except BaseException as exc:
                error = exc
                await self._leave(type(exc))
            else:
                await self._leave(None)
            # Services see the end of the session at their ends; who has not returned after a while is cancelled.
            self._tasks.cancel_scope.deadline = anyio.current_time() + self._limits.close
        withdraw(self._incoming, "not-taken", "the session was left")
        if error is not None:
            raise error

    async def _leave(self, why: type[BaseException] | None) -> None:
        reason = failure(why)
        if reason is None:
            await self.aclose()
            return
        cause = SessionClosed(reason.code)
        if self._cause is None:
            self._mux.give_up(reason.code, cause, self.peer.name)
        with CancelScope(shield=True), anyio.move_on_after(FAREWELL):
            await self._drain(cause)
        self._lose(cause)

    # --- opening and accepting --------------------------------------------------------------------

    @overload
    async def open(self, service: str, *, capacity: int | None = None) -> Sender[Any]: ...

    @overload
    async def open(self, service: str, item_type: type[T], capacity: int | None = None) -> Sender[T]: ...

    async def open(self, service: str, item_type: object = Any, capacity: int | None = None) -> Sender[Any]:
        """Open a channel to a service of the peer.  Usable at once: nothing waits for the peer.

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
        self._check()
        if not 0 < len(service.encode()) <= 255:
            raise ValueError("the name of a service has 1 to 255 bytes")
        check_capacity(capacity)
        return self._carrier.adopt(self._mux.open(Opening(kind, service, capacity=capacity)))

    async def accept(self) -> Incoming:
        """The next top-level channel that the peer opened.  Raises the error that ended the session."""
        await checkpoint()
        while not self._incoming:
            self._check()
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

    def stream_opened(self, stream: Stream) -> None:
        """For the mux: the peer opened a top-level stream."""
        service = stream.opening.service or ""
        if self._closing is not None:
            stream.discard("draining", CLOSING)
        elif self._allows is not None and not self._allows(service):
            # The same answer as for one that does not exist: what there is, is nobody's business.
            logger.info("%s asked for the service %r, which it may not use", self.peer.name, service[:64])
            stream.discard("no-such-service", no_such_service(service))
        elif self._serving is not None:
            self._serving.start(self._tasks, service, stream)
        elif len(self._incoming) >= self._limits.unaccepted:
            stream.discard("busy", f"{len(self._incoming)} channels wait to be accepted")
        else:
            self._incoming.append(Incoming(service, self._carrier.adopt(stream), self.peer))
            self._accepting.wake()

    def _start_pump(self, end: Handle) -> None:
        if isinstance(end, foreign.ForeignStream):
            self._tasks.start_soon(foreign.pump, end.source, end.inner())

    # --- the tasks --------------------------------------------------------------------------------

    async def _run(self) -> None:
        """The session's life: reader, writer and keeper until it is over, then the farewell."""
        try:
            with self._io_scope:
                await self._run_io()
            await self._farewell()
        finally:
            self._lose(SessionClosed("aborted"))  # unless there was another cause before
            self._ended.set()

    async def _run_io(self) -> None:
        try:
            async with anyio.create_task_group() as io:
                io.start_soon(self._read_loop)
                io.start_soon(self._write_loop)
                await self._keep()
        except* Exception as exc:  # on trio it may be in one group with the cancellation of the others
            self._fail(exc)

    def _fail(self, exc: Exception) -> None:
        """A defect, ours or of the byte stream below: an end of the session like others, not of the block."""
        logger.error("session with %s at %s failed on this side", self.peer.name, self.peer.address, exc_info=exc)
        lost = ConnectionLost("the session failed on this side; the log says why")
        lost.__cause__ = exc
        self._lose(lost)

    def _flush(self) -> bool:
        """Send a message, if that needs no waiting: somebody is about to wait, perhaps for the answer.

        It saves the way over the event loop to the writer, which sends the rest, and what nobody waits for.
        """
        if not self._mux.has_message or self._cause is not None or not self._below.can_send_now:
            return False
        if self._mux.arrivals - self._arrived_before > 1:
            return False  # what came last has woken others, too: the writer joins what all of them send
        try:
            now = self._below.clock()
            data = self._mux.data_to_send(now)
            if not data:
                return False
            if not self._below.send_now(data):
                self._liveness.writing_since = now
        except SessionError as exc:
            self._lose(exc)
        except Exception as exc:
            self._fail(exc)
        return True

    async def _write_loop(self) -> None:
        try:
            while self._cause is None:
                now = self._below.clock()
                data = self._mux.data_to_send(now)
                if data or self._below.has_output():
                    self._liveness.writing_since = now
                    await self._send(data)
                    self._liveness.writing_since = math.inf
                    continue
                if self._closing is not None and self._mux.drained():
                    self._lose(self._closing)  # here: nothing may be accepted between the last frame and the end
                    return
                await self._output.wait()
                self._output = anyio.Event()
        except SessionError as exc:
            self._lose(exc)

    async def _send(self, data: Sequence[bytes | bytearray | memoryview]) -> None:
        await self._below.send_parts(data)
        if sum(map(len, data)) >= TURN_BYTES:  # it may not have had to wait, and there may be more for long
            await checkpoint()

    async def _read_loop(self) -> None:
        try:
            await self._below.receive_all(self._arrived)
        except anyio.EndOfStream:
            self._lose(SessionClosed(*self._below.peer_close))
        except SessionError as exc:
            self._lose(exc)

    def _arrived(self, pieces: Iterable[bytes]) -> None:
        """Take what one read brought.  The event loop may call this, not a task."""
        now = self._liveness.heard = self._below.clock()
        self._arrived_before = self._mux.arrivals
        try:
            for data in pieces:
                if self._cause is None:  # the cancellation may not have reached the reader yet
                    self._mux.receive_data(data, now)
        except SessionError as exc:  # at once: nothing can be sent any more
            self._lose(exc)

    async def _keep(self) -> None:
        """Look after the peer: is it there, does it take what we send, did it leave something lying?"""
        liveness, below = self._liveness, self._below
        while True:
            await anyio.sleep(liveness.interval)
            liveness.look(below.clock())
            try:
                liveness.check(below.sent_at)
                below.check_time(liveness.overdue)
            except SessionError as exc:
                self._lose(exc)
            self._mux.tick(liveness.overdue)
            if liveness.asks():
                self._mux.ping(bytes(8))

    async def _farewell(self) -> None:
        """Say why, if there is still somebody to say it to, and let go of the connection."""
        try:
            with CancelScope(shield=True), anyio.move_on_after(FAREWELL):
                words, dropped = farewell(self._cause), 0
                if self._aborted or words is None:
                    return
                if isinstance(self._cause, RemoteProtocolError):
                    await self._send(self._mux.data_to_send(self._below.clock()))  # h2's GOAWAY
                await self._below.send_close(*words)
                while dropped < UNDER_WAY:  # the peer ends, too: a reset could overtake what it did not read yet
                    dropped += len(await self._below.receive())
        except (SessionError, anyio.EndOfStream):
            pass  # it is over in any case; why, is in self._cause
        finally:
            with CancelScope(shield=True):
                await anyio.aclose_forcefully(self._below)

    def wake_writer(self) -> None:
        """For the mux: there is something to send."""
        self._output.set()

    # --- the end ----------------------------------------------------------------------------------

    def _lose(self, cause: SessionError) -> None:
        """The session is over.  The first cause stays."""
        if self._cause is not None:
            return
        self._cause = cause
        orderly = isinstance(cause, SessionClosed) and cause.code != "protocol-error"
        log = logger.info if orderly else logger.warning
        log("session with %s at %s: %s", self.peer.name, self.peer.address, cause)
        self._mux.lose(cause, self.peer.name)
        self._accepting.wake_all()
        for _, event in self._pings.values():
            event.set()
        self._over.set()
        self._io_scope.cancel()

    def _check(self) -> None:
        if self._cause is not None:
            raise self._cause.again()
        if self._closing is not None:
            raise SessionClosed("draining")

    async def _drain(self, cause: SessionClosed) -> None:
        """Take nothing new from the peer, and wait until everything accepted has left; then the session is over."""
        if self._cause is None and self._closing is None:
            self._closing = cause
            self._mux.drain()
        await self._over.wait()

    async def aclose(self) -> None:
        """Close the session: take no more, deliver what was accepted (for `Limits.close` seconds at most), say so.

        Channels that are still open are lost on both sides: close what you want to end in order. When the peer closes
        at the same time, the session ends once both have delivered. Never raises.
        """
        try:
            async with within(self._limits.close):
                await self._drain(SessionClosed())
        finally:
            self._lose(SessionClosed())
        with anyio.move_on_after(2 * FAREWELL, shield=True):
            await self._ended.wait()

    def abort(self) -> None:
        """End the session at once; what was accepted and has not left is lost."""
        self._aborted = True
        self._lose(SessionClosed("aborted"))

    def regrant(self, grant: Grant | None) -> None:
        """For the listener: the peer's name, and what it may do from now on; what it may do no more is ``revoked``."""
        if grant is None:
            self._mux.drop_arrived()
            self._lose(SessionClosed("revoked"))
        else:
            self.peer.name, self._allows = grant.name, grant.allows
            self._carrier.revoke(grant.allows)
        withdraw(self._incoming, "revoked", allows=grant.allows if grant is not None else None)
        if self._serving is not None:
            self._serving.stop(grant)

    async def wait_closed(self) -> SessionError:
        """Return, with the cause, when the session is over."""
        await self._ended.wait()
        assert self._cause is not None
        return self._cause

    async def ping(self) -> float:
        """Measure the round trip to the peer's session, in seconds.  Raises the error that ended the session.

        More than some 20 a second, for long, are a flood to the peer, which ends the session.
        """
        self._check()
        self._ping_count += 1
        payload, event = self._ping_count.to_bytes(8, "big"), anyio.Event()
        began = self._below.clock()
        self._pings[payload] = (began, event)
        try:
            self._mux.ping(payload)
            await event.wait()
        finally:
            del self._pings[payload]
        if self._cause is not None:
            raise self._cause.again()
        return self._below.clock() - began

    def pong(self, payload: bytes) -> None:
        """For the mux: a PING came back."""
        if payload in self._pings:
            began, event = self._pings[payload]
            self._mux.measured(self._below.clock() - began)
            event.set()

    def exporter(self, label: str, length: int) -> bytes:
        """A secret of ``length`` bytes of the two peers for each ``label`` (ASCII), the same on both sides at any time.

        Raises `ValueError` for what can't be, also over a byte stream of your own, which has no secrets.
        """
        return self._below.export(label, length)

    def statistics(self) -> SessionStatistics:
        volume = self._below.volume
        streams, budget, round_trip = self._mux.statistics()
        age = self._below.clock() - self._began
        return SessionStatistics(streams, len(self._incoming), budget, age, volume, round_trip)

    def streams(self) -> list[Stream]:
        """For inspection.py: what is open now."""
        return list(self._mux.streams.values())

    @property
    def closed(self) -> bool:
        """Whether the session is over; `wait_closed` says why."""
        return self._cause is not None

    @property
    def suite(self) -> str:
        """The name of the record suite (protocol section 3.1); empty over a byte stream of your own."""
        return self._below.suite
