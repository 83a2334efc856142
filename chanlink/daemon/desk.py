"""What local applications say to the daemon: one task for each of their lines (protocol section 16).

Who is at the other end, the kernel says. Each user has bounds of its own, each message a time in which it has to come,
and nothing is waited for that an application could withhold. What fails here ends one line.
"""

import socket
import time
from contextlib import suppress

import anyio
from anyio.abc import TaskGroup

from chanlink import clock
from chanlink.errors import ConfigError, ConnectionLost, RemoteProtocolError, SessionError
from chanlink.features import ONE_SERVICE
from chanlink.handover.messages import (
    VERSION,
    Advertise,
    Advertised,
    Attach,
    Attached,
    Changed,
    Connect,
    Ended,
    Message,
    Over,
    Refused,
    Withdrawn,
)
from chanlink.handover.passing import Line
from chanlink.printing import printable, printable_logger
from chanlink.security.statics import Statics

from .accounts import IPC, Caller, caller_of
from .applications import Application, Applications
from .audit import Audit
from .bounds import CONNECTIONS, REQUESTS, Full, Held
from .handing import OURS, Handshake, hand_over, vouched
from .identities import Identities
from .journal import INCOMING, OUTGOING, Row
from .lines import Entry, Lines
from .outgoing import Outgoing, Refusal, refused

logger = printable_logger(__name__)

PATIENCE = 10.0
"""Seconds in which an application says its first message."""
CODE_MAX = 64
"""Characters of what an application says of the end of a session."""


