"""The man on the path: a listener, and what passes through each of its connections.

He works in the event loop of the test. Sockets are watched as they are, so that a reset is one on every backend.
"""

import errno
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import NamedTuple

import anyio
from anyio.abc import TaskGroup

from chanlink.tasks import tasks_beside

from .frames import Frames
from .rules import Rule, pass_on

RESET = struct.pack("ii", 1, 0)
QUEUE = 1_000
"""Frames that a way holds at most, before it reads no more."""


class Passed(NamedTuple):
    """A frame that came, in the order of all that came."""

    connection: int
    to_server: bool
    number: int
    length: int


class Way:
    """One direction of a connection. What comes is kept, and goes on as the rule says."""

    def __init__(
        self, connection: "Connection", source: socket.socket, sink: socket.socket, *, to_server: bool
    ) -> None:
        self.frames: list[bytes] = []
        """All that came, in order, whether it went on or not."""
        self.sent = 0
        """Bytes that have gone on."""
        self.sink: socket.socket = sink
        """Where it goes on; may be pointed elsewhere."""
        self.rule: Rule = pass_on
        self.delay = 0.0
        """Seconds that each frame is under way longer; order stays."""
        self._connection = connection
        self._source = source
        self._to_server = to_server
        self._flows = anyio.Event()
        self._flows.set()
        self._cut: tuple[int, Callable[[], None]] | None = None
        self._sending = anyio.Lock()

    def hold(self) -> None:
        """Let nothing on from now on but what is injected; what comes is kept for `release`."""
        if self._flows.is_set():
            self._flows = anyio.Event()

    def release(self) -> None:
        """Let on what was held, and what comes."""
        self._flows.set()

    def cut_at(self, place: int, cut: Callable[[], None] | None = None) -> None:
        """Once this many bytes of this way have gone on, in the middle of whatever it is, cut the connection:
        call ``cut``, which is `Connection.cut` if it is not given."""
        self._cut = (place, cut or self._connection.cut)

    async def inject(self, data: bytes) -> None:
        """Send bytes on at once, between two frames."""
        async with self._sending:
            await self._send(data)

    async def until(self, count: int) -> bytes:
        """Wait until so many frames came, and return the last of them."""
        while len(self.frames) < count:
            await self._connection.man.news.wait()
        return self.frames[count - 1]

    # --- what runs ---

    async def run(self) -> None:
        put, take = anyio.create_memory_object_stream[tuple[float, bytes]](QUEUE)
        async with anyio.create_task_group() as tasks, put, take:
            tasks.start_soon(self._pass_on, take.clone())
            take.close()
            frames = Frames(hello=self._to_server)
            with self._connection.passed_on():
                while data := await _receive(self._source):
                    for frame in frames.add(data):
                        self._connection.man.came(self._connection, self._to_server, len(self.frames), len(frame))
                        self.frames.append(frame)
                        await put.send((anyio.current_time() + self.delay, frame))
            put.close()
        if self._connection.is_whole and self._connection.passes_ends:
            await self._send(frames.rest)
            self.sink.shutdown(socket.SHUT_WR)

    async def _pass_on(self, queue: "anyio.abc.ObjectReceiveStream[tuple[float, bytes]]") -> None:
        number = 0
        async with queue:
            async for due, frame in queue:
                await anyio.sleep(max(0.0, due - anyio.current_time()))
                await self._flows.wait()
                data = await self.rule(number, frame)
                await self._flows.wait()  # the rule may have held it
                with self._connection.passed_on():
                    await self.inject(data)
                number += 1

    async def _send(self, data: bytes) -> None:
        left = memoryview(data)
        cut = None
        if self._cut is not None and self.sent + len(left) >= self._cut[0]:
            place, cut = self._cut
            self._cut, left = None, left[: max(0, place - self.sent)]
        while left and self.sink.fileno() != -1:  # that side may have been left
            try:
                count = self.sink.send(left)
            except BlockingIOError:
                await anyio.wait_writable(self.sink)
                continue
            self.sent += count
            left = left[count:]
        if cut is not None:
            cut()


