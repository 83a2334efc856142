"""Where to listen: an address as a text, what stands for one, or a listener that the program has made.

As in `target`, the table of schemes is all there is.
"""

from collections.abc import Callable
from typing import Any

from anyio.abc import Listener

from chanlink.arguments import expect

from .accepting import Listening
from .address import Address, parse_address
from .carried import CarrierListener
from .given import given_listener
from .listen import listening_sockets


def _websocket(text: str) -> CarrierListener:
    from .websocket_carrier import WebSocketListener

    return WebSocketListener(text)


_LISTENERS: dict[str, Callable[[str], CarrierListener]] = {"ws": _websocket, "wss": _websocket}
"""Who reads the addresses of a scheme. Each imports what it needs when it is called. Raises `AddressError`."""


def parse_listenable(text: str) -> Address | CarrierListener:
    """Read the address of something to listen on. Raises `AddressError`."""
    expect("address", text, str)
    read = _LISTENERS.get(text.partition(":")[0])
    return read(text) if read is not None else parse_address(text)


async def listening_at(where: Address | CarrierListener | Listener[Any], *, shared: bool = False) -> Listening:
    """Listen there. Raises `ConnectFailed`, and `ConfigError` where something is missing, or can't be shared."""
    if isinstance(where, Address):
        return await listening_sockets(where, shared=shared)
    if isinstance(where, CarrierListener):
        return await where.listening(shared=shared)
    return given_listener(where)
