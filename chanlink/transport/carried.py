"""Addresses where something else than a socket carries the bytes: a `Carrier`.

Another program does, or another protocol. Each kind is a file beside this one; which text leads to which says `target`.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import ClassVar, NamedTuple

from anyio import TypedAttributeSet, typed_attribute
from anyio.abc import ByteStream, ByteStreamConnectable

from chanlink.limits import Limits

from .accepting import Listening
from .address import Address
from .base import Transport

Tcp = Callable[[Address], Awaitable[Transport]]
"""How a connection of TCP is made: directly, or by a proxy. Raises `ConnectFailed`."""
Through = Callable[[str, str], Awaitable[Transport]]
"""How a service of the gateway at an address, by its name, gets a byte stream. Raises `ConnectFailed`."""


class Means(NamedTuple):
    """What whoever connects has for its carriers."""

    tcp: Tcp | None = None
    """None: by sockets of ours."""
    key: str = ""
    """Our public key, as a line of OpenSSH, for a carrier that makes it known at the other side."""
    through: Through | None = None
    """None: there is nobody here who could have a session with a gateway."""
    by: str = ""
    """What errors call the way of `tcp`."""


class CarrierAttribute(TypedAttributeSet):
    """What a stream of a carrier knows."""

    vouched_key: str = typed_attribute()
    """The server's public key, as a line of OpenSSH: the carrier has authenticated who has it, by means of its own.
    For this session, this is the server that is expected."""
    why_ended: Callable[[], Awaitable[str]] = typed_attribute()
    """Says what became of a program that carries the bytes, when it has ended by itself; else nothing."""


class Carrier(ByteStreamConnectable):
    """An address that connects by itself. Its text is its name: in files of known peers, and in errors."""

    remote: ClassVar[bool] = False
    """Whether it may be followed where it came over the network: from a directory, a gateway, or in a message. It leads
    to another machine, and runs nothing on this one."""

    resumes: bool = True
    """Whether another connection leads to the same process, which has our session."""

    @abstractmethod
    async def connect_with(self, means: Means) -> Transport:
        """Connect. Raises `ConnectFailed`, or a `ConfigError` where something is not installed."""

    async def connect(self) -> ByteStream:
        """As anyio's connectables."""
        return await self.connect_with(Means())

    @abstractmethod
    def __str__(self) -> str:
        """How it is written as an address, always in the same way: two of them with the same text are the same server.
        Empty if it has no name, and the server's key must be given."""


class CarrierListener(ABC):
    """Where to listen, when something else than a socket carries the bytes: it begins when `listen` does."""

    default_limits: ClassVar[Limits | None] = None
    """Those of a listener of which nothing else was said; None: as of any."""

    @abstractmethod
    async def listening(self, *, shared: bool = False) -> Listening:
        """Listen; with ``shared``, beside other processes. Raises `ConnectFailed`, and `ConfigError` where something is
        not installed, or can't be shared."""
