"""Connections of local programs over byte streams of a session, one each.

The way of a connection: a local program connects to the client's socket; the client opens a byte stream to the
service ``forward:ADDRESS``; the server, which serves just the addresses that it was told to allow, connects there; and
both sides copy. So what a key may reach is a matter of services, as all else in a trust file. Ends travel as in
TCP: a half-close as a half-close, and whatever breaks on one side is a reset on the other one.
"""

import logging
import socket
from collections.abc import Callable
from typing import Any

import anyio

import chanlink
from chanlink import ByteStream, Peer
from chanlink.command.problems import Usage
from chanlink.limits import Bucket
from chanlink.transport.accepting import accept_each
from chanlink.transport.address import Address, parse_address
from chanlink.transport.listen import ListeningSockets, listening_sockets
from chanlink.transport.reaching import connect_socket
from chanlink.transport.sockets import SocketTransport

PIECE = 64 * 1024
CONNECT_TIME = 10.0
"""Seconds that the address at the far side has to answer."""
PATIENCE = 10.0
"""Seconds that our side waits for the session, when it has just been lost."""
PAUSE = 0.1
"""Seconds without accepting when file descriptors have run out."""
RESET = "reset"
NOT_PERMITTED = "not-permitted"

logger = logging.getLogger("chanlink.forward")
logger.addFilter(chanlink.PrintableLog())


def parse_target(text: str) -> Address:
    """An address with its port: the default one of chanlink is never meant. Raises `AddressError` and `Usage`."""
    address = parse_address(text)
    if not address.path and (address.port == 0 or not text.rpartition(":")[2].isdigit()):
        raise Usage(f"{text}: write the port, too: tcp://HOST:PORT")
    return address


def service_of(target: Address) -> str:
    """The name of the service that connects to an address."""
    return f"forward:{target}"


# --- the far side -------------------------------------------------------------------------------


def forwarder(target: Address) -> chanlink.streams:
    """The service that connects to ``target``.

    A peer with a credential needs its ``permit-port-forwarding``, as with sshd. It enforces no ``force-command``: sshd
    forwards beside that command, and here whoever is to run one command gets no connections.
    """

    async def forward(stream: ByteStream, peer: Peer) -> None:
        if peer.issued is not None and not peer.issued.credential.permits_forwarding:
            logger.info("for %s: its credential does not permit forwarding", peer.name)
            give_up(stream, NOT_PERMITTED, "the credential has no permit-port-forwarding")
            return
        problem = f"{target}: no answer within {CONNECT_TIME:g} s"
        try:
            with anyio.fail_after(CONNECT_TIME):
                connection = await connect_socket(target)
        except (chanlink.ConnectFailed, TimeoutError) as exc:
            if isinstance(exc, chanlink.ConnectFailed):
                problem = str(exc)
            logger.info("for %s: %s", peer.name, problem)
            give_up(stream, "connect-failed", problem)
            return
        await join(connection, stream)

    return chanlink.streams(forward)


# --- our side -----------------------------------------------------------------------------------


async def local_sockets(text: str) -> ListeningSockets:
    """Where local programs connect. Raises `AddressError` and `ConnectFailed`."""
    return await listening_sockets(parse_address(text))


class Forwarder:
    """Takes connections and sends each over the session that there is just now."""

    def __init__(self, complain: Callable[[str], None]) -> None:
        self._session: chanlink.Session | None = None
        self._changed = anyio.Event()
        self._complain = complain
        self._complaints = Bucket(10, 1.0)

    def use(self, session: "chanlink.Session | None") -> None:
        """From now on; None while there is none."""
        self._session = session
        self._changed.set()
        self._changed = anyio.Event()

    async def accept_loop(self, sock: socket.socket, target: Address) -> None:
        """Runs until it is cancelled; nothing that a connection does ends it."""
        async with anyio.create_task_group() as tasks:

            def meet(connection: socket.socket, address: Any) -> None:
                tasks.start_soon(self._carry, SocketTransport(connection), target)

            await accept_each(sock, meet, self._rest)

    def _rest(self, problem: OSError) -> float:
        self._say(f"can't accept connections: {problem.strerror}")
        return PAUSE

    async def _carry(self, connection: SocketTransport, target: Address) -> None:
        problem: Exception | str | None
        try:
            with anyio.move_on_after(PATIENCE):
                while self._session is None or self._session.closed:
                    await self._changed.wait()
            if self._session is None or self._session.closed:
                problem = "there is no connection to the server"
            else:
                problem = await join(connection, await self._session.open_stream(service_of(target)))
        except chanlink.ChanlinkError as exc:
            problem = exc
        finally:
            connection.reset_when_closed()  # unless it was closed in order
            with anyio.CancelScope(shield=True):
                await connection.aclose()
        if problem is not None:
            self._say(_explain(problem, target))

    def _say(self, problem: str) -> None:
        if self._complaints.take(anyio.current_time()):
            self._complain(problem)


def _explain(problem: Exception | str, target: Address) -> str:
    code = getattr(problem, "code", "")
    if code == "no-such-service":
        return (
            f"{target}: the server does not forward there; it needs --allow {target}, and our line in its trust file "
            f'services="{service_of(target)}" or none'
        )
    if code == NOT_PERMITTED:
        return f"{target}: the server does not forward for us: our credential has no permit-port-forwarding"
    if code == "connect-failed":
        return f"the server can't connect: {getattr(problem, 'text', '') or getattr(problem, 'reason', '')}"
    return f"{target}: {problem}"


# --- both ---------------------------------------------------------------------------------------


def give_up(stream: ByteStream, code: str, text: str = "") -> None:
    """Both directions are over, and not in order."""
    stream.fail(code, text)
    stream.refuse(code, text)
    stream.close()


async def join(connection: SocketTransport, stream: ByteStream) -> chanlink.ChannelError | None:
    """Copy both ways until both directions are over; both ends are closed then, by a reset if it was not in order.

    Returns why the other side gave up, unless that was a reset there.
    """
    problems: list[Exception] = []

    async def run(direction: Callable[..., Any]) -> None:
        try:
            await direction(connection, stream)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:  # ours are among them
            problems.append(exc)
            tasks.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, _there)
            await run(_back)
    except BaseException:
        problems.append(chanlink.ChannelClosed("cancelled"))
        raise
    finally:
        if problems:
            connection.reset_when_closed()
            give_up(stream, RESET)
        stream.close()
        with anyio.CancelScope(shield=True):
            await connection.aclose()
    first = problems[0] if problems else None
    return first if isinstance(first, chanlink.ChannelError) and getattr(first, "code", "") != RESET else None


async def _there(connection: SocketTransport, stream: ByteStream) -> None:
    while True:
        try:
            data = await connection.receive(PIECE)
        except anyio.EndOfStream:
            break
        await stream.send(data)
    await stream.send_eof()


async def _back(connection: SocketTransport, stream: ByteStream) -> None:
    while True:
        try:
            data = await stream.receive()
        except chanlink.EndOfChannel:
            break
        await connection.send(data)
    await connection.send_eof()
    # The other side may still be reading; that it does no more before we have ended is a reset there.
    reason = await stream.wait_closed()
    if not (isinstance(reason, chanlink.ChannelRefused) and reason.code == "closed"):
        raise reason
