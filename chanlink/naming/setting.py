"""The text that says which directories to ask: ``tcp://host:port``, a key if one is said, and others after a comma."""

from typing import NamedTuple

from chanlink.errors import AddressError, ConfigError
from chanlink.security.keys.openssh import PublicKey
from chanlink.transport.address import parse_address

VARIABLE = "CHANLINK_DIRECTORY"
MOST = 16
"""Directories in one text."""


class Server(NamedTuple):
    """One of the servers of a directory."""

    address: str
    key: PublicKey | None
    """None: the file of known peers says it."""


def parse_setting(text: str, source: str = VARIABLE) -> list[Server]:
    """Read such a text. Raises `ConfigError`, which begins with ``source``."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > MOST:
        raise ConfigError(f"{source}: at most {MOST} directories")
    return [_parse_server(part, source) for part in parts]


def _parse_server(text: str, source: str) -> Server:
    address, _, key = text.partition(" ")
    try:
        parse_address(address)
        return Server(address, PublicKey.parse(key.strip()) if key else None)
    except AddressError as exc:
        advice = "write tcp://host:port, and behind it the directory's key"
        raise ConfigError(f"{source}: {exc} ({advice})") from exc
    except ConfigError as exc:
        raise ConfigError(f"{source}: {exc}") from exc
