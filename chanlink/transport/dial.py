"""From an address to a byte stream to a peer; if need be, once somebody listens there."""

import errno
import socket
from collections.abc import Awaitable, Callable, Sequence

import anyio
from anyio.abc import ByteStream, ByteStreamConnectable

from chanlink.errors import ConnectFailed, HopFailed, SessionError, UntrustedPeer, WrongPeer

from .address import Address, Name, Place, reason_of
from .base import BROKEN, Transport
from .carried import Carrier, Means
from .given import given_stream
from .racing import race
from .reaching import connect_to, places_of
from .target import Target, parse_target

Connectable = str | ByteStream | ByteStreamConnectable
Find = Callable[[bool], Awaitable[Sequence[Address | Carrier]]]
"""Where a name leads, in the order to try; with True, what the directory says now. Raises `ConnectFailed`."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two attempts, twice as many after each."""

_NOT_YET = {
    errno.ECONNREFUSED,  # nobody listens there
    errno.ENOENT,  # nor is there a file for a Unix socket
    errno.ECONNRESET,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.EHOSTDOWN,
    errno.ENETUNREACH,
    errno.ENETDOWN,
}


class _Way:
    """An address, and where it leads that was not tried."""

    def __init__(self, address: Address | Carrier, means: Means) -> None:
        self._address = address
        self._means = means
        self._places: Sequence[Place] | None = None
        """None: nobody has looked."""

    @property
    def is_over(self) -> bool:
        return self._places is not None and not self._places

    async def connect(self) -> Transport:
        """Connect to one of its places. Raises `ConnectFailed`."""
        if isinstance(self._address, Carrier):
            self._places = ()
            return await self._address.connect_with(self._means)
        if self._means.tcp is not None and not self._address.path:
            self._places = ()
            return await self._means.tcp(self._address)
        if self._places is None:
            self._places = await places_of(self._address)
        stream = await connect_to(self._places, self._address)
        self._places = [place for place in self._places if place != stream.place]
        return stream


class Dial:
    """Connects to an address, again and again if need be."""

    def __init__(self, address: Connectable, find: Find | None = None, means: Means | None = None) -> None:
        """With ``find``, the address is a name, and that says where it leads."""
        self.name = name_of(address) + (f" by {means.by}" if means is not None and means.by else "")
        """What errors call it."""
        self._address = address
        self._find = find
        self._means = means or Means()
        self._fresh = False
        """Whether what was heard of a name before is of no use any more."""
        self._ways: Sequence[_Way] = ()

    async def reach(self, wait: float = 0.0) -> Transport:
        """Connect; for ``wait`` seconds, try again as long as nobody listens there. Raises `ConnectFailed`."""
        until = anyio.current_time() + wait
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._connect()
            except ConnectFailed as exc:
                left = until - anyio.current_time()
                if left <= 0 or not _may_come(exc):
                    raise
            await anyio.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def reach_another(self, problem: SessionError) -> Transport:
        """Connect to an address of the same name that was not tried.

        Raises the problem with the last one if there is none, or if it is one of keys: that was the right server, or
        one that would like to be. At an address that a directory has told, another server is one that came later.
        """
        if isinstance(problem, UntrustedPeer) or (isinstance(problem, WrongPeer) and self._find is None):
            raise problem
        self._ways = [way for way in self._ways if not way.is_over]
        try:
            return await self._connect_by(self._ways)
        except ConnectFailed:
            if self._find is None or self._fresh:
                raise problem from problem.__cause__
        try:
            return await self._connect_to_name(self._find, fresh=True)
        except ConnectFailed:
            raise problem from problem.__cause__

    async def _connect(self) -> Transport:
        if isinstance(self._address, ByteStream):
            return given_stream(self._address)
        if isinstance(self._address, Carrier):
            return await self._connect_by([_Way(self._address, self._means)])
        if isinstance(self._address, ByteStreamConnectable):
            try:
                return given_stream(await self._address.connect())
            except (OSError, anyio.EndOfStream, *BROKEN) as exc:  # it may have a handshake of its own, as TLS has
                raise ConnectFailed(f"{self.name}: {reason_of(exc) or type(exc).__name__}") from exc
        if self._find is not None:
            return await self._connect_to_found(self._find)
        target = parse_target(self._address)
        assert not isinstance(target, Name)
        return await self._connect_by([_Way(target, self._means)])

    async def _connect_to_found(self, find: Find) -> Transport:
        """Connect to where a name leads; if nobody is there, ask again, since it may lead elsewhere by now."""
        if self._fresh:
            return await self._connect_to_name(find, fresh=True)
        try:
            return await self._connect_to_name(find, fresh=False)
        except ConnectFailed:
            if not self._ways:  # not even that was found out
                raise
        return await self._connect_to_name(find, fresh=True)

    async def _connect_to_name(self, find: Find, fresh: bool) -> Transport:
        self._fresh = fresh
        self._ways = [_Way(address, self._means) for address in await find(fresh)]
        return await self._connect_by(self._ways)

    async def _connect_by(self, ways: Sequence[_Way]) -> Transport:
        self._ways = ways
        if not ways:
            raise ConnectFailed(f"{self.name}: no other address")
        return await race([way.connect for way in ways])


def _may_come(problem: ConnectFailed) -> bool:
    """Whether a server that is only starting would look like that, or a machine, or a network."""
    while isinstance(problem, HopFailed) and isinstance(problem.cause, ConnectFailed):
        problem = problem.cause
    cause = problem.__cause__
    # A failed look-up, too: a name may come with its machine. All else stays as it is, such as "permission denied".
    return isinstance(cause, socket.gaierror | LookupError | TimeoutError) or (
        isinstance(cause, OSError) and cause.errno in _NOT_YET
    )


def name_of(address: object) -> str:
    """What errors call it: an address as it is written, a byte stream or a connectable by its class."""
    if isinstance(address, Carrier):
        return str(address) or type(address).__name__
    return type(address).__name__ if isinstance(address, ByteStream | ByteStreamConnectable) else str(address)


def target_of(address: object) -> Target | None:
    """What an address is the text of, or the carrier that it is; None for what has no name. Raises `AddressError`."""
    if isinstance(address, Carrier):
        return address if str(address) else None
    return parse_target(address) if isinstance(address, str) else None
