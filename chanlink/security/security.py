"""What makes connections secure in the place of Noise, where both sides say so. There is one: `chanlink.nacl_tls`.

It has the same identities, trust and limits, and what remains of its handshake is such a stream, too.
"""

from abc import ABC, abstractmethod
from types import NoneType

from anyio.abc import ByteStream

from chanlink.arguments import expect
from chanlink.errors import ConfigError
from chanlink.limits import Limits

from .handshake import Admit, Authenticated
from .handshake_server import Met
from .statics import Statics


class Side(ABC):
    """One side of such connections: a client of one server, or a listener."""

    @abstractmethod
    async def as_client(
        self, transport: ByteStream, admit: Admit, *, eager: bool = False, service: str = ""
    ) -> Authenticated:
        """As `handshake_as_client`, and raises as that."""

    @abstractmethod
    async def meet(self, transport: ByteStream) -> Met:
        """As `handshake_server.meet`, and raises as that."""

    @abstractmethod
    async def turn_away(self, transport: ByteStream) -> None:
        """As `handshake_server.turn_away`, and raises as that."""


class Security(ABC):
    """A way to be secure that is not Noise. A program has it by its name, `chanlink.nacl_tls`."""

    @abstractmethod
    def side(self, statics: Statics, limits: Limits) -> Side:
        """What connects, or is connected to, as ``statics`` say. Raises `ConfigError` where something is missing."""


def side_of(security: Security | None, statics: Statics, limits: Limits) -> Side | None:
    """As `Security.side`; None for Noise."""
    return None if security is None else security.side(statics, limits)


def check_security(security: object, **others: object) -> None:
    """Raise `TypeError`, or `ConfigError` for ``others`` that need Noise."""
    expect("security", security, Security, NoneType)
    for name, value in others.items() if security is not None else ():
        if value:
            raise ConfigError(f"security and {name} don't go together: {_REASONS[name]}")


_REASONS = {
    "psk": "a pre-shared key is one of Noise",
    "resume": "who comes back proves it by a secret of Noise",
    "early": "what leaves with the first message is encrypted by Noise",
}
