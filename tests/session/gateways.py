"""Gateways for tests: servers that lead to others, as `chanlink forward --serve` does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import chanlink
from chanlink import Hop, Identity, Listener
from chanlink.command.actions.forwarding import forwarder, parse_target, service_of

from .endpoints import EVERYBODY, TCP

GATEWAY = Identity.generate("gateway")


def leading_to(targets: Sequence[str]) -> dict[str, Any]:
    """The services of a gateway that leads to these addresses."""
    addresses = [parse_target(target) for target in targets]
    return {service_of(address): forwarder(address) for address in addresses}


@asynccontextmanager
async def gateway(*targets: str, **options: Any) -> AsyncIterator[Listener]:
    """A gateway that leads there."""
    defaults: dict[str, Any] = {"identity": GATEWAY, "trust": EVERYBODY, "services": leading_to(targets)}
    async with chanlink.listen(TCP, **defaults | options) as listener:
        yield listener


def hop_by(*listeners: Listener, **options: Any) -> Hop:
    """The hop whose gateways these are."""
    addresses = [listener.addresses[0] for listener in listeners]
    return Hop(*addresses, **{"peer": GATEWAY.public_key} | options)
