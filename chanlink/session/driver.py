"""What keeps a session going: bytes from its multiplexer to the stream below, and back, until it is over.

A `Driver` runs any multiplexer over any `SecureStream`, and knows nothing of channels and services. Its tasks are a
reader, a writer and a keeper. This is how the bytes of a message go, in the order of the functions below:

    1. `_write` asks the mux for the frames of everything that was queued since, and sends them in one go; or `flush`
       does, for a task that is about to wait.
    2. `_read` of the other side brings them to the mux there, and so to the inboxes of their streams.

Its life goes through the phases of `Phase`, always forward. The first cause of the end stays.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto

import anyio
from anyio import CancelScope
from anyio.lowlevel import checkpoint

from chanlink import clock
from chanlink.bytes_like import Part
from chanlink.channels.waiting import within
from chanlink.errors import ConnectionLost, RemoteProtocolError, SessionClosed, SessionError
from chanlink.limits import Limits
from chanlink.printing import printable_logger
from chanlink.security.stream import SecureStream, farewell
from chanlink.transport.base import close_at_once
from chanlink.wire.multiplexer import TURN_BYTES, Multiplexer, Owner
from chanlink.wire.stream import Stream

from .liveness import Liveness
from .peer import Peer
from .pings import Pings
from .states import State
from .telling import Telling

logger = printable_logger(__name__)

FAREWELL = 1.0
"""Seconds that a session takes at most to say why it ends when it does not end in order."""


class Foretold(ConnectionLost):
    """A loss of many sessions at once, of which the log has said how many: it does not warn of each."""


class Phase(Enum):
    """Where a session is in its life."""

    OPEN = auto()
    DRAINING = auto()
    """One of the two takes no more top-level channels from the other; all else goes on."""
    CLOSING = auto()
    """This side takes nothing new, and it is over once everything that was accepted has left."""
    OVER = auto()
    """There is a cause, and channels are lost."""
    SAID = auto()
    """The peer was told why, as far as it could be, and the connection is closed."""


_STATES: dict[Phase, State] = {
    Phase.OPEN: "open",
    Phase.DRAINING: "draining",
    Phase.CLOSING: "draining",
    Phase.OVER: "closed",
    Phase.SAID: "closed",
}
"""What they are called outside."""


class Driver:
    """Runs a multiplexer over a stream, for one session. It is what the multiplexer tells (an `Owner`).

    Whole: what runs, and the one end that all of it has.
    """

    def __init__(
        self,
        below: SecureStream,
        make_mux: Callable[[Owner], Multiplexer],
        peer: Peer,
        limits: Limits,
        *,
        client_side: bool,
        opened: Callable[[Stream], None],
        changed: Callable[[], None],
        tend: Callable[[], None] = lambda: None,
        telling: Telling | None = None,
    ) -> None:
        self.below = below
        self.peer = peer
        self.began = below.clock()
        self.phase = Phase.OPEN
        self.cause: SessionError | None = None
        """Why it is over; None before."""
        self.stream_opened = opened
        self.liveness = Liveness(limits, self.began, None if client_side else below)
        self._limits = limits
        self._changed = changed
        self._tend = tend
        self._telling = telling
        self._last_words: tuple[str, str] | None = None
        self._concluded: SessionClosed | None = None
        """While the session is being closed: the cause of its end once everything has left."""
        self._close_by: float | None = None
        """Until when (`clock.now`) an end in order may be on its way; None where it is no such end."""
        self._parting = CancelScope(shield=True)
        """The farewell, when it has begun."""
        self._over = anyio.Event()
        self._said = anyio.Event()
        self._output = anyio.Event()
        self._arrived_before = 0
        self._pings = Pings()
        # Shielded: a block that is cancelled has something to say to the peer yet. `lose` ends it, in any case.
        self._io = CancelScope(shield=True)
        self.mux = make_mux(self)
        below.on_output(self.wake_writer)  # for what it has to say besides data
        below.on_state(self._connection_changed)

    # --- the tasks --------------------------------------------------------------------------------

    async def run(self) -> None:
        """The session's life: reader, writer and keeper until it is over, then the farewell."""
        try:
            if self.below.keeps:
                await self._run_above()
            else:
                await self._run()
        finally:
            self.lose(SessionClosed("aborted"))  # unless there was another cause before
            self._enter(Phase.SAID)
            self._said.set()

    async def _run_above(self) -> None:
        """As `_run`, above a stream that has to be kept, also while it says farewell."""
        with CancelScope(shield=True):
            async with anyio.create_task_group() as kept:
                kept.start_soon(self._keep_below)
                await self._run()
                kept.cancel_scope.cancel()

    async def _keep_below(self) -> None:
        try:
            await self.below.keep()
        except Exception as exc:
            self._fail(exc)

    async def _run(self) -> None:
        with self._io:
            await self._run_io()
        await self._farewell()

    async def _run_io(self) -> None:
        try:
            async with anyio.create_task_group() as io:
                io.start_soon(self._read)
                io.start_soon(self._write)
                await self._keep()
        except* Exception as exc:  # on trio it may be in one group with the cancellation of the others
            self._fail(exc)

    def _fail(self, exc: Exception) -> None:
        """A defect, ours or of the byte stream below: an end of the session like others, not of the block."""
        logger.error("session with %s at %s failed on this side", self.peer.name, self.peer.address, exc_info=exc)
        lost = ConnectionLost("the session failed on this side; the log says why")
        lost.__cause__ = exc
        self.lose(lost)

    async def _write(self) -> None:
        try:
            while self.cause is None:
                now = self.below.clock()
                data = self.mux.data_to_send(now)
                if data or self.below.has_output():
                    self.liveness.writing_since = now
                    await self._send(data)
                    self.liveness.writing_since = math.inf
                    continue
                if self._concluded is not None and self.mux.drained():
                    self.lose(self._concluded)  # here: nothing may be accepted between the last frame and the end
                    return
                await self._output.wait()
                self._output = anyio.Event()
        except SessionError as exc:
            self.lose(exc)

    async def _send(self, data: Sequence[Part]) -> None:
        await self.below.send_parts(data)
        if sum(map(len, data)) >= TURN_BYTES:  # it may not have had to wait, and there may be more for long
            await checkpoint()

    def wake_writer(self) -> None:
        """For the mux, and the stream below: there is something to send."""
        self._output.set()

    def flush(self) -> bool:
        """Send a message, if that needs no waiting: the task that calls this is about to wait, perhaps for the answer.

        It saves the way over the event loop to the writer, which sends the rest, and what nobody waits for. Without
        it, a round trip takes 3 % more processor time and 7 % more of the time that passes (``round-trip`` of the
        bench).
        """
        if not self.mux.has_message or self.cause is not None or not self.below.can_send_now:
            return False
        if self.mux.arrivals - self._arrived_before > 1:
            return False  # what came last has woken others, too: the writer joins what all of them send
        try:
            now = self.below.clock()
            data = self.mux.data_to_send(now)
            if not data:
                return False
            if not self.below.send_now(data):
                self.liveness.writing_since = now
        except SessionError as exc:
            self.lose(exc)
        except Exception as exc:
            self._fail(exc)
        return True

    async def _read(self) -> None:
        try:
            await self.below.receive_all(self._arrived)
        except anyio.EndOfStream:
            self._close_by = self._close_by or clock.now() + self._limits.close
            self.lose(SessionClosed(*self.below.peer_close))
        except SessionError as exc:
            self.lose(exc)

    def _arrived(self, pieces: Iterable[bytes]) -> None:
        """Take what one read brought. The event loop may call this, not a task."""
        now = self.liveness.heard = self.below.clock()
        self._arrived_before = self.mux.arrivals
        try:
            for data in pieces:
                if self.cause is None:  # the cancellation may not have reached the reader yet
                    self.mux.receive_data(data, now)
        except SessionError as exc:  # at once: nothing can be sent any more
            self.lose(exc)

    async def _keep(self) -> None:
        """Look after the peer: is it there, does it take what we send, did it leave something lying?"""
        liveness, below = self.liveness, self.below
        while True:
            await anyio.sleep(liveness.interval)
            liveness.look(below.clock())
            if liveness.stood_still:
                self.check_connection()
            try:
                liveness.check(below.sent_at)
                below.check_time(liveness.overdue)
            except SessionError as exc:
                if not below.survives(exc):
                    self.lose(exc)
            self.mux.tick(liveness.overdue)
            self._tend()
            if self._telling is not None:
                self._telling.keys_are_of(below.epoch)
            if liveness.asks():
                self.mux.ping(bytes(8))

    def _connection_changed(self) -> None:
        """For the stream below: it goes away, or is back."""
        if not self.below.is_away:
            self.liveness.returned(self.below.clock())
        self._changed()

    def check_connection(self) -> None:
        """There is reason to doubt that the connection is there: ask the peer, and expect an answer soon."""
        if self.cause is not None:
            return
        self.below.check()
        if self._pings.checks(self.below.clock()):
            self.mux.ping(bytes(8))

    async def ping(self) -> float:
        """The round trip to the peer's session, in seconds. Raises the error that ended the session."""
        self.check()
        ping = self._pings.begin(self.below.clock())
        try:
            self.mux.ping(ping.payload)
            await ping.over.wait()
        finally:
            self._pings.forget(ping)
        if self.cause is not None:
            raise self.cause.again()
        return self.below.clock() - ping.began

    def pong(self, payload: bytes) -> None:
        """For the mux: a PING came back."""
        ping = self._pings.answer(payload)
        if ping is not None:
            self.mux.measured(self.below.clock() - ping.began)

    # --- the end ----------------------------------------------------------------------------------

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._changed()

    def check(self) -> None:
        """Raise the error that ended the session, or `SessionClosed` with code ``draining`` when it is being closed."""
        if self.cause is not None:
            raise self.cause.again()
        if self.phase is Phase.CLOSING:
            raise SessionClosed("draining")

    @property
    def state(self) -> State:
        if self.phase is Phase.OPEN and self.below.is_away:
            return "away"
        return _STATES[self.phase]

    def drain(self) -> None:
        """Take no more top-level channels from the peer; all else goes on."""
        if self.phase in (Phase.OPEN, Phase.DRAINING) and not self.mux.draining:
            self.mux.drain()
            self._enter(Phase.DRAINING)

    def peer_drains(self) -> None:
        """For the mux: the peer takes no more top-level channels."""
        if self.phase is Phase.OPEN:
            self._enter(Phase.DRAINING)

    async def _conclude(self, cause: SessionClosed) -> None:
        """Take nothing new from the peer, and wait until everything accepted has left; then the session is over."""
        if self.phase in (Phase.OPEN, Phase.DRAINING):
            self._concluded = cause
            self.mux.conclude()
            self._enter(Phase.CLOSING)
        await self._over.wait()

    async def close(self) -> None:
        """The end in order, as far as `Limits.close` seconds allow; for who is cancelled, a short farewell."""
        self._close_by = self._close_by or clock.now() + self._limits.close
        try:
            async with within(self._limits.close):
                await self._conclude(SessionClosed())
            self.lose(SessionClosed())
            with anyio.move_on_after(self._farewell_time() + FAREWELL):
                await self._said.wait()
        except BaseException:
            self._hurry()
            self.lose(SessionClosed())
            with anyio.move_on_after(2 * FAREWELL, shield=True):
                await self._said.wait()
            raise

    async def give_up(self, code: str) -> None:
        """The end when the block is left by an exception: channels fail with this code, and that leaves, if it can."""
        cause = SessionClosed(code)
        if self.cause is None:
            self.mux.give_up(code, cause, self.peer.name)
        with CancelScope(shield=True), anyio.move_on_after(FAREWELL):
            await self._conclude(cause)
        self._hurry()
        self.lose(cause)

    def _hurry(self) -> None:
        """Whoever leaves waits no longer for a connection: the farewell is one of a session that has only this one."""
        self._close_by = None
        self._parting.deadline = min(self._parting.deadline, anyio.current_time() + FAREWELL)

    def abort(self) -> None:
        """The end at once, without a word."""
        self.lose(SessionClosed("aborted"))
        self._last_words = None

    def lose(self, cause: SessionError) -> None:
        """The session is over. The first cause stays."""
        if self.cause is not None:
            return
        self.cause = cause
        self._last_words = farewell(cause)
        orderly = isinstance(cause, SessionClosed) and cause.code != "protocol-error"
        log = logger.info if orderly or isinstance(cause, Foretold) else logger.warning
        log("session with %s at %s: %s", self.peer.name, self.peer.address, cause)
        self.mux.lose(cause, self.peer.name)
        self._enter(Phase.OVER)
        self._pings.end()
        self._over.set()
        self._io.cancel()

    def _farewell_time(self) -> float:
        """Seconds for the farewell. What ends in order above a stream that comes back waits for that."""
        if self._close_by is None or not self.below.keeps:
            return FAREWELL
        return max(FAREWELL, self._close_by - clock.now())

    async def _farewell(self) -> None:
        """Say why, if there is still somebody to say it to, and let go of the connection."""
        try:
            with self._parting:
                self._parting.deadline = anyio.current_time() + self._farewell_time()
                words = self._last_words
                if words is None:
                    return
                if isinstance(self.cause, RemoteProtocolError):
                    await self._send(self.mux.data_to_send(self.below.clock()))  # h2's GOAWAY
                await self.below.send_close(*words)
                if self._close_by is not None or not self.below.is_away:
                    await self.below.finish()
        except (SessionError, anyio.EndOfStream):
            pass  # it is over in any case; `cause` says why
        finally:
            await close_at_once(self.below)

    async def wait_closed(self) -> SessionError:
        """Return, with the cause, when the peer was told and the connection is closed."""
        await self._said.wait()
        assert self.cause is not None
        return self.cause
