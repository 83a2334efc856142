"""Names for servers: ``~/.config/chanlink/hosts.toml``.

    [web1]
    address = "tcp://web1.example:9323"
    key = "ssh-ed25519 AAAA..."             # the server's; without it, the file of known peers decides
    identity = "~/.ssh/id_ed25519"          # ours; without it, the default one
    user = "deploy"                         # whom commands run as, where the server may choose

What is not understood is an error that says where: a name that was misspelt must not lead to another server, or to one
whose key is not looked at.
"""

import os
import re
import tomllib
from typing import Any, NamedTuple

import chanlink

from ..settings_file import read_settings

HOSTS = "~/.config/chanlink/hosts.toml"

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
ADDRESS = re.compile(r"tcp://.+|unix:.+", re.DOTALL)


class Host(NamedTuple):
    """A server, and what to use with it."""

    address: str
    key: chanlink.PublicKey | None = None
    identity: str | None = None
    user: str | None = None


def find_host(name: str, path: str = HOSTS) -> Host:
    """The server with this address, or with this name in the file.

    Raises `chanlink.ConfigError` in one line for a name that is not there, and for a file with anything wrong in it.
    """
    if ADDRESS.fullmatch(name):
        return Host(name)
    hosts = load_hosts(path)
    if name not in hosts:
        hint = f"; it has {', '.join(sorted(hosts))}"[:200] if hosts else ""
        raise chanlink.ConfigError(
            f"{name!r} is no address, and no name in {path}{hint}; write tcp://host:port or unix:/path"
        )
    return hosts[name]


def load_hosts(path: str = HOSTS) -> dict[str, Host]:
    """Read the file; one that is missing has nothing. Raises `chanlink.ConfigError`: ``FILE: where: what``."""
    file = os.path.expanduser(path)  # for the words of errors
    try:
        text = read_settings(path)
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise chanlink.ConfigError(f"{file}: {exc.strerror}") from exc
    except ValueError as exc:  # not UTF-8, too large
        raise chanlink.ConfigError(f"{file}: {exc}") from exc
    return parse_hosts(file, text)


def parse_hosts(file: str, text: str) -> dict[str, Host]:
    """The text of the file. Raises `chanlink.ConfigError`, as `load_hosts`."""
    try:
        tables = tomllib.loads(text)
    except RecursionError as exc:
        raise chanlink.ConfigError(f"{file}: nested too deep") from exc
    except ValueError as exc:  # not TOML
        raise chanlink.ConfigError(f"{file}: {exc}") from exc
    hosts = {}
    for name, table in tables.items():
        try:
            hosts[name] = _host(name, table)
        except ValueError as exc:
            raise chanlink.ConfigError(f"{file}: {name!r}: {exc}") from exc
    return hosts


def _host(name: str, table: Any) -> Host:
    if not NAME.fullmatch(name):
        raise ValueError("a name has letters, digits, and _ . - only")
    if not isinstance(table, dict):
        raise ValueError(f"is no table; write [{name}] above its settings")
    for setting, value in table.items():
        if setting not in Host._fields:
            raise ValueError(f"{setting!r} is not known; there are {', '.join(Host._fields)}")
        if not isinstance(value, str) or not value:
            raise ValueError(f"{setting} must be a text")
    if not ADDRESS.fullmatch(table.get("address", "")):
        raise ValueError("address is missing, or neither tcp://host:port nor unix:/path")
    try:
        key = chanlink.PublicKey.parse(table["key"]) if "key" in table else None
    except chanlink.KeyFormatError as exc:
        raise ValueError(f"key: {exc}") from exc
    return Host(table["address"], key, table.get("identity"), table.get("user"))
