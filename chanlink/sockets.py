"""Addresses and raw sockets: what an endpoint needs before a peer is authenticated.

anyio's streams on asyncio read before anyone receives (a stranger could make us hold 8 MB in 0.2 s), so the handshake
reads a non-blocking socket by itself, just what it needs, and `RawStream.upgrade` wraps it afterwards.
"""

import errno
import os
import socket
import stat
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream, SocketStream, UNIXSocketStream

from .errors import AddressError, ConnectFailed

DEFAULT_PORT = 9323
BACKLOG = 1_024


class Address(NamedTuple):
    """A parsed address: of a host and port, or of a Unix socket (`path`)."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read ``tcp://host:port`` (port 9323 if none is given) or ``unix:/path``.  Raises `AddressError`."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or "\0" in path or len(os.fsencode(path)) > 107:  # sockaddr_un has 108 bytes, one is zero
            raise AddressError(f"{text!r} has no usable path; write unix:/path")
        return Address("", 0, os.path.expanduser(path))
    try:
        parts = urlsplit(text)
        port = DEFAULT_PORT if parts.port is None else parts.port
    except ValueError as exc:
        raise AddressError(f"{text!r} is no address: {exc}") from exc
    rest = parts.path or parts.query or parts.fragment or parts.username
    if parts.scheme != "tcp" or not parts.hostname or rest:
        raise AddressError(f"{text!r} is no address; write tcp://host:port or unix:/path")
    return Address(parts.hostname, port)


async def connect_socket(address: Address) -> "RawStream":
    """Connect; the addresses of a name are tried one after the other.  Raises `ConnectFailed`."""
    if address.path:
        return await _connect(socket.AF_UNIX, address.path, address)
    try:
        found = await anyio.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise ConnectFailed(f"{address}: no such host ({exc})") from exc
    problem: ConnectFailed | None = None
    for number, (family, _, _, _, sockaddr) in enumerate(found):
        try:
            with anyio.fail_after(_share(len(found) - number)):
                return await _connect(family, sockaddr, address)
        except ConnectFailed as exc:
            problem = exc
        except TimeoutError as exc:
            problem = ConnectFailed(f"{address}: no answer")
            problem.__cause__ = exc
    raise problem or ConnectFailed(f"{address}: no such host")


def _share(left: int) -> float | None:
    """The time for one of ``left`` addresses, so that one that does not answer leaves some to the others."""
    remaining = anyio.current_effective_deadline() - anyio.current_time()
    return None if left == 1 else remaining / left


async def _connect(family: int, sockaddr: Any, address: Address) -> "RawStream":
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        problem = sock.connect_ex(sockaddr)
        if problem in (errno.EINPROGRESS, errno.EAGAIN):
            await anyio.wait_writable(sock)
            problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise ConnectFailed(f"{address}: {os.strerror(problem)}")
        return RawStream(sock)
    except OSError as exc:
        sock.close()
        raise ConnectFailed(f"{address}: {exc.strerror or exc}") from exc
    except BaseException:
        sock.close()
        raise


async def listening_sockets(address: Address) -> list[socket.socket]:
    """Sockets that listen on every address of a name, all on one port.  Raises `ConnectFailed`."""
    try:
        if address.path:
            return [_listen_unix(address.path)]
        found = await anyio.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return _listen_tcp(address, [(family, sockaddr) for family, _, _, _, sockaddr in found])
    except (OSError, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        raise ConnectFailed(f"can't listen on {address}: {reason}") from exc


def _listen_tcp(address: Address, found: list[tuple[int, Any]]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, (host, port, *rest) in found:
            if port == 0 and sockets:  # the same free port on all of them
                port = sockets[0].getsockname()[1]
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port, *rest))
            sock.setblocking(False)
            sock.listen(BACKLOG)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listen_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        _remove_stale(path)
        sock.bind(path)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket that a killed process left: one that nobody listens on."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return  # bind says that it is in use
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            with suppress(FileNotFoundError):
                os.unlink(path)


class RawStream(ByteStream):
    """A connected, non-blocking socket, read only as far as asked."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._upgraded: ByteStream | None = None

    async def upgrade(self) -> ByteStream:
        """The same connection as an anyio stream, to be used instead of this one (but for closing)."""
        kind = UNIXSocketStream if self._sock.family == socket.AF_UNIX else SocketStream
        self._upgraded = await kind.from_socket(self._sock)
        return self._upgraded

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        while True:
            try:
                data = self._sock.recv(max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._sock)
                continue
            except OSError as exc:
                raise anyio.BrokenResourceError from exc
            if not data:
                raise anyio.EndOfStream
            return data

    async def send(self, item: bytes) -> None:
        while item:
            try:
                item = item[self._sock.send(item) :]
            except BlockingIOError:
                await anyio.wait_writable(self._sock)
            except OSError as exc:
                raise anyio.BrokenResourceError from exc

    async def send_eof(self) -> None:
        with suppress(OSError):  # the peer has gone already: it sees the end in any case
            self._sock.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        if self._upgraded is not None:
            await self._upgraded.aclose()
        else:
            anyio.notify_closing(self._sock)
            self._sock.close()