class _Control:
    """The line of one outgoing session, as a `Holder`."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def tell(self, id_: bytes, code: str) -> None:
        self._send(Over(id=id_, code=code))

    def rename(self, id_: bytes, name: str) -> None:
        self._send(Changed(id=id_, name=name))

    def lost(self, id_: bytes) -> None:
        """What it says from now on means nothing; the application ends it."""

    def _send(self, message: Message) -> None:
        try:
            self._line.send_now(message)
        except ConnectionLost:
            self._line.close()


class Desk:
    """Meets the applications."""

    def __init__(
        self,
        tasks: TaskGroup,
        identities: Identities,
        outgoing: Outgoing,
        applications: Applications,
        lines: Lines,
        audit: Audit,
        advertised: Advertised,
    ) -> None:
        """``advertised`` is what applications that advertise are answered."""
        self._tasks = tasks
        self._identities = identities
        self._outgoing = outgoing
        self._applications = applications
        self._lines = lines
        self._audit = audit
        self._advertised = advertised
        self._connections = Held(CONNECTIONS)
        self._requests = Held(REQUESTS)

    def met(self, direction: str, service: str, sock: socket.socket) -> None:
        """Somebody has connected to a socket. One that has too many connections is closed without a word."""
        try:
            caller = caller_of(sock)
            self._connections.check(caller.uid)
        except (OSError, Full):
            sock.close()
            return
        self._connections.add(caller.uid)
        self._tasks.start_soon(self._live, direction, service, Line(sock), caller)

    async def _live(self, direction: str, service: str, line: Line, caller: Caller) -> None:
        """The life of one line."""
        try:
            if direction == IPC:
                await self._calling(service, line, caller)
            else:
                await self._serving(service, line, caller)
        except SessionError as exc:  # it has gone, or has said what is none of section 16
            logger.debug("the line of process %d ends: %s", caller.pid, exc)
        except Exception:  # a defect of ours: the others go on
            logger.exception("the line of process %d of the user %d has failed", caller.pid, caller.uid)
        finally:
            line.close()
            self._connections.give(caller.uid)

    async def _first(self, line: Line, *sorts: type[Message]) -> Message:
        """What an application says first. Raises `ConnectionLost` if it says nothing, and `RemoteProtocolError`."""
        with anyio.move_on_after(PATIENCE):
            return await line.receive(*sorts)
        raise ConnectionLost("it has said nothing")

    # --- who connects ---

    async def _calling(self, service: str, line: Line, caller: Caller) -> None:
        control = _Control(line)
        try:
            with self._requests.one(caller.uid):
                request = await self._first(line, Connect, Attach)
                if isinstance(request, Attach):
                    entry = self._attach(line, control, request, caller, service)
                else:
                    assert isinstance(request, Connect)
                    entry = await self._connect(line, control, request, caller, service)
        except (Full, Refusal) as exc:
            line.send_now(refused(exc))
            return
        if entry is not None:
            try:
                while True:  # what may come is a word on this being the line of a session that came back
                    word = await line.receive(Attach)
                    if word.id != entry.id:  # that would have no line when this one ends, and never be over
                        raise RemoteProtocolError("a line is that of one session")
                    self._attach(line, control, word, caller, service)
            except Exception:  # not where the daemon is stopped: the session goes on without it
                self._lines.let_go(entry, control, clock.now())
                raise

    def _attach(
        self, line: Line, holder: _Control | Application, request: Attach, caller: Caller, service: str
    ) -> Entry | None:
        """An application has a session of before: None if there is none."""
        way = OUTGOING if isinstance(holder, _Control) else INCOMING
        entry = self._lines.owned(request.id, caller.uid, service, way)
        if entry is None or request.version != VERSION:
            line.send_now(Over(id=request.id, code=self._lines.why_over(request.id, caller.uid)))
            return None
        if isinstance(holder, Application):
            holder.take(entry)
        else:
            entry.hold(holder)
        line.send_now(Attached(id=request.id, expires=entry.row.expiry or None))
        return entry

    async def _connect(
        self, line: Line, control: _Control, request: Connect, caller: Caller, service: str
    ) -> Entry | None:
        """Connect, and hand over, as long as the application waits for that; None if it is refused, or has gone."""
        entry: Entry | None = None

        async def connect() -> None:
            nonlocal entry
            try:
                entry = await self._handed(line, control, request, caller, service)
            except ConnectionLost as exc:  # of the line
                logger.info("process %d was gone when there was a session for it: %s", caller.pid, exc)
            except Exception as exc:
                self._refuse(line, request, caller, service, refused(exc))
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connect)
            with suppress(SessionError):
                await line.receive()
            tasks.cancel_scope.cancel()  # it does not wait any longer
        return entry

    def _refuse(self, line: Line, request: Connect, caller: Caller, service: str, said: Refused) -> None:
        logger.info("the user %d gets no session with %r: %s", caller.uid, request.host, said.text)
        about = {"uid": caller.uid, "service": service, "host": printable(request.host)}
        self._audit.refused(OUTGOING, said.code, **about)
        with suppress(ConnectionLost):
            line.send_now(said)

    async def _handed(self, line: Line, control: _Control, request: Connect, caller: Caller, service: str) -> Entry:
        """Raises what `refused` explains."""
        if request.version != VERSION:
            raise Refusal("version", f"this daemon speaks version {VERSION}")
        before = self._before(request, caller, service)
        user, statics = await self._identity(caller.uid)
        transport, handshake = await self._outgoing.reach(statics, service, request, request.limits)
        try:
            row = self._row(request, caller, user, service, handshake)
            entry = self._held(before, row, control)
            try:
                hand_over(line, transport, request.id, handshake)
            except ConnectionLost:
                self._lines.let_go(entry, control, clock.now())
                raise
            return entry
        finally:
            del handshake
            transport.close_now()

    def _before(self, request: Connect, caller: Caller, service: str) -> Entry | None:
        """The session that the application comes back to. Raises `Refusal`."""
        if request.session is None:
            if self._lines.find(request.id) is not None:
                raise Refusal("id-taken", "there is a session with this id")
            return None
        entry = self._lines.owned(request.id, caller.uid, service, OUTGOING)
        if entry is None or entry.row.host != request.host:
            raise Refusal("unknown-session", "there is no session with this id to come back to")
        return entry

    def _held(self, before: Entry | None, row: Row, control: _Control) -> Entry:
        """The entry of a session, which this line holds from now on. Raises `Refusal`, `Full` and `OSError`."""
        if before is None:
            if self._lines.find(bytes.fromhex(row.id)) is not None:
                raise Refusal("id-taken", "there is a session with this id")
            return self._lines.begin(row, control)
        if self._lines.find(before.id) is not before:
            raise Refusal("unknown-session", "the session has ended meanwhile")
        if row.key != before.row.key:
            raise Refusal("wrong-peer", "the host has another key than when the session began")
        self._lines.change(before, row._replace(since=before.row.since))
        before.lend(control)
        return before

    async def _identity(self, uid: int) -> tuple[str, Statics]:
        """Raises `Refusal`."""
        try:
            user, statics = await self._identities.of(uid)
        except ConfigError as exc:
            logger.error("the user %d has no identity that could be used: %s", uid, exc)
            raise Refusal("no-identity", "the daemon's identity for this user can't be used; its log says why") from exc
        if statics is None:
            raise Refusal("no-identity", f"the daemon has no key for {user}; run: chanlink daemon user add {user}")
        return user, statics

    def _row(self, request: Connect, caller: Caller, user: str, service: str, handshake: Handshake) -> Row:
        return Row(
            id=request.id.hex(),
            way=OUTGOING,
            uid=caller.uid,
            user=user,
            service=service,
            host=request.host,
            address="",
            key=handshake.presented.key.raw.hex(),
            since=time.time(),
            **vouched(handshake.grant),
        )

    # --- who serves ---

    async def _serving(self, service: str, line: Line, caller: Caller) -> None:
        try:
            with self._requests.one(caller.uid):
                request = await self._first(line, Advertise)
            assert isinstance(request, Advertise)
            application = await self._advertise(line, request, caller, service)
        except (Full, Refusal) as exc:
            line.send_now(refused(exc))
            return
        try:
            line.send_now(self._advertised)
            while True:
                self._said(application, await line.receive(Attach, Ended, Withdrawn))
        finally:
            self._applications.remove(application, clock.now())
            logger.info("process %d of %s serves %s no more", caller.pid, application.user, service)

    async def _advertise(self, line: Line, request: Advertise, caller: Caller, service: str) -> Application:
        """Raises `Full` and `Refusal`."""
        if request.version != VERSION or not OURS - {ONE_SERVICE} <= set(request.features):
            raise Refusal("version", f"this daemon speaks version {VERSION}, with {', '.join(sorted(OURS))}")
        user = await self._identities.name(caller.uid)
        application = Application(line, caller, user, service, request.resume or 0)
        self._applications.add(application)
        logger.info("process %d of %s serves %s", caller.pid, user, service)
        return application

    def _said(self, application: Application, message: Message) -> None:
        match message:
            case Withdrawn():
                application.withdraw()
            case Attach():
                self._attach(application.line, application, message, application.caller, application.service)
            case Ended(id=id_):
                entry = application.sessions.pop(id_, None)
                if entry is not None:
                    self._lines.end(entry, (message.code or "")[:CODE_MAX])