class Connection:
    """What a client has begun, and how it goes on to the server."""

    def __init__(self, man: "Man", number: int, client: socket.socket, server: socket.socket) -> None:
        self.man = man
        self.number = number
        self.passes_ends = True
        """Whether one side is told that the other one has ended the connection, or reset it."""
        self.to_server = Way(self, client, server, to_server=True)
        self.to_client = Way(self, server, client, to_server=False)
        self._client, self._server = client, server
        self._scope = anyio.CancelScope()
        self._over = anyio.Event()

    @property
    def is_whole(self) -> bool:
        """Whether neither side was cut off."""
        return -1 not in (self._client.fileno(), self._server.fileno())

    def cut(self) -> None:
        """Reset the connection towards both sides."""
        self.leave_client()
        self.leave_server()
        self._scope.cancel()

    def leave_client(self) -> None:
        """Reset it towards the client only: at the server it goes on to live, and nothing comes any more."""
        _reset(self._client)

    def leave_server(self) -> None:
        """And the other way round."""
        _reset(self._server)

    def end(self) -> None:
        """End it towards both sides as TCP does in order, behind what has gone on."""
        for sock in (self._client, self._server):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
        self._scope.cancel()

    @contextmanager
    def passed_on(self) -> Iterator[None]:
        """For ways: what a side that is gone makes of the rest."""
        try:
            yield
        except OSError:
            if self.passes_ends:
                raise

    async def wait_over(self) -> None:
        """Return when both sides are gone."""
        await self._over.wait()

    async def run(self) -> None:
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._run, self.to_server)
                    tasks.start_soon(self._run, self.to_client)
        finally:
            for sock in (self._client, self._server):
                _close(sock)
            self._over.set()
            self.man.stir()

    async def _run(self, way: Way) -> None:
        try:
            await way.run()
        except* (OSError, anyio.ClosedResourceError, anyio.BrokenResourceError):
            if self.is_whole:
                self.cut()  # a reset is passed on, too


class Man:
    """Made by `attacker`."""

    def __init__(self, target: tuple[str, int], listener: socket.socket) -> None:
        self.address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        """As `chanlink.connect` takes it."""
        self.connections: list[Connection] = []
        """All that were begun, in order."""
        self.log: list[Passed] = []
        """All frames that came, of all connections."""
        self.prepare: Callable[[Connection], None] = lambda connection: None
        """Called with each new connection before anything has passed."""
        self.reaches = True
        """Whether new connections get to the server; else they are reset."""
        self.news = anyio.Event()
        """Set when something came, begun or ended; another one is in its place then."""
        self._target = target
        self._listener = listener

    @property
    def last(self) -> Connection:
        return self.connections[-1]

    async def until_connected(self, count: int) -> Connection:
        """Wait until so many connections were begun, and return the last of them."""
        while len(self.connections) < count:
            await self.news.wait()
        return self.connections[count - 1]

    def flights(self, since: int = 0) -> int:
        """How often the direction has changed among the frames of the log since this one, and one more."""
        ways = [passed.to_server for passed in self.log[since:]]
        return sum(one != other for one, other in zip([None, *ways], ways, strict=False))

    async def play(self, *frames: bytes) -> bytes:
        """Connect to the server as a stranger, say these frames (of a connection that passed, say), and return what
        comes until the server has hung up."""
        sock, answer = await self._reach(), b""
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                for frame in frames:
                    await anyio.wait_writable(sock)
                    sock.send(frame)
            with suppress(ConnectionResetError):
                while data := await _receive(sock):
                    answer += data
        finally:
            sock.close()
        return answer

    def came(self, connection: Connection, to_server: bool, number: int, length: int) -> None:
        """For ways: a frame is here."""
        self.log.append(Passed(connection.number, to_server, number, length))
        self.stir()

    def stir(self) -> None:
        """For connections: something has changed."""
        self.news.set()
        self.news = anyio.Event()

    async def run(self, tasks: TaskGroup) -> None:
        """Take connections until cancelled."""
        while True:
            await anyio.wait_readable(self._listener)
            with suppress(BlockingIOError):
                client, _ = self._listener.accept()
                tasks.start_soon(self._take, client)

    async def _take(self, client: socket.socket) -> None:
        client.setblocking(False)
        _without_delay(client)
        try:
            if not self.reaches:
                raise ConnectionRefusedError
            server = await self._reach()
        except OSError:
            _reset(client)
            return
        connection = Connection(self, len(self.connections), client, server)
        self.connections.append(connection)
        self.prepare(connection)
        self.stir()
        await connection.run()

    async def _reach(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        _without_delay(sock)
        try:
            if (problem := sock.connect_ex(self._target)) == errno.EINPROGRESS:
                await anyio.wait_writable(sock)
                problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if problem:
                raise OSError(problem, "no server")
        except BaseException:
            sock.close()
            raise
        return sock


@asynccontextmanager
async def attacker(target: str) -> AsyncGenerator[Man, None]:
    """The man on the path to a server at ``tcp://127.0.0.1:port``. Left, all connections are reset."""
    host, _, port = target.removeprefix("tcp://").rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    try:
        async with tasks_beside() as tasks:
            man = Man((host, int(port)), listener)
            tasks.start_soon(man.run, tasks)
            try:
                yield man
            finally:
                for connection in man.connections:
                    connection.cut()
                tasks.cancel_scope.cancel()
    finally:
        listener.close()


async def _receive(sock: socket.socket) -> bytes:
    while True:
        try:
            return sock.recv(65_536)
        except BlockingIOError:
            await anyio.wait_readable(sock)


def _without_delay(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _reset(sock: socket.socket) -> None:
    if sock.fileno() != -1:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        _close(sock)


def _close(sock: socket.socket) -> None:
    if sock.fileno() != -1:
        anyio.notify_closing(sock)
        sock.close()
