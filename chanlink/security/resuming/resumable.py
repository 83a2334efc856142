"""The stream of a session that outlives its connection (protocol section 3.7).

It is one stream of data in each direction, over one connection after the other. Whoever uses it notices a connection
that breaks by nothing but time:

    1. `send_parts` and `send_now` put what they are given into the ledger; what the connection takes at once leaves.
    2. The pump, a task of `keep`, sends what is left then, also when whoever sent it was cancelled: no record is ever
       broken off.
    3. What comes is counted as it is handed up. The peer is told after each quarter of what it keeps, by the one who
       reads; and what is left after a second, by the ticker, another task of `keep`.
    4. A connection that fails is given up, and the stream is away. `keep` has it come back; then the ledger says what
       the pump has to send again.

There are three ways out: an end in order (both close records, both acknowledged), words of the peer that break a rule,
and no way back.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, NoReturn

import anyio
from anyio import CancelScope
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from chanlink import clock
from chanlink.bytes_like import Part, as_bytes
from chanlink.errors import ConnectionLost, LocalProtocolError, SessionError
from chanlink.forks import forget_in_child
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.rekey import FORGOTTEN, FORKED
from chanlink.security.stream import UNDER_WAY, SecureStream

from .ledger import Kept, Ledger
from .past import Past
from .silence import ANSWER
from .ticker import Ticker

TICK = 1.0
"""Seconds until what has come is acknowledged, and between two looks at what was not."""
TURN = 256 * 1024
"""Bytes that the pump gives the connection at a time: what was said meanwhile goes before the next ones."""


def _nobody(*_: object) -> None: ...


class ResumableStream(SecureStream):
    """A stream of data over one connection after the other.

    Whole: what is sent, what comes, and the ways from one connection to the next are one state.
    """

    keeps = True
    peer_close = ("", "")

    def __init__(
        self,
        connection: NoiseStream,
        *,
        unacknowledged: int,
        peer_unacknowledged: int,
        progress: float,
        patience: float,
        unheard: float | None = None,
        come_back: Callable[[], Awaitable[None]] | None = None,
        ended: Callable[[SessionError | None], None] = _nobody,
        tick: float = TICK,
    ) -> None:
        """Sizes are in bytes, times in seconds.

        ``unacknowledged`` is what is kept at most here, ``peer_unacknowledged`` there. ``come_back`` makes the next
        connection, and returns once it is attached; without one (at a server) it is waited for. After ``patience``
        seconds without, the stream is lost; after ``unheard``, if nothing has ever come by it. ``ended`` is told once
        when there is no way back: why, or None after an end in order.
        """
        self.is_away = False
        self.away_because: SessionError | None = None
        """Why the last connection was given up."""
        self.sent_again = 0
        """Bytes that had to be sent again, over all connections."""
        self._ledger = Ledger(unacknowledged, peer_unacknowledged)
        self._past = Past()
        self._ticker = Ticker(tick, progress)
        self._patience = patience
        self._unheard = patience if unheard is None else unheard
        self._come_back, self._told_end = come_back, ended
        self._secrets = connection.secrets
        self._connection: NoiseStream | None = connection
        self._last = connection
        self._lost: SessionError | None = None
        self._followers: list[Callable[[], None]] = []
        self._take_credential: Callable[[bytes], None] | None = None
        self._bodies: deque[bytes] = deque()
        # The clock:
        self._stood_still = self._away_since = 0.0
        self._is_finishing = False
        self._is_waiting = False  # somebody, until the connection takes more
        # Who waits:
        self._back = anyio.Event()
        self._went = anyio.Event()
        self._work = anyio.Event()
        self._pushed = anyio.Event()
        self._checked = anyio.Event()
        self._reading, self._pumping = CancelScope(), CancelScope()
        self._begin(connection)
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: as a `NoiseStream`, which forgets by itself."""
        self._secrets = FORGOTTEN
        self._lost = ConnectionLost(FORKED)
        self._connection = None
        self._ledger.forget()

    # --- out --------------------------------------------------------------------------------------

    async def send(self, item: bytes | bytearray) -> None:
        """Raises what there is no way back from; what a cancelled `send` was given is sent nevertheless."""
        data = as_bytes(item)
        await self.send_parts([data] if data else [])

    async def send_parts(self, parts: Sequence[Part]) -> None:
        self._check_send()
        if self.can_send_now:
            self.send_now(parts)
        else:
            self._ledger.accept(parts)
            self._push()
        while self._is_behind() or self._ledger.is_full:
            await self._advance()
            self._check_lost()

    @property
    def can_send_now(self) -> bool:
        connection = self._connection
        return connection is not None and self._ledger.passes and connection.can_send_now

    def send_now(self, parts: Iterable[Part]) -> bool:
        """Only if `can_send_now`. What has not left then leaves by and by, whether `send_parts` is called or not."""
        connection = self._connection
        assert connection is not None
        try:
            all_left = connection.send_now(self._ledger.pass_on(parts))
        except SessionError as exc:
            self._end_unless_survived(connection, exc)
            return False
        self._ticker.stir()
        return all_left

    def has_output(self) -> bool:
        return self._is_behind() and self._ledger.our_close is None

    def _is_behind(self) -> bool:
        """Whether something that was accepted has not left."""
        connection = self._connection
        return self._ledger.has_unsent or (connection is not None and connection.has_rest)

    async def _advance(self) -> None:
        """Wait until some more has left. Whoever is cancelled in here leaves it to the pump."""
        connection = self._connection
        if connection is None or not (connection.has_rest and connection.can_wait) or self._is_waiting:
            self._pushed = anyio.Event()
            self._work.set()
            await self._pushed.wait()
            return
        self._is_waiting = True
        try:
            await connection.wait_to_send()
        except SessionError as exc:
            self._end_unless_survived(connection, exc)
        except BaseException:
            self._work.set()
            raise
        finally:
            self._is_waiting = False
        self._push()

    def on_output(self, wake: Callable[[], None]) -> None:
        """What this stream has to say by itself leaves by itself."""

    async def send_close(self, code: str, text: str = "") -> None:
        """Say why, behind all that was accepted. It leaves by and by, and again after a break: see `finish`."""
        await checkpoint_if_cancelled()
        self._check_send()
        self._ledger.close(code, text)
        self._push()
        self._work.set()

    async def send_eof(self) -> None:
        if self._ledger.our_close is None:
            await self.send_close("")

    def _check_send(self) -> None:
        self._check_lost()
        if self._ledger.our_close is not None:
            raise ConnectionLost("the connection was closed on this side")

    def _check_lost(self) -> None:
        if self._lost is not None:
            raise self._lost.again()

    def _push(self) -> None:
        """Send what the connection takes without waiting."""
        connection = self._connection
        if connection is None:
            return
        try:
            while connection.send_rest_now() if connection.has_rest else connection.can_send_now:
                parts = self._next(connection)
                if parts is None:
                    break
                connection.send_now(parts)
        except SessionError as exc:
            self._end_unless_survived(connection, exc)
        if self._ledger.awaits:
            self._ticker.stir()

    def _next(self, connection: NoiseStream) -> list[Kept] | None:
        """What goes to the connection next; None if that has nothing to send."""
        parts, close = self._ledger.next_parts(TURN), self._ledger.next_close()
        if close is not None:
            connection.add_close(*close)
        return parts if parts or connection.has_output() else None

    async def _pump(self) -> None:
        while True:
            connection = self._connection
            if self._is_waiting or connection is None or not (self._ledger.has_next or connection.has_output()):
                self._let_go_on()
                await self._work.wait()
                self._work = anyio.Event()
                continue
            with CancelScope() as self._pumping:
                try:
                    if connection.has_rest and connection.can_wait:
                        await self._advance()
                    elif connection.can_wait:
                        self._push()
                    else:
                        await connection.send_parts(self._next(connection) or [])
                    await checkpoint()
                except SessionError as exc:
                    self._end_unless_survived(connection, exc)
            self._let_go_on()

    def _let_go_on(self) -> None:
        """Wake who waits in `send_parts` or in `finish`, if that may go on."""
        if not (self._is_behind() or self._ledger.is_full):
            self._pushed.set()
        if self._is_finishing and self._is_done():
            self._reading.cancel()  # nothing more comes

    # --- in ---------------------------------------------------------------------------------------

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        if max_bytes < 1:
            raise ValueError("max_bytes is at least 1")
        bodies = self._bodies
        while not bodies:
            if self._ledger.peer_closed:
                raise anyio.EndOfStream
            await self._receive_some(bodies.extend)
        body = bodies.popleft()
        if len(body) > max_bytes:
            bodies.appendleft(body[max_bytes:])
        return body[:max_bytes]

    async def receive_all(self, take: Callable[[Iterable[bytes]], None]) -> NoReturn:
        if self._bodies:
            bodies, self._bodies = self._bodies, deque()
            take(bodies)

        while not self._ledger.peer_closed:
            connection = await self._present()
            with CancelScope() as self._reading:
                try:
                    await connection.receive_all(
                        partial(self._arrived, connection, take), partial(self._heard_of, connection)
                    )
                except SessionError as exc:
                    if not self._survived(connection, exc):
                        raise
        raise anyio.EndOfStream

    async def _receive_some(self, take: Callable[[Iterable[bytes]], None]) -> None:
        connection = await self._present()
        with CancelScope() as self._reading:
            try:
                await connection.receive_some(
                    partial(self._arrived, connection, take), partial(self._heard_of, connection)
                )
            except anyio.EndOfStream:
                pass
            except SessionError as exc:
                if not self._survived(connection, exc):
                    raise

    async def _present(self) -> NoiseStream:
        """The connection, once there is one. Raises what there is no way back from."""
        while self._connection is None:
            self._check_lost()
            await self._back.wait()
        return self._connection

    def _arrived(
        self, connection: NoiseStream, take: Callable[[Iterable[bytes]], None], pieces: Iterable[bytes]
    ) -> None:
        """Take what one read brought."""
        if connection is not self._connection:
            return  # it was read for the last time before that
        self._ticker.hear()
        is_due = self._ledger.take(pieces)
        take(pieces)
        if is_due:
            self._tell(connection)
        else:
            self._ticker.stir()

    def _heard_of(self, connection: NoiseStream) -> None:
        """The peer has said what it has received, or that it has ended: `anyio.EndOfStream`.

        Raises `RemoteProtocolError` for a count that can't be.
        """
        if connection is not self._connection:
            return
        self._ticker.hear()
        ledger = self._ledger
        count = connection.take_count()
        if count is not None:
            ledger.acknowledge(count)
            if ledger.has_next:
                self._work.set()
            else:
                self._let_go_on()
        if connection.peer_ended and not ledger.peer_closed:
            ledger.take_close()
            self.peer_close = connection.peer_close
            self._tell(connection)
            raise anyio.EndOfStream

    def _tell(self, connection: NoiseStream) -> None:
        """Tell the peer what has come."""
        connection.acknowledge(self._ledger.tell())
        self._push()
        if self._is_finishing or (connection is self._connection and connection.has_output()):
            self._work.set()

    # --- looking after the connection -------------------------------------------------------------

    async def keep(self) -> None:
        """Send what others have left, watch the connection, and have it come back. Returns when the stream is lost."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._pump)
            tasks.start_soon(self._ticker.run, self._look)
            while self._lost is None:
                await self._went.wait()
                self._went = anyio.Event()
                await self._past.close()
                if self.is_away:
                    await self._return()
            tasks.cancel_scope.cancel()

    async def _return(self) -> None:
        """Be away, until there is another connection, or no way back."""
        before = self._past.begun
        patience = self._patience if self._ledger.received or before > 1 else self._unheard
        with anyio.move_on_after(patience):
            try:
                await (self._back.wait() if self._come_back is None else self._come_back())
            except SessionError as exc:
                self.lose(exc)
        if self._past.begun == before:
            self.lose(ConnectionLost(f"the connection was away for more than {patience:g} s"))

    def _look(self) -> None:
        """Another tick is over."""
        connection, ledger = self._connection, self._ledger
        self._ticker.rest_unless(connection is not None and (ledger.awaits or ledger.is_untold))
        if connection is None:
            return
        if ledger.is_untold:
            self._tell(connection)
        heard, why = self._ticker.tick(sent=ledger.given, acknowledged=ledger.acknowledged)
        if why and connection is self._connection and (heard or not self._may_be_stopped(connection)):
            self._go_away(ConnectionLost(why))

    def _may_be_stopped(self, connection: NoiseStream) -> bool:
        """Whether the peer is a client whose process may be stopped, since its machine is there."""
        return self._come_back is None and connection.peer_acknowledges(ANSWER)

    def check(self) -> None:
        """There is reason to doubt that the peer is there: the next answer may take a short time only."""
        self._ticker.hurry()
        checked, self._checked = self._checked, anyio.Event()
        checked.set()

    async def wait_checked(self) -> None:
        """Wait until `check` is called."""
        await self._checked.wait()

    def show_credential(self, blob: bytes) -> None:
        if self._connection is not None:  # else it is shown in the next handshake
            self._connection.show_credential(blob)

    def on_credential(self, take: Callable[[bytes], None]) -> None:
        self._take_credential = take
        if self._connection is not None:
            self._connection.on_credential(take)

    # --- from one connection to the next ----------------------------------------------------------

    def on_state(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called, too, when `is_away` has changed."""
        self._followers.append(changed)

    def _changed(self) -> None:
        for changed in self._followers:
            changed()

    def freeze(self) -> int:
        """The connection was read and written for the last time: it is given up, if it was not yet. Returns our count.

        Raises what there is no way back from.
        """
        self._check_lost()
        if self._connection is not None:
            self._go_away(ConnectionLost("the peer comes back by another connection"))
        return self._ledger.received

    def fits(self, count: int) -> bool:
        """Whether the peer can have received this much."""
        return self._ledger.fits(count)

    def attach(self, connection: NoiseStream, count: int) -> None:
        """Go on over another connection, after `freeze`; the peer has received this much, and knows our count.

        Raises what there is no way back from: `RemoteProtocolError` for a count that can't be, which ends the session.
        """
        self._check_lost()
        if self._connection is not None:
            raise LocalProtocolError("the connection before was not given up")
        try:
            self.sent_again += self._ledger.send_again(count)
        except SessionError as exc:
            self.lose(exc)
            raise
        self._ledger.tell()
        self._stood_still += clock.now() - self._away_since
        self.is_away = False
        self._begin(connection)
        self._ticker.begin()
        self._work.set()
        self._back.set()
        self._changed()

    def _begin(self, connection: NoiseStream) -> None:
        connection.expect_counts()
        connection.on_output(lambda: self._work.set())
        if self._take_credential is not None:
            connection.on_credential(self._take_credential)
        self._connection = self._last = connection
        self._past.begin()

    def survives(self, problem: SessionError) -> bool:
        if self._lost is not None:
            return False
        if self._connection is not None:
            self._go_away(problem)
        return True

    def _survived(self, connection: NoiseStream, problem: SessionError) -> bool:
        """Whether this problem of a connection is none of the session."""
        if connection is not self._connection:
            return self._lost is None
        if not (isinstance(problem, ConnectionLost) or connection.is_forged):
            return False
        return self.survives(problem)

    def _end_unless_survived(self, connection: NoiseStream, problem: SessionError) -> None:
        if not self._survived(connection, problem):
            self.lose(problem)

    def _go_away(self, why: SessionError) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        self._past.give_up(connection)
        connection.forget()  # its keys: who is away has none
        self._away_since, self.away_because = clock.now(), why
        self.is_away = True
        self._back = anyio.Event()
        self._reading.cancel()
        self._pumping.cancel()
        self._went.set()
        self._changed()

    # --- the end ----------------------------------------------------------------------------------

    async def finish(self) -> None:
        most = self._ledger.received + UNDER_WAY
        self._is_finishing = True
        while not self._is_done() and self._ledger.received < most:
            if self._connection is None:
                await self._present()  # which may have said all that was missing
            else:
                await self._receive_some(lambda pieces: None)

    def _is_done(self) -> bool:
        """Whether both sides have closed, and know it: the peer was told all that has come, and this has left."""
        connection, ledger = self._connection, self._ledger
        if connection is None or ledger.is_untold or connection.has_output():
            return False
        return ledger.our_close is not None and ledger.peer_closed and ledger.settled

    def lose(self, problem: SessionError) -> None:
        """There is no way back: what is called from now on, and what waits, raises this. The first problem stays."""
        self._end(problem, problem)

    async def aclose(self) -> None:
        """Say goodbye if that was not done, and close the connection, without waiting for anything."""
        try:
            if self._lost is None and self._ledger.our_close is None:
                await self.send_close("")  # not if it is closed forcefully
        except ConnectionLost:
            pass
        finally:
            closed = ConnectionLost("the connection was closed on this side")
            self._end(closed, None if self._ledger.our_close is not None else closed)
            await self._past.close()

    def _end(self, problem: SessionError, told: SessionError | None) -> None:
        if self._lost is not None:
            return
        self._lost = problem
        if self._connection is not None:
            self._past.give_up(self._connection)
            self._connection = None
        self._reading.cancel()
        self._pumping.cancel()
        for event in (self._back, self._went, self._work, self._pushed):
            event.set()
        self._told_end(told)

    # --- about it ---------------------------------------------------------------------------------

    @property
    def received(self) -> int:
        """Bytes that have come and were handed up, and one more for the peer's close record."""
        return self._ledger.received

    @property
    def sent(self) -> int:
        """Bytes that were accepted, and one more for our close record."""
        return self._ledger.sent

    @property
    def our_close(self) -> tuple[str, str] | None:
        """Code and text of our close record, once there is to be one."""
        return self._ledger.our_close

    @property
    def settled(self) -> bool:
        return self._ledger.settled

    def clock(self) -> float:
        return (self._away_since if self.is_away else clock.now()) - self._stood_still

    @property
    def sent_at(self) -> float:
        return self._last.sent_at - self._stood_still

    def check_time(self, overdue: Callable[[float, float], bool]) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            connection.check_time(lambda since, limit: overdue(since - self._stood_still, limit))
        except ConnectionLost as exc:
            self._end_unless_survived(connection, exc)

    def peer_acknowledges(self, seconds: float) -> bool:
        return self._connection is not None and self._connection.peer_acknowledges(seconds)

    def export(self, label: str, length: int) -> bytes:
        return self._secrets.export(label, length)

    @property
    def suite(self) -> str:
        return self._last.suite

    @property
    def epoch(self) -> int:
        return self._past.epoch(self._connection)

    @property
    def volume(self) -> int:
        return self._past.volume(self._connection)

    @property
    def extra_attributes(self) -> Any:
        return self._last.extra_attributes
