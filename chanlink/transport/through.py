"""``via:GATEWAY/NAME``: the address of a server that a gateway leads to, because the server has offered itself there.

A server behind NAT has no other one. The gateway is ``HOST`` or ``HOST:PORT``, of TCP. How its services are reached is
the business of who connects (`Means.through`): here is only what the address says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from chanlink.errors import AddressError, ConfigError

from .address import Address, is_good_name, parse_address
from .base import Transport
from .carried import Carrier, Means

SCHEME = "via:"
OFFER = "chanlink.offer:"
"""What the service of a gateway is called, before a name, that takes offers of it."""
FORWARD = "forward:"
"""Before an address: what leads there."""
LABEL_BYTES = 16
"""Of what a gateway calls a client."""


@dataclass(frozen=True)
class Bridged:
    """In the place of a socket address: a client that a gateway has given to who offers this name."""

    name: str
    label: str
    """By which the gateway knows it: the same for the same client, and nothing that tells who that is."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.name} (client {self.label[:8]})"


@dataclass(frozen=True)
class Via(Carrier):
    """What is called so at the gateway."""

    remote: ClassVar[bool] = True

    gateway: Address
    name: str

    @property
    def service(self) -> str:
        """Of the gateway, that leads there."""
        return f"{SCHEME}{self.name}"

    async def connect_with(self, means: Means) -> Transport:
        """As `Carrier`."""
        if means.through is None:
            raise ConfigError(f"{self}: chanlink.connect connects to it; nothing else can authenticate its gateway")
        return await means.through(str(self.gateway), self.service)

    def __str__(self) -> str:
        return f"{SCHEME}{str(self.gateway).removeprefix('tcp://')}/{self.name}"


def parse_via(text: str) -> Via:
    """Read ``via:HOST/NAME`` or ``via:HOST:PORT/NAME``. Raises `AddressError`."""
    gateway, slash, name = text.removeprefix(SCHEME).rpartition("/")
    if not slash or not is_good_name(name):
        raise AddressError(f"{text!r:.300} is no address; write via:HOST/NAME or via:HOST:PORT/NAME")
    try:
        return Via(parse_address(f"tcp://{gateway}"), name)
    except AddressError as exc:
        raise AddressError(f"{text!r:.300}: {gateway!r:.300} is no gateway; write HOST or HOST:PORT") from exc


def addresses_via(gateways: Sequence[object], name: str) -> list[str]:
    """How a server that offers itself so is reached by others; by gateways that have no address of TCP, not at all."""
    found: list[str] = []
    for gateway in gateways:
        try:
            address = parse_address(gateway) if isinstance(gateway, str) else None
        except AddressError:
            continue
        if address is not None and not address.path:
            found.append(str(Via(address, name)))
    return found
