"""The way of one client through gateways: a session with each, inside the one before, and a byte stream of the last.

Each connection has a way of its own, which ends with it: one that is made anew, because a gateway has died, begins with
whatever gateway is there now. What the gateways are told is where to, and nothing else: the handshake with the server
is inside the byte stream.
"""

import ipaddress
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio import CancelScope
from anyio.abc import ByteStream, TaskGroup

from chanlink import clock
from chanlink.channels.bytestream import ByteStream as Stream
from chanlink.errors import ChannelError, ConfigError, ConnectFailed, HopFailed, SessionError
from chanlink.limits import Limits
from chanlink.security.keys.expected import Expected
from chanlink.security.keys.openssh import PublicKey
from chanlink.tasks import tasks_beside
from chanlink.transport.address import Address, Name
from chanlink.transport.base import Transport
from chanlink.transport.carried import Carrier, Means
from chanlink.transport.target import Target
from chanlink.transport.through import FORWARD, Via

from .hops import Hop, name_of
from .passage import Passage, PassageAttribute
from .session import Session

T = TypeVar("T")

Reaches = Callable[..., AbstractAsyncContextManager[Session]]
"""`connect` for a gateway: to an address, of a ``hop``, by the session with the one before (``below``), within
``timeout`` seconds."""

KEEPALIVE, PEER_TIMEOUT = 45.0, 135.0
"""Of a session through a gateway, which may have ten thousand of them that say nothing."""
CLOSING = 10.0
"""Seconds for which sessions with gateways may take to end in order."""
PAUSE = 0.5
"""Seconds before a gateway is asked again for what was not there."""
_NOT_THERE = ("connect-failed", "not-offered")


class _Opening:
    """A byte stream that is being made."""

    def __init__(self, hops: Sequence[Hop | Session], service: str) -> None:
        self.hops = hops
        self.service = service
        self.scope = CancelScope()
        self.done = anyio.Event()
        self._passage: Passage | None = None
        self._problem: SessionError | ConfigError | None = None

    def opened(self, passage: Passage) -> None:
        self._passage = passage
        self.done.set()

    def failed(self, problem: SessionError | ConfigError) -> None:
        self._problem = problem

    def result(self) -> Passage:
        """What came of it. Raises `SessionError` and `ConfigError`."""
        if self._passage is None:
            raise self._problem or ConnectFailed(f"{self.service}: the way there was given up")
        return self._passage


class Route:
    """Makes byte streams through the same gateways. Made by `routed`."""

    def __init__(self, hops: Sequence[Hop | Session], reaches: Reaches, timeout: float, tasks: TaskGroup) -> None:
        self._hops = tuple(hops)
        self._reaches = reaches
        self._timeout = timeout
        self._tasks = tasks

    def means(self, key: str) -> Means:
        """What carriers get of it; without gateways of its own it is for those that are in addresses."""
        return Means(self._to_address if self._hops else None, key, self._through)

    async def _to_address(self, address: Address) -> Transport:
        return await self._open(self._hops, f"{FORWARD}{address}")

    async def _through(self, gateway: str, service: str) -> Transport:
        return await self._open((*self._hops, Hop(gateway)), service)

    async def _open(self, hops: Sequence[Hop | Session], service: str) -> Transport:
        """A byte stream of this service of the last gateway. Raises `ConnectFailed` and `ConfigError`."""
        opening = _Opening(hops, service)
        self._tasks.start_soon(self._keep, opening)
        try:
            await opening.done.wait()
        except BaseException:
            opening.scope.cancel()
            raise
        return opening.result()

    def close(self) -> None:
        """No more is wanted: sessions with gateways end in order, as what they carry does."""
        self._tasks.cancel_scope.deadline = anyio.current_time() + CLOSING

    async def _keep(self, opening: _Opening) -> None:
        """The sessions with the gateways live here, until the byte stream is over."""
        try:
            with opening.scope:
                async with AsyncExitStack() as stack:
                    session, name = await self._reach_last(stack, opening.hops)
                    passage = Passage(await _open_stream(session, name, opening.service), name)
                    opening.opened(passage)
                    await passage.closed.wait()
        except (SessionError, ConfigError) as exc:
            opening.failed(exc)
        finally:
            opening.done.set()

    async def _reach_last(self, stack: AsyncExitStack, hops: Sequence[Hop | Session]) -> tuple[Session, str]:
        """A session with the last gateway, and what that is called."""
        session, share = None, self._timeout / (1 + sum(_addresses(hop) for hop in hops))
        for hop in hops:
            if isinstance(hop, Session):
                session = hop
            else:
                session = await first_of(stack, hop, partial(self._reaches, hop=hop, below=session, timeout=share))
        assert session is not None
        return session, name_of(hops[-1])


