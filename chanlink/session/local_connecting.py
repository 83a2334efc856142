"""`connect` to a `Local`: the daemon of this machine makes the connection, the session is ours (protocol section 16).

asking       a request to the daemon, and its answer: a connection and what has come of the handshake
a session    the same as any other; its line to the daemon says when it must end
coming back  one more request, with the same id
"""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import anyio

from chanlink.channels.waiting import within
from chanlink.errors import (
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    HandshakeError,
    HandshakeTimeout,
    ServerTooOld,
    SessionClosed,
    SessionError,
    UntrustedPeer,
    WrongPeer,
)
from chanlink.features import FEATURES
from chanlink.handover.handing import MICROSECONDS, client_stream_of, presented_of, said_of
from chanlink.handover.local import Local
from chanlink.handover.messages import ID_BYTES, Attach, Connect, HandedOver, Refused
from chanlink.handover.passing import Line, open_line
from chanlink.instrument import Instruments
from chanlink.limits import Limits, PeerLimits
from chanlink.security.handshake import Authenticated
from chanlink.security.resuming.agreement import Agreement, to_milliseconds
from chanlink.security.resuming.returning import TryFailed, return_over
from chanlink.security.stream import SecureStream
from chanlink.tasks import tasks_beside
from chanlink.transport.base import close_at_once
from chanlink.transport.dial import FIRST_PAUSE, LONGEST_PAUSE
from chanlink.transport.sockets import SocketTransport

from .coming_back import WayBack
from .local_line import ControlLine
from .local_vouching import LocalVouching
from .services import Services
from .session import Session, session_with
from .telling import attempting


class Taken(NamedTuple):
    """What the daemon has answered by."""

    line: Line
    handed: HandedOver
    transport: SocketTransport

    async def close(self) -> None:
        """Nothing comes of it."""
        self.line.close()
        await close_at_once(self.transport)


class Asking:
    """Asks the daemon for connections to one host, for one session."""

    def __init__(self, local: Local, limits: Limits) -> None:
        self.id = secrets.token_bytes(ID_BYTES)
        self._local = local
        self._limits = limits

    async def ask(self, seconds: float, *, resume: float = 0.0, session: bytes | None = None) -> Taken:
        """Ask for a connection, for a session that may be resumed, or to come back to this one. Raises as `connect`."""
        request = Connect(
            host=self._local.host,
            id=self.id,
            limits=said_of(self._limits),
            features=sorted(FEATURES),
            resume=to_milliseconds(resume) if resume else None,
            session=session,
            milliseconds=to_milliseconds(seconds) or 1,
        )
        line = await open_line(self._local.path)
        try:
            with suppress(ConnectionLost):  # who refuses at once may have ended the line; what it has said is there
                await line.send(request)
            answer = await line.receive_any([HandedOver, Refused])
            if isinstance(answer.message, Refused):
                raise _problem(answer.message, self._local)
        except BaseException:
            line.close()
            raise
        assert isinstance(answer.message, HandedOver)
        assert answer.connection is not None
        return Taken(line, answer.message, SocketTransport(answer.connection))

    async def ask_for(self, wait: float, timeout: float, resume: float) -> Taken:
        """As `ask`; for ``wait`` seconds it is tried again, while nobody is there."""
        until, pause = anyio.current_time() + wait, FIRST_PAUSE
        while True:
            try:
                return await self.ask(timeout, resume=resume)
            except ConnectFailed:
                left = until - anyio.current_time()
                if left <= 0:
                    raise
            await anyio.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)


def _problem(refused: Refused, local: Local) -> SessionError | ConfigError:
    """What a refusal of the daemon is in a program."""
    text = f"{local}: {refused.text or refused.code}"
    expected, found = refused.expected or "", refused.found or ""
    match refused.code:
        case "no-such-host" | "unreachable" | "stopping":
            return ConnectFailed(text)
        case "timeout":
            return HandshakeTimeout(text)
        case "wrong-peer" if expected and found:
            return WrongPeer(expected, found)
        case "untrusted" if found:
            return UntrustedPeer(found, refused.text)
        case "server-too-old":
            return ServerTooOld(text)
        case "busy":
            return SessionClosed("busy", refused.text)
        case "unknown-session":
            return SessionClosed("revoked", refused.text)
        case "handshake-failed" | "wrong-peer" | "untrusted" | "id-taken":
            return HandshakeError(text)
    return ConfigError(text)


def check_local(local: Local, service: str, *decided: object) -> None:
    """Raise `ConfigError` for what does not go with a `Local`: what the daemon decides, and another service."""
    if any(one is not None and one is not False for one in decided):
        raise ConfigError(
            "identity, peer, trust, psk, directory, trust_directory, early, via and security don't go with Local:"
            " it is the daemon that has the keys, and knows the servers"
        )
    if service not in ("", local.service):
        raise ConfigError(f"service={service!r} and {local}: a session is for one service")


# --- a session ----------------------------------------------------------------------------------


