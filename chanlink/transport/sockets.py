"""Addresses and sockets.

A connection is a non-blocking socket and what anyio has to wait for one. anyio's own streams on asyncio read before
anyone receives (a stranger could make us hold 8 MB in 0.2 s), and can't be asked to send what can be sent without
waiting (docs/decisions/0011-sockets.md).
"""

import errno
import math
import os
import re
import socket
import stat
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple, NoReturn

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint, current_token

from chanlink import clock
from chanlink.errors import AddressError, ConnectFailed
from chanlink.forks import forget_in_child, let_go

from .racing import race
from .tcp_info import acknowledges

try:
    from sniffio import current_async_library_cvar
except ImportError:  # then anyio does without, too
    current_async_library_cvar = None  # type: ignore[assignment]

DEFAULT_PORT = 9323
BACKLOG = 4_096
"""What Linux allows if nobody has changed it. A full one costs a good client a second: its first packet is dropped."""
MAX_PATH = 107
"""sockaddr_un has 108 bytes, and one is zero (Linux; the others have less, and say so themselves)."""

UNSENT = 128 * 1024
"""Bytes that the system may hold before it sends them: what lies there, nothing can overtake."""

_RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)

_HOST = r"\[(?P<ipv6>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%[\w.-]+)?)\]|(?P<host>[^\s\[\]:/?#@%]+)"
_TCP = re.compile(rf"tcp://(?:{_HOST})(?::(?P<port>[0-9]{{1,5}}))?")
_NOT_HERE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""A machine without IPv6 says so, though its "localhost" has an IPv6 address."""


Place = tuple[int, Any]
"""Family and address of a socket."""


class Address(NamedTuple):
    """A parsed address: of a host and port, or of a Unix socket (`path`)."""

    host: str
    port: int
    path: str = ""

    @classmethod
    def of(cls, sockaddr: tuple[Any, ...]) -> "Address":
        """Of a socket of TCP; one that is good on one link only has that as its zone."""
        host, port, *more = sockaddr
        return cls(f"{host}%{_zone(more[1])}" if more and more[1] else host, port)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


def _zone(number: int) -> str:
    with suppress(OSError):  # it has just gone
        if re.fullmatch(r"[\w.-]+", name := socket.if_indextoname(number)):
            return name
    return str(number)


def parse_address(text: str) -> Address:
    """Read ``tcp://host:port`` (port 9323 if none is given) or ``unix:/path``.  Raises `AddressError`."""
    if text.startswith("unix:"):
        return Address("", 0, _parse_path(text))
    match = _TCP.fullmatch(text)
    if match is None or not text.isprintable():
        raise AddressError(f"{text!r} is no address; write tcp://host:port, tcp://[ipv6]:port or unix:/path")
    port = int(match["port"] or DEFAULT_PORT)
    if port > 65_535:
        raise AddressError(f"{text!r} is no address: a port is at most 65535")
    return Address(match["ipv6"] or match["host"], port)


def _parse_path(text: str) -> str:
    path = os.path.expanduser(text.removeprefix("unix:"))
    if path.startswith("~"):
        raise AddressError(f"{text!r}: there is no such home folder; set HOME, or write the whole path")
    try:
        length = len(os.fsencode(path))
    except UnicodeEncodeError as exc:
        raise AddressError(f"{text!r} has no usable path: {exc.reason}") from exc
    if not 0 < length <= MAX_PATH or "\0" in path:
        raise AddressError(f"{text!r} has no usable path; write unix:/path, of at most {MAX_PATH} bytes")
    return path


# --- connecting ---------------------------------------------------------------------------------


async def connect_socket(address: Address) -> "RawStream":
    """Connect to one of the addresses of a name.  Raises `ConnectFailed`.

    They are tried one after the other, the next one when the one before has failed or has not answered for a moment;
    whichever answers first is it.
    """
    if address.path:
        return await _connect((socket.AF_UNIX, address.path), address)
    places = _alternating(await _look_up(address))
    if not places:
        raise ConnectFailed(f"{address}: no such host")
    return await connect_to(places, address)


async def connect_to(places: Sequence[Place], address: Address) -> "RawStream":
    """As `connect_socket`, to one of these."""
    stream = await race([partial(_connect, place, address) for place in places])
    stream.others = [place for place in places if place != stream.place]
    return stream


def _alternating(places: Sequence[Place]) -> list[Place]:
    """IPv6 and IPv4 in turn, as long as there are both: a network may have no way out for all of one kind."""
    first = [place for place in places if place[0] == places[0][0]]
    others = [place for place in places if place[0] != places[0][0]]
    pairs = zip_longest(first, others)
    return [place for pair in pairs for place in pair if place is not None]


