"""A `Line`: the socket between a daemon and an application (protocol section 16.1).

Each message is one packet (SOCK_SEQPACKET): what is sent leaves whole, with its descriptor, or not at all, and what is
received is whole, with whatever descriptors came. So nothing is ever cut in the middle, by nobody who is killed there.
Descriptors that nobody wants are closed before anything else is done with a message.
"""

import array
import errno
import os
import socket
from collections.abc import Collection
from typing import Any, NamedTuple, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from chanlink.errors import ConfigError, ConnectFailed, ConnectionLost, RemoteProtocolError
from chanlink.forks import forget_in_child, let_go
from chanlink.transport.address import MAX_PATH, reason_of
from chanlink.transport.base import BROKEN
from chanlink.transport.reaching import establish

from .messages import MESSAGE_MAX, HandedOver, Message, read_message

ONE = socket.CMSG_LEN(2 * array.array("i").itemsize) if hasattr(socket, "CMSG_LEN") else 0
"""Room for one descriptor more than any message may have. (Of `CMSG_SPACE` the system uses the padding, too.)"""
_GONE = "the other side of the line is gone"
_FULL = "the other side of the line reads nothing"

M = TypeVar("M", bound=Message)


class Received(NamedTuple):
    """A message, and the connection that came with it."""

    message: Message
    connection: socket.socket | None


class Line:
    """One side of the socket. One task receives at a time; any number may send."""

    def __init__(self, sock: socket.socket, *, takes_connections: bool = False) -> None:
        """It owns the socket. Only an application takes connections."""
        sock.setblocking(False)
        self._sock = sock
        self._takes = takes_connections
        self._sending = anyio.Lock()
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: the line is the parent's."""
        let_go(self._sock)

    @property
    def raw_socket(self) -> socket.socket:
        """The socket, to ask the system who is at its other end."""
        return self._sock

    # --- out ---

    def send_now(self, message: Message, connection: socket.socket | None = None) -> None:
        """Send it whole, with the descriptor of this connection, which remains open here.

        Raises `ConnectionLost`, when the other side is gone, or does not read what was sent before.
        """
        if not self._sent(message.packed(), connection):
            raise ConnectionLost(_FULL)

    async def send(self, message: Message) -> None:
        """Send it, when there is room. Raises `ConnectionLost`."""
        packed = message.packed()
        async with self._sending:
            while not self._sent(packed, None):
                try:
                    await anyio.wait_writable(self._sock)
                except (*BROKEN, OSError, ValueError) as exc:
                    raise ConnectionLost(_GONE) from exc

    def _sent(self, packed: bytes, connection: socket.socket | None) -> bool:
        with_it = []
        if connection is not None:
            with_it = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [connection.fileno()]))]
        try:
            self._sock.sendmsg([packed], with_it)
        except BlockingIOError:
            return False
        except OSError as exc:
            if exc.errno in (errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS):
                return False
            raise ConnectionLost(f"{_GONE}: {reason_of(exc)}") from exc
        return True

    # --- in ---

    async def receive(self, *sorts: type[M]) -> M:
        """The next message, which has to be one of these sorts, and has no descriptor. Raises as `receive_any`."""
        received = await self.receive_any(sorts)
        message: Any = received.message
        return message  # type: ignore[no-any-return]

    async def receive_any(self, sorts: Collection[type[Message]]) -> Received:
        """The next message, of one of these sorts, and its connection, which is the caller's then.

        Raises `ConnectionLost` at the end of the line, and `RemoteProtocolError` for what no message is: the line is to
        be closed then. Cancelled, it has taken nothing.
        """
        await checkpoint()
        while (arrived := self._arrived()) is None:
            try:
                await anyio.wait_readable(self._sock)
            except (*BROKEN, OSError, ValueError) as exc:
                raise ConnectionLost(_GONE) from exc
        data, descriptors, is_cut = arrived
        try:
            if is_cut:
                raise RemoteProtocolError("a message that is too long, or has too many descriptors")
            if not data:
                raise ConnectionLost(_GONE)
            message = read_message(data, sorts)
            if len(descriptors) != (1 if isinstance(message, HandedOver) else 0):
                raise RemoteProtocolError(f"{message.WHAT} came with {len(descriptors)} descriptors")
            return Received(message, _connection(descriptors.pop()) if descriptors else None)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _arrived(self) -> tuple[bytes, list[int], bool] | None:
        """A packet, its descriptors, and whether the system has cut something off; None if there is nothing yet."""
        room = ONE if self._takes else 0
        try:
            data, ancillary, flags, _ = self._packet(room)
        except BlockingIOError:
            return None
        except OSError as exc:
            raise ConnectionLost(f"{_GONE}: {reason_of(exc)}") from exc
        descriptors = [one for level, kind, bytes_ in ancillary for one in _descriptors(level, kind, bytes_)]
        is_cut = bool(flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)) or len(data) > MESSAGE_MAX
        return data, descriptors, is_cut

    def _packet(self, room: int) -> Any:
        """As `socket.recvmsg`.

        Who ends its line before it has read all has the system say so before what it has sent: a refusal would be lost.
        """
        try:
            return self._sock.recvmsg(MESSAGE_MAX + 1, room, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:  # which is said once; then comes what was sent, and then the end
            return self._sock.recvmsg(MESSAGE_MAX + 1, room, socket.MSG_CMSG_CLOEXEC)

    def close(self) -> None:
        """End the line."""
        if self._sock.fileno() >= 0:
            anyio.notify_closing(self._sock)
            self._sock.close()


def _descriptors(level: int, kind: int, data: bytes) -> list[int]:
    if (level, kind) != (socket.SOL_SOCKET, socket.SCM_RIGHTS):
        return []
    found = array.array("i")
    found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return found.tolist()


def _connection(descriptor: int) -> socket.socket:
    """The connected socket that a descriptor is, which is closed otherwise. Raises `RemoteProtocolError`."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as exc:
        os.close(descriptor)
        raise RemoteProtocolError("the descriptor that came is no socket") from exc
    if sock.type != socket.SOCK_STREAM or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise RemoteProtocolError("the descriptor that came is no connection")
    sock.setblocking(False)
    return sock


async def open_line(path: str) -> Line:
    """Connect to the socket of a daemon. Raises `ConnectFailed`, and `ConfigError` where we may not, or nobody can."""
    if len(os.fsencode(path)) > MAX_PATH:
        raise ConfigError(f"{path!r} is no usable path: it has more than {MAX_PATH} bytes")
    sock = packet_socket()
    try:
        await establish(sock, path)
        return Line(sock, takes_connections=True)
    except BaseException as exc:
        sock.close()
        if isinstance(exc, PermissionError):
            group = "-".join(path.rsplit("/", 2)[1:])
            raise ConfigError(f"{path}: {reason_of(exc)}; is this user in the group {group}?") from exc
        if isinstance(exc, OSError):
            about = f"does `chanlink daemon` run, and does it have the service {path.rsplit('/', 1)[-1]}?"
            raise ConnectFailed(f"{path}: {reason_of(exc)}; {about}") from exc
        raise


def packet_socket() -> socket.socket:
    """A socket for a line, not connected. Raises `ConfigError` where the system has none."""
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except (OSError, AttributeError) as exc:
        raise ConfigError("a daemon hands over by Unix sockets of packets, which this system does not have") from exc
    sock.setblocking(False)
    return sock
