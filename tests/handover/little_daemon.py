"""A daemon of protocol section 16 for tests: one host, one user, and no bounds. Sockets and handshakes are real ones.

It keeps what it hands over, as an attacker who has taken the daemon over would.
"""

import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import SocketAttribute, TaskGroup

from chanlink import Identity, Limits, Trust
from chanlink.errors import ConnectionLost, SessionError
from chanlink.features import CREDENTIAL_RENEWAL, FEATURES, ONE_SERVICE
from chanlink.handover.messages import (
    Advertise,
    Advertised,
    Attach,
    Attached,
    Changed,
    Connect,
    Ended,
    HandedOver,
    Message,
    Over,
    Refused,
    Withdrawn,
)
from chanlink.handover.passing import Line, packet_socket
from chanlink.limits import PeerLimits
from chanlink.security.handshake import answer_to, ask, finish_as_client
from chanlink.security.handshake_server import hear
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.trust import Grant
from chanlink.security.rekey import Secrets
from chanlink.security.showing import agreed_of
from chanlink.security.statics import Statics
from chanlink.transport.accepting import accept_each
from chanlink.transport.address import Address, parse_address
from chanlink.transport.base import Transport
from chanlink.transport.reaching import connect_socket
from chanlink.transport.sockets import SocketTransport

OURS = FEATURES - {CREDENTIAL_RENEWAL}