async def _look_up(address: Address, flags: int = 0) -> list[Place]:
    """The families and socket addresses of a name, each once.  Raises `ConnectFailed`."""
    kind = socket.SOCK_STREAM
    try:
        found: Sequence[tuple[int, int, int, str, Any]]
        try:  # a number needs no look-up, and no thread for it
            found = socket.getaddrinfo(address.host, address.port, type=kind, flags=flags | socket.AI_NUMERICHOST)
        except socket.gaierror:
            found = await anyio.getaddrinfo(address.host, address.port, type=kind, flags=flags)
    except (OSError, UnicodeError) as exc:
        raise ConnectFailed(f"{address}: no such host ({_text(exc)})") from exc
    return list(dict.fromkeys((int(family), sockaddr) for family, _, _, _, sockaddr in found))


async def _connect(place: Place, address: Address) -> "RawStream":
    family, sockaddr = place
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await _establish(sock, sockaddr)
        except BaseException:
            sock.close()
            raise
    except OSError as exc:
        raise ConnectFailed(f"{address}: {_text(exc)}") from exc
    return RawStream(sock, place)


async def _establish(sock: socket.socket, sockaddr: Any) -> None:
    while (problem := sock.connect_ex(sockaddr)) == errno.EAGAIN:
        await anyio.sleep(0.02)  # the backlog of a Unix socket is full, and nothing tells when it is not any more
    if problem == errno.EINPROGRESS:
        await anyio.wait_writable(sock)
        problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if problem:
        raise OSError(problem, os.strerror(problem))


def _text(exc: Exception) -> str:
    return exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)


# --- listening ----------------------------------------------------------------------------------


class ListeningSockets:
    """Sockets that listen on every address of a name, all on one port, or on a path."""

    def __init__(self, sockets: Sequence[socket.socket], path: str = "") -> None:
        self.sockets = sockets
        self.addresses = [str(Address.of(sock.getsockname())) for sock in sockets if not path] or [f"unix:{path}"]
        """As `connect_socket` takes them, with their real ports."""
        self._path = path
        self._file = _file_id(path)
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: it is the parent that listens."""
        self._file = None
        for sock in self.sockets:
            let_go(sock)

    def close(self) -> None:
        """Listen no more, and remove the file of a Unix socket."""
        # While we listen, nobody takes the file for a stale one; while the socket is open, its id is not used again.
        if self._file is not None and _file_id(self._path) == self._file:
            with suppress(OSError):
                os.unlink(self._path)
        for sock in self.sockets:
            anyio.notify_closing(sock)
            sock.close()


def _file_id(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


async def listening_sockets(address: Address) -> ListeningSockets:
    """Listen on every address of a name, or on a path.  Raises `ConnectFailed`."""
    found = [] if address.path else await _look_up(address, socket.AI_PASSIVE)
    try:
        if address.path:
            return ListeningSockets([_listen_unix(address.path)], address.path)
        return ListeningSockets(_listen_tcp(found))
    except OSError as exc:
        raise ConnectFailed(f"can't listen on {address}: {_text(exc)}", code="listen") from exc


def _listen_tcp(found: Sequence[Place]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    problem: OSError | None = None
    try:
        for family, (host, port, *rest) in found:
            if port == 0 and sockets:  # the same free port on all of them
                port = sockets[0].getsockname()[1]
            try:
                sockets.append(_listen(family, (host, port, *rest)))
            except OSError as exc:
                if exc.errno not in _NOT_HERE:
                    raise
                problem = exc
        if not sockets and problem is not None:
            raise problem
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listen(family: int, sockaddr: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX and os.name == "posix":  # elsewhere it would let others take the port over
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _listen_unix(path: str) -> socket.socket:
    _remove_stale(path)
    return _listen(socket.AF_UNIX, path)


def _remove_stale(path: str) -> None:
    """Remove a socket that a killed process left: one that nobody listens on."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return  # bind says that it is in use
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            with suppress(FileNotFoundError):
                os.unlink(path)


# --- a connection before the peer is authenticated ----------------------------------------------


