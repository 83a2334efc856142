"""What can be connected to, read from a text: an address of a socket, the name of a server, or a carrier's address.

The table of schemes is all there is: nothing is looked up by name, and nothing can be added from outside.
"""

from collections.abc import Callable

from chanlink.arguments import expect
from chanlink.errors import AddressError

from .address import Address, Name, is_name, parse_address, parse_name
from .carried import Carrier

Target = Address | Name | Carrier
"""What can be connected to."""


def _via(text: str) -> Carrier:
    from .through import parse_via

    return parse_via(text)


def _tls(text: str) -> Carrier:
    from .tls_address import read_tls

    return read_tls(text)


def _websocket(text: str) -> Carrier:
    from .websocket_carrier import WebSocket

    return WebSocket(text)


def _ssh(text: str) -> Carrier:
    from .ssh import Ssh

    return Ssh.parse(text)


_CARRIERS: dict[str, Callable[[str], Carrier]] = {
    "ssh": _ssh,
    "tls": _tls,
    "via": _via,
    "ws": _websocket,
    "wss": _websocket,
}
"""Who reads the addresses of a scheme. Each imports what it needs when it is called. Raises `AddressError`."""


def parse_target(text: str) -> Target:
    """Read ``chanlink://name``, the address of a carrier, or one as `parse_address` does. Raises `AddressError`."""
    expect("address", text, str)
    if is_name(text):
        return parse_name(text)
    read = _CARRIERS.get(text.partition(":")[0])
    return read(text) if read is not None else parse_address(text)


def parse_remote(text: str) -> Address | Carrier:
    """Read an address that came over the network: it leads to another machine, never to a file, and runs no program.

    Raises `AddressError`. What stands in a directory was written by others; ``unix:`` would be a socket of ours.
    """
    target = parse_target(text)
    if isinstance(target, Name):
        raise AddressError(f"{text!r:.300} is a name, not an address")
    if target.remote if isinstance(target, Carrier) else not target.path:
        return target
    raise AddressError(f"{text!r:.300} is an address of this machine only; a directory's are tcp://host:port")