async def first_of(
    stack: AsyncExitStack, hop: Hop, reach: Callable[[Any], AbstractAsyncContextManager[Session]]
) -> Session:
    """A session with whichever gateway of this hop is there. Raises `HopFailed`, of the first that is not."""
    problem: HopFailed | None = None
    for address in hop.addresses:
        try:
            return await stack.enter_async_context(reach(address))
        except HopFailed as exc:  # of the one before
            problem = problem or exc
        except SessionError as exc:
            problem = problem or HopFailed(str(address), exc)
    assert problem is not None
    raise problem from problem.cause


def _addresses(hop: Hop | Session) -> int:
    return len(hop.addresses) if isinstance(hop, Hop) else 0


async def _open_stream(session: Session, hop: str, service: str) -> Stream:
    try:
        return await session.open_stream(service)
    except (ChannelError, SessionError) as exc:
        raise HopFailed(hop, exc) from exc


@asynccontextmanager
async def routed(hops: Sequence[Hop | Session], reaches: Reaches, timeout: float) -> AsyncGenerator[Route, None]:
    """A route, and the tasks in which its sessions live. ``timeout`` (seconds) is for all of a way: each address of
    each hop has its share, and so has what comes behind."""
    async with tasks_beside() as tasks:
        route = Route(hops, reaches, timeout, tasks)
        try:
            yield route
        except BaseException:
            tasks.cancel_scope.cancel()
            raise
        route.close()


# --- what a way is good for ---------------------------------------------------------------------


def leads_through(target: Target | None, hops: Sequence[object]) -> bool:
    """Whether gateways are on the way to it, or may be, where a directory says that."""
    return bool(hops) or isinstance(target, Via | Name)


def check_leads(address: object, target: Target | None, hops: Sequence[object]) -> None:
    """Raise `ConfigError` if gateways can't lead to this address: it would be reached without them."""
    if not hops:
        return
    if target is None or (not target.remote if isinstance(target, Carrier) else _is_local(target)):
        raise ConfigError(f"via leads to another machine, by tcp://host:port, say, and not to {address}")


def _is_local(target: Address | Name) -> bool:
    return isinstance(target, Address) and bool(target.path)


def check_known(target: Target | None, hops: Sequence[object], peer: PublicKey | None, expected: Expected) -> None:
    """Raise `ConfigError` if a file of known peers can't say which server is meant: addresses of private networks mean
    another machine in each of them."""
    if hops and peer is None and expected.asks_file and isinstance(target, Address) and _is_private(target.host):
        raise ConfigError(f"{target} is another server in each network: with via, say which one you expect: peer=...")


def _is_private(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        return False


def limits_through(limits: Limits | None, target: Target | None, hops: Sequence[object]) -> Limits:
    """Those of a session; through a gateway it asks less often whether the other side is there."""
    if limits is not None:
        return limits
    return bridged_limits() if hops or isinstance(target, Via) else Limits()


def bridged_limits() -> Limits:
    """Of a session through a gateway of which nothing else was said."""
    return Limits(keepalive=KEEPALIVE, peer_timeout=PEER_TIMEOUT)


async def explaining(handshake: Callable[[ByteStream], Awaitable[T]], transport: ByteStream) -> T:
    """What a handshake gives; if a gateway is why it has failed, raises that."""
    try:
        return await handshake(transport)
    except (SessionError, anyio.BrokenResourceError) as exc:
        problem = transport.extra(PassageAttribute.problem, None)
        if problem is None:
            raise
        raise problem from exc


async def while_not_there(attempt: Callable[[float], Awaitable[T]], wait: float) -> T:
    """What an attempt gives; for ``wait`` seconds it is made again as long as gateways lead to nobody."""
    until = clock.now() + wait
    while True:
        try:
            return await attempt(max(0.0, until - clock.now()))
        except HopFailed as exc:
            if getattr(exc.cause, "code", "") not in _NOT_THERE or clock.now() >= until:
                raise
        await anyio.sleep(min(PAUSE, max(0.0, until - clock.now())))