def reset_when_closed(sock: socket.socket) -> None:
    """Let the end look the same whatever was read: else TCP says by a reset that something was not."""
    if sock.family != socket.AF_UNIX:
        with suppress(OSError):  # it is closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class RawStream(ByteStream):
    """A connected socket, read only as far as asked."""

    def __init__(self, sock: socket.socket, place: Place | None = None) -> None:
        self.place = place
        """What it was connected to."""
        self.others: Sequence[Place] = ()
        """Where else it could have been connected to."""
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            with suppress(OSError):  # of a connection that is over already; `receive` says so
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        self._sock = sock
        self._is_empty = True
        self._watch: _Watch | None = None
        self.sent_at = -math.inf
        """When something left last (`clock.now`)."""
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: the connection is the parent's."""
        let_go(self._sock)

    async def readable(self) -> bool:
        """Wait until there is something to receive; False if that is the end."""
        try:
            while (first := self._peek()) is None:
                await anyio.wait_readable(self._sock)
        except OSError as exc:
            raise self._problem() from exc
        return bool(first)

    def _peek(self) -> bytes | None:
        with suppress(BlockingIOError):
            return self._sock.recv(1, socket.MSG_PEEK)
        return None

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await checkpoint()  # there is always something to read from a peer that floods us
        while True:
            try:
                data = self._sock.recv(max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._sock)
                continue
            except OSError as exc:
                raise self._problem() from exc
            if not data:
                raise anyio.EndOfStream
            return data

    async def wait_readable(self) -> None:
        """Wait until `receive_now` has something, or should be tried."""
        self._check_open()
        if not self._is_empty:
            await checkpoint()  # there is always something to read from a peer that floods us
            return
        try:
            await anyio.wait_readable(self._sock)
        except (OSError, ValueError) as exc:  # it was closed meanwhile
            raise self._problem() from exc

    async def each_time_readable(self, look: Callable[[], None]) -> NoReturn:
        """Call `look` each time that `receive_now` should be tried, until it raises.

        asyncio's event loop calls it by itself: for each time that saves two system calls and a switch to this task.
        """
        loop: Any = current_token().native_token
        if not hasattr(loop, "add_reader") or os.name == "nt":  # trio; a loop that has it in name only
            while True:
                await self.wait_readable()
                look()
        self._check_open()
        self._watch = _Watch(loop, self._sock.fileno(), look)
        try:
            await self._watch.until_over()
        finally:
            self._watch = None

    def receive_now(self, buffer: memoryview) -> int | None:
        """Receive into a buffer what is there: how many bytes, 0 at the end; None when it is nothing yet."""
        self._is_empty = True
        try:
            size = self._sock.recv_into(buffer)
        except BlockingIOError:
            return None
        except OSError as exc:
            raise self._problem() from exc
        self._is_empty = size < len(buffer)
        return size

    def send_now(self, data: bytes | memoryview) -> int:
        """Send as much as can be sent without waiting: how many bytes."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise self._problem() from exc
        self.sent_at = clock.now()
        return sent

    def peer_acknowledges(self, seconds: float) -> bool:
        """Whether the peer's machine is known to be there, though its process may say nothing.

        A Unix socket has an end when its peer has; of TCP, see `tcp_info.acknowledges`.
        """
        if self._sock.family == getattr(socket, "AF_UNIX", None):
            return self._sock.fileno() >= 0
        return acknowledges(self._sock, seconds)

    async def send(self, item: bytes) -> None:
        await checkpoint()
        left = memoryview(item).cast("B")  # sizes are in bytes, whatever its items are
        while left:
            sent = self.send_now(left)
            left = left[sent:]
            if not sent:
                await self._wait_writable()

    async def _wait_writable(self) -> None:
        try:
            await anyio.wait_writable(self._sock)
        except (OSError, ValueError) as exc:
            raise self._problem() from exc

    def _check_open(self) -> None:
        """For who is about to wait: trio remembers for ever who waits for a socket that is closed already."""
        if self._sock.fileno() < 0:
            raise anyio.ClosedResourceError

    def _problem(self) -> Exception:
        return anyio.ClosedResourceError() if self._sock.fileno() < 0 else anyio.BrokenResourceError()

    async def send_eof(self) -> None:
        with suppress(OSError):  # the peer has gone already: it sees the end in any case
            self._sock.shutdown(socket.SHUT_WR)

    def reset_when_closed(self) -> None:
        """See the function of this name."""
        reset_when_closed(self._sock)

    async def aclose(self) -> None:
        if self._sock.fileno() >= 0:
            if self._watch is not None:
                self._watch.end(anyio.ClosedResourceError())
            anyio.notify_closing(self._sock)
            with suppress(OSError):
                self._sock.close()


class _Watch:
    """asyncio's event loop calls `look` when a socket is readable, as long as a task waits for the end of that."""

    def __init__(self, loop: Any, descriptor: int, look: Callable[[], None]) -> None:
        self._loop, self._descriptor, self._look = loop, descriptor, look
        self._over = anyio.Event()
        self._problem: Exception = anyio.ClosedResourceError()
        context = copy_context()
        if current_async_library_cvar is not None:  # sniffio knows asyncio by its tasks, and this is called outside
            context.run(current_async_library_cvar.set, "asyncio")
        context.run(loop.add_reader, descriptor, self._call)

    def _call(self) -> None:
        try:
            self._look()
        except Exception as exc:
            self.end(exc)
        except BaseException:  # Ctrl-C: it leaves the event loop, which may go on, but what was read is lost
            self.end(anyio.BrokenResourceError())
            raise

    def end(self, problem: Exception) -> None:
        if not self._over.is_set():
            self._loop.remove_reader(self._descriptor)
            self._problem = problem
            self._over.set()

    async def until_over(self) -> NoReturn:
        try:
            await self._over.wait()
        finally:
            self.end(self._problem)
        raise self._problem
