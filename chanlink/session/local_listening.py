"""What `listen` does with an `Advertised`: the daemon of this machine meets who comes, and hands over (section 16.5).

One line to the daemon carries what is said of all sessions of the listener. When it breaks, it is made again, and each
session is attached to the new one; meanwhile they go on. The line is closed last, so that the daemon has heard of each
end by then.
"""

import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import TaskGroup

from chanlink.backoff import Backoff
from chanlink.channels.waiting import within
from chanlink.errors import ConfigError, ConnectFailed, HandshakeTimeout, SessionClosed, SessionError
from chanlink.features import FEATURES
from chanlink.handover import messages
from chanlink.handover.handing import heard_of, presented_of
from chanlink.handover.local import Advertised
from chanlink.handover.messages import Attach, Attached, Changed, Ended, HandedOver, Message, Over, Refused, Withdrawn
from chanlink.handover.passing import Line, Received, open_line
from chanlink.instrument import Instrument, Instruments
from chanlink.limits import Limits
from chanlink.printing import printable_logger
from chanlink.security.handshake import Authenticated
from chanlink.security.handshake_server import Met, met_of, refuse, send_welcome
from chanlink.security.keys.trust import Grant
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.resuming.agreement import Agreement, to_milliseconds
from chanlink.security.resuming.proofs import secret_of
from chanlink.transport.base import close_at_once
from chanlink.transport.sockets import SocketTransport

from .local_vouching import LocalVouching
from .returns import Returns
from .telling import why_not

logger = printable_logger(__name__)

Host = Callable[[Authenticated, str], Awaitable[None]]
LONGEST_PAUSE = 5.0
"""Seconds between two attempts to reach the daemon again, at most."""
_SAID = (HandedOver, Over, Changed, Attached)
"""What a daemon says to one that has advertised."""