class LittleDaemon:
    """Made by `little_daemon`."""

    def __init__(self, folder: Path, identity: Identity, limits: Limits) -> None:
        self.folder = folder
        self.identity = identity
        self.hosts: dict[str, tuple[str, PublicKey]] = {}
        """The address and key of each."""
        self.trust = Trust.nobody()
        self.limits = limits
        self.instance = secrets.token_bytes(16)
        self.expires: int | None = None
        """When what is handed over from now on ends."""
        self.handed: list[HandedOver] = []
        self.said: list[Message] = []
        """By applications, but for what they ask for."""
        self.lines: dict[bytes, Line] = {}
        """Of each session."""
        self.known: dict[bytes, str] = {}
        """The service of each session that has not ended, by its id."""
        self.advertising: dict[str, list[Line]] = {}
        self.resume: dict[Line, int] = {}
        """For how many milliseconds the clients of each may be away."""
        self.refuses: Refused | None = None
        """Answer each request by this."""
        self.is_silent = False
        """Answer nothing."""
        self.address = ""
        self._open: list[socket.socket] = []
        self._all: list[Line] = []
        self._tasks: TaskGroup

    # --- its life ---

    def start(self, tasks: TaskGroup, *services: str) -> None:
        """Listen for applications, and for clients of the network."""
        self._tasks = tasks
        for way, live in [("ipc", self._ipc), ("import", self._import)]:
            os.makedirs(self.folder / way, exist_ok=True)
            for service in services:
                path = self.folder / way / service
                with suppress(FileNotFoundError):
                    os.unlink(path)
                sock = packet_socket()
                sock.bind(str(path))
                sock.listen(100)
                self._accept(sock, live, service)
        if not self.address:
            sock = socket.create_server(("127.0.0.1", 0))
            self.address = str(Address.of(sock.getsockname()))
        else:
            where = parse_address(self.address)
            sock = socket.create_server((where.host, where.port))
        sock.setblocking(False)
        self._open.append(sock)
        self._tasks.start_soon(accept_each, sock, lambda sock, _: self._tasks.start_soon(self._client, sock), _no_room)

    def _accept(self, sock: socket.socket, live: object, service: str) -> None:
        self._open.append(sock)

        def accepted(connection: socket.socket, _: object) -> None:
            line = Line(connection)
            self._all.append(line)
            self._tasks.start_soon(self._live, live, service, line)

        self._tasks.start_soon(accept_each, sock, accepted, _no_room)

    def stop(self) -> None:
        """Be gone, as if killed; what it knows of sessions is on disk."""
        for sock in self._open:
            anyio.notify_closing(sock)
            sock.close()
        for line in self._all:
            line.close()
        self._open, self._all, self.lines, self.advertising = [], [], {}, {}

    async def _live(self, live: object, service: str, line: Line) -> None:
        with suppress(SessionError):
            await live(service, line)  # type: ignore[operator]
        line.close()

    def tell(self, message: Over | Changed) -> None:
        """Say this to who has the session."""
        self.lines[message.id].send_now(message)

    # --- applications that connect ---

    async def _ipc(self, service: str, line: Line) -> None:
        request = (await line.receive_any([Connect, Attach])).message
        if self.is_silent:
            await anyio.sleep_forever()
        if isinstance(request, Attach):
            self._attach(line, request)
        elif isinstance(request, Connect):
            if self.refuses is not None:
                line.send_now(self.refuses)
                return
            await self._connect(service, line, request)
            self.lines[request.id] = line
            self.known[request.id] = service
        while True:  # nothing else may come
            self._attach(line, await line.receive(Attach))

    async def _connect(self, service: str, line: Line, request: Connect) -> None:
        address, key = self.hosts[request.host]
        try:
            transport = await connect_socket(parse_address(address))
        except SessionError as exc:
            line.send_now(Refused(code="unreachable", text=str(exc)))
            raise
        noise, shown, found = await ask(transport, Statics(self.identity, Role.CLIENT))
        assert found.key == key
        features = frozenset(request.features) - {CREDENTIAL_RENEWAL} | {ONE_SERVICE}
        answer = answer_to(found, shown, Limits(**request.limits), features, service)
        for name in ("resume", "session"):
            if (value := getattr(request, name)) is not None:
                answer[name] = value
        handed = self._handed(
            request.id,
            await finish_as_client(transport, noise, answer),
            suite=found.suite.name,
            peer={"key": found.key.raw, "name": request.host},
            address=address,
            peer_limits=entries(found.peer_limits),
            limits=request.limits,
            features=sorted(agreed_of(features, found.offer)),
            round_trip=int(found.round_trip * 1e6),
        )
        self._hand_over(line, handed, transport)

    def _handed(self, id: bytes, secrets: Secrets, **entries: object) -> HandedOver:
        handed = HandedOver(
            id=id,
            identity=self.identity.public_key.raw,
            expires=self.expires,
            **secrets._asdict(),
            **entries,  # type: ignore[arg-type]
        )
        self.handed.append(handed)
        return handed

    def _hand_over(self, line: Line, handed: HandedOver, transport: Transport) -> None:
        try:
            line.send_now(handed, transport.extra(SocketAttribute.raw_socket))
        finally:
            transport.close_now()

    def _attach(self, line: Line, request: Attach) -> None:
        if request.id in self.known:
            self.lines[request.id] = line
            line.send_now(Attached(id=request.id, expires=self.expires))
        else:
            line.send_now(Over(id=request.id, code="unknown-session"))

    # --- applications that serve ---

    async def _import(self, service: str, line: Line) -> None:
        wanted = await line.receive(Advertise)
        if self.refuses is not None:
            line.send_now(self.refuses)
            return
        line.send_now(Advertised(limits=entries(self.limits), addresses=[self.address]))
        self.advertising.setdefault(service, []).append(line)
        self.resume[line] = wanted.resume or 0
        while True:
            match (await line.receive_any([Attach, Ended, Withdrawn])).message:
                case Attach() as request:
                    self._attach(line, request)
                case Ended() as ended:
                    self.said.append(ended)
                    self.known.pop(ended.id, None)
                case Withdrawn() as withdrawn:
                    self.said.append(withdrawn)
                    self.advertising[service].remove(line)

    async def _client(self, sock: socket.socket) -> None:
        transport = SocketTransport(sock)
        try:
            heard = await hear(transport, Statics(self.identity, Role.SERVER), self.limits, features=OURS)
        except SessionError:
            transport.close_now()
            return
        service = self.known.get(heard.session, heard.service)
        grant = self.trust.check(heard.presented.key) or Grant("nobody", frozenset())
        lines = [self.lines[heard.session]] if heard.session in self.lines else self.advertising.get(service, [])
        if not (lines and grant.allows(service)):
            transport.close_now()
            return
        id = heard.session or secrets.token_bytes(16)
        handed = self._handed(
            id,
            heard.secrets,
            suite=heard.suite.name,
            peer={"key": heard.presented.key.raw, "name": grant.name},
            address="somewhere:1",
            peer_limits=entries(heard.peer_limits),
            limits=entries(self.limits),
            features=sorted(heard.features),
            round_trip=int(heard.round_trip * 1e6),
            resume=min(heard.asked, self.resume[lines[0]]) or None,
            instance=self.instance if heard.asked or heard.session else None,
            returns=bool(heard.session) or None,
        )
        self.lines[id], self.known[id] = lines[0], service
        with suppress(ConnectionLost):
            self._hand_over(lines[0], handed, transport)


def entries(limits: Limits | PeerLimits) -> dict[str, int]:
    return {name: getattr(limits, name) for name in PeerLimits.__slots__}


def _no_room(problem: OSError) -> float:
    raise problem


@asynccontextmanager
async def little_daemon(
    folder: Path, *services: str, identity: Identity | None = None, limits: Limits | None = None
) -> AsyncIterator[LittleDaemon]:
    """A daemon in this folder, which knows these services."""
    daemon = LittleDaemon(folder, identity or Identity.generate("host"), limits or Limits())
    async with anyio.create_task_group() as tasks:
        daemon.start(tasks, *services)
        try:
            yield daemon
        finally:
            daemon.stop()
            tasks.cancel_scope.cancel()