@asynccontextmanager
async def connect_locally(
    local: Local,
    *,
    services: Services | None,
    timeout: float,
    wait: float,
    limits: Limits,
    eager: bool,
    resume: float,
    instruments: Instruments | None,
) -> AsyncGenerator[Session, None]:
    """As `connect`, whose parameters these are."""
    asking = Asking(local, limits)
    with attempting(instruments, str(local)):
        taken, authenticated = await _reach(asking, local, wait=wait, timeout=timeout, resume=resume, eager=eager)
    vouching = LocalVouching(authenticated.presented, authenticated.grant, taken.handed.expires)
    line = ControlLine(taken.line, local.path, asking.id, vouching)
    session = session_with(
        authenticated,
        str(local),
        client_side=True,
        limits=limits,
        services=services,
        instruments=instruments,
        below=_resumable(authenticated, asking, local, line, limits),
        vouching=vouching,
    )
    async with tasks_beside() as tasks:
        tasks.start_soon(_keep, line, session)
        try:
            async with session:
                yield session
        finally:
            tasks.cancel_scope.cancel()
            line.close()


async def _keep(line: ControlLine, session: Session) -> None:
    """Keep the line for as long as the session lasts: its end is the end of that, to the daemon."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(line.keep)
        await session.wait_closed()
        tasks.cancel_scope.cancel()
    line.close()


async def _reach(
    asking: Asking, local: Local, *, wait: float, timeout: float, resume: float, eager: bool
) -> tuple[Taken, Authenticated]:
    """Have a connection handed over, and be welcome there, within the time."""
    progress: SessionError = ConnectFailed(f"{local}: no answer of the daemon within {wait + timeout:g} s")
    taken = None
    try:
        async with within(wait + timeout) as countdown:
            taken = await asking.ask_for(wait, timeout, resume)
            countdown.shorten(timeout)
            progress = HandshakeTimeout(f"{local}: the handshake did not end within {timeout:g} s")
            return taken, await _begin(taken, local, resume=resume, eager=eager)
        raise progress from TimeoutError()
    except BaseException:
        if taken is not None:
            await taken.close()
        raise


async def _begin(taken: Taken, local: Local, *, resume: float, eager: bool) -> Authenticated:
    handed = taken.handed
    presented, grant = presented_of(handed, None)
    stream = client_stream_of(taken.transport, handed, resumes=bool(resume))
    stream.begin_epoch()
    await stream.send_parts([])  # at once: until there are new keys, the daemon has had these
    if not eager:
        await stream.receive_welcome()
    return Authenticated(
        stream,
        presented,
        PeerLimits(**handed.peer_limits),
        grant,
        handed.round_trip / MICROSECONDS,
        FEATURES.intersection(handed.features),
        Agreement.read(stream.welcome, stream.export, resume) if resume else None,
        local.service,
    )


# --- coming back --------------------------------------------------------------------------------


class LocalWayBack(WayBack):
    """The way back to a session, by connections that the daemon makes."""

    def __init__(
        self,
        asking: Asking,
        line: ControlLine,
        name: str,
        authenticated: Authenticated,
        agreement: Agreement,
        limits: Limits,
    ) -> None:
        super().__init__(name, authenticated, agreement, limits)
        self._asking = asking
        self._line = line

    async def _attempt(self) -> bool:
        seconds = self._limits.handshake
        self._problem = HandshakeTimeout(f"no answer of the daemon within {seconds:g} s")
        async with within(seconds):
            try:
                taken = await self._asking.ask(seconds, session=self._agreement.session)
            except (ConnectFailed, HandshakeError, ConnectionLost, ConfigError) as exc:
                self._problem = exc
                return False
            except SessionClosed as exc:
                if exc.code == "revoked":
                    raise
                self._problem = exc
                return False
            return await self._return_by(taken)
        return False

    async def _return_by(self, taken: Taken) -> bool:
        try:
            if taken.handed.peer["key"] != self._key.raw:
                raise TryFailed(HandshakeError("the daemon has reached another server"))
            self._attempts += 1
            connection = client_stream_of(taken.transport, taken.handed, resumes=True)
            freeze = self.stream.freeze
            received = await return_over(connection, self._agreement, self._attempts, freeze, renews=True)
            self.stream.attach(connection, received)
        except TryFailed as exc:
            self._problem = exc.problem
            await taken.close()
            return False
        except BaseException:
            await taken.close()
            raise
        with suppress(ConnectionLost):  # the control line sees it, and attaches
            taken.line.send_now(Attach(id=self._asking.id))
        self._line.replace(taken.line)
        return True


def _resumable(
    authenticated: Authenticated, asking: Asking, local: Local, line: ControlLine, limits: Limits
) -> SecureStream:
    """The stream of the session: it outlives its connection, if the server has granted that."""
    agreement = authenticated.agreement
    if agreement is None:
        return authenticated.stream
    return LocalWayBack(asking, line, str(local), authenticated, agreement, limits).stream
