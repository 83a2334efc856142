"""Connections of a session by way of a proxy, where the caller names one."""

from collections.abc import Sequence
from types import NoneType

from chanlink.arguments import expect
from chanlink.errors import ConfigError
from chanlink.transport.address import Name
from chanlink.transport.carried import Carrier, Means
from chanlink.transport.dial import name_of, target_of
from chanlink.transport.proxy import Proxy, parse_proxy

from .hops import Hop
from .session import Session


def proxy_of(proxy: str | None, address: object, hops: Sequence[Hop | Session]) -> Proxy | None:
    """The proxy by which one connects to this address, or to the first hop on the way there.

    Raises `TypeError`, `AddressError`, and `ConfigError` where there is no connection of TCP for it to make.
    """
    expect("proxy", proxy, str, NoneType)
    if proxy is None:
        return None
    found, target = parse_proxy(proxy), target_of(address)
    leads_away = isinstance(target, Name) or (target.remote if isinstance(target, Carrier) else target and target.host)
    if not leads_away or (hops and isinstance(hops[0], Session)):
        raise ConfigError(f"{name_of(address)} is not reached by TCP of ours, which proxy= is for: leave it away")
    return found


def means_of(proxy: Proxy | None, key: str) -> Means:
    """What carriers have: our public key, and connections of TCP by this proxy, if there is one."""
    return Means(key=key) if proxy is None else Means(tcp=proxy.connect, by=str(proxy), key=key)