class LocalGreeter:
    """Takes the clients that the daemon hands over, as a `Greeter` takes those that connect."""

    def __init__(self, advertised: Advertised, limits: Limits, instruments: Instruments | None = None) -> None:
        self.addresses: list[str] = []
        """Those that the daemon listens on."""
        self.returns = Returns(limits, lambda presented: Grant("", None), renews=True)
        """The sessions that may be resumed; who comes back the daemon has let in."""
        self.closed = False
        self._advertised = advertised
        self.limits = limits
        """Those of the sessions."""
        self._instruments = instruments
        self._withdrawn = False
        self._held: dict[bytes, LocalVouching] = {}
        """The sessions, by the ids that the daemon knows."""
        self._new: dict[NoiseStream, LocalVouching] = {}
        self._line: Line
        self._tasks: TaskGroup
        self._host: Host

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, advertised: Advertised, limits: Limits, instruments: Instruments | None
    ) -> AsyncGenerator["LocalGreeter", None]:
        """A block in which the service is advertised. Raises `ConnectFailed` and `ConfigError`."""
        greeter = cls(advertised, limits, instruments)
        greeter._line, said = await greeter._advertise()
        greeter.addresses = list(said.addresses)
        greeter.limits = dataclasses.replace(limits, **said.limits)
        try:
            yield greeter
        finally:
            greeter._line.close()

    def start(self, tasks: TaskGroup, host: Host) -> None:
        """Begin to take clients."""
        self._tasks, self._host = tasks, host
        tasks.start_soon(self._listen)

    def vouching_of(self, authenticated: Authenticated) -> LocalVouching:
        """What the daemon says of the peer of a session that begins."""
        return self._new.pop(authenticated.stream)

    async def prekey(self) -> bytes:
        """None: the daemon takes no data in a first message."""
        return b""

    def stop_accepting(self) -> None:
        """Take no more clients, but those who come back."""
        if not self._withdrawn:
            self._withdrawn = True
            self._say(Withdrawn())

    def stop(self) -> None:
        """Take nobody any more."""
        if not self.closed:
            self.stop_accepting()
            self.closed = True
            self.returns.close()

    # --- the line ---

    def _say(self, message: Message) -> None:
        """Tell the daemon. If it does not read, the line is broken, and the next one begins with all that there is."""
        with suppress(SessionError):
            self._line.send_now(message)
            return
        self._line.close()

    async def _listen(self) -> None:
        while True:
            try:
                self._take(await self._line.receive_any(_SAID))
            except SessionError as exc:
                self._line.close()
                logger.warning("the line to the daemon is broken, and made again; sessions go on: %s", exc)
                await self._advertise_again()

    async def _advertise_again(self) -> None:
        backoff = Backoff(LONGEST_PAUSE)
        while True:
            await anyio.sleep(backoff.pause())
            try:
                line, said = await self._advertise()
                await self._attach_all(line)
            except (SessionError, ConfigError) as exc:
                logger.debug("the daemon can't be reached: %s", exc)
            else:
                break
        self._line, self.addresses[:] = line, said.addresses
        logger.info("the line to the daemon is there again")
        if self._withdrawn:
            self._say(Withdrawn())

    async def _attach_all(self, line: Line) -> None:
        """Say on this line which sessions there are. Raises `ConnectionLost`, and then it is closed."""
        try:
            for id in list(self._held):
                await line.send(Attach(id=id))
        except BaseException:
            line.close()
            raise

    async def _advertise(self) -> tuple[Line, messages.Advertised]:
        """A line on which the service is advertised. Raises `ConnectFailed` and `ConfigError`."""
        line = await open_line(self._advertised.path)
        try:
            async with within(self.limits.handshake):
                resume = to_milliseconds(self.limits.resume) or None
                with suppress(SessionError):  # as one that connects: a refusal may be there by now
                    await line.send(messages.Advertise(features=sorted(FEATURES), resume=resume))
                said = (await line.receive_any([messages.Advertised, Refused])).message
                if isinstance(said, messages.Advertised):
                    return line, said
                assert isinstance(said, Refused)
                raise _problem(said, self._advertised)
            raise ConnectFailed(f"{self._advertised}: the daemon does not answer")
        except BaseException:
            line.close()
            raise

    def _take(self, received: Received) -> None:
        match received.message:
            case HandedOver() as handed:
                assert received.connection is not None
                transport = SocketTransport(received.connection)
                if self.closed or (handed.returns or False) == (handed.id not in self._held):
                    transport.close_now()
                    if handed.id not in self._held:  # the daemon would keep it for as long as there is this line
                        self._say(Ended(id=handed.id))
                else:
                    self._tasks.start_soon(self._connection, handed, transport)
            case Over(id=id, code=code) if id in self._held:
                self._held[id].over(code)
            case Changed(id=id, name=name, expires=expires) if id in self._held:
                self._held[id].changed(name, expires)
            case Attached(id=id, expires=expires) if id in self._held:
                self._held[id].changed(None, expires)

    # --- clients ---

    async def _connection(self, handed: HandedOver, transport: SocketTransport) -> None:
        """The life of one connection."""
        authenticated, is_kept = None, False
        try:
            async with within(self.limits.handshake):
                authenticated = await self._meet(handed, transport)
                is_kept = True
            if not is_kept:
                raise HandshakeTimeout(f"no handshake within {self.limits.handshake:g} s")
        except SessionError as exc:
            logger.info("%s was closed: %s", handed.address, exc)
            if self._instruments is not None:
                self._instruments.tell(Instrument.connection_refused, handed.address, why_not(exc))
        finally:
            if not is_kept:
                await close_at_once(transport)
                self._over(handed)
        if authenticated is not None:
            try:
                await self._host(authenticated, handed.address)
            finally:
                self._over(handed)

    def _over(self, handed: HandedOver) -> None:
        """A session is over, or there was none."""
        if not handed.returns:
            self._held.pop(handed.id, None)
            self._say(Ended(id=handed.id))

    async def _meet(self, handed: HandedOver, transport: SocketTransport) -> Authenticated | None:
        """Welcome a client; None if the connection belongs to a session that there is. Raises `SessionError`."""
        presented, grant = presented_of(handed, {self._advertised.service})
        met = await met_of(transport, heard_of(handed, presented, self._advertised.service))
        if handed.instance is not None:
            self.returns.is_called(handed.instance)
        if met.resume is not None:
            await self.returns.take(met, met.resume, handed.address)
            self._held[handed.id].ends_at(handed.expires)  # which may be never, by now
            return None
        await self._check_room(met, handed)
        agreement = _agreement(met, handed)
        said = {} if agreement is None else {"instance": agreement.instance, "resumable": agreement.to_map()}
        await send_welcome(met, said)
        met.stream.begin_epoch()
        self._held[handed.id] = self._new[met.stream] = LocalVouching(presented, grant, handed.expires)
        heard = met.heard
        return Authenticated(
            met.stream,
            presented,
            heard.peer_limits,
            grant,
            heard.round_trip,
            heard.features & FEATURES,
            agreement,
            heard.service,
        )

    async def _check_room(self, met: Met, handed: HandedOver) -> None:
        problem = ""
        if len(self._held) >= self.limits.sessions:
            problem = f"there are {self.limits.sessions} sessions"
        elif dataclasses.replace(self.limits, **handed.limits) != self.limits:
            problem = "the daemon says other limits by now; this listener has to be made again"
            logger.error("%s: %s", self._advertised, problem)
        if problem:
            busy = SessionClosed("busy", problem)
            await refuse(met, busy, {})
            raise busy


def _agreement(met: Met, handed: HandedOver) -> Agreement | None:
    if handed.resume is None or handed.instance is None:
        return None
    secret = secret_of(met.stream.export)
    return Agreement(handed.id, handed.instance, secret, handed.resume / 1_000, shared=False)


def _problem(refused: Refused, advertised: Advertised) -> SessionError | ConfigError:
    """What a refusal of the daemon is in a program."""
    text = f"{advertised}: {refused.text or refused.code}"
    return ConnectFailed(text) if refused.code in ("stopping", "busy") else ConfigError(text)
