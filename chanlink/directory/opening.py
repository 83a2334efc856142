"""`open_directory`: a directory that a text names, or the environment."""

import os
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from types import NoneType
from typing import Any

from chanlink import ConfigError, Identity, KnownPeers, PublicKey, SessionError, Trust, connect
from chanlink.arguments import expect
from chanlink.naming.setting import VARIABLE, Server, parse_setting
from chanlink.security.psk import Psk

from .client import Directory

_WILD = "*?["


@asynccontextmanager
async def open_directory(
    text: str | None = None,
    *,
    identity: Identity | None = None,
    peer: PublicKey | None = None,
    trust: Trust | KnownPeers | None = None,
    timeout: float = 10.0,
    wait: float = 0.0,
    psk: Psk | None = None,
) -> AsyncGenerator[Directory, None]:
    """The directory that a text names, ``tcp://host:port ssh-ed25519 AAAA...``: a block that gives a `Directory`.

    Without a text it is ``$CHANLINK_DIRECTORY``. Where that names several, with commas between, it is one that answers.
    The other parameters are those of `connect`; ``peer`` goes before the keys in the text. Raises as `connect`, which
    is called first, and `ConfigError`.
    """
    expect("text", text, str, NoneType)
    given = os.environ.get(VARIABLE, "") if text is None else text
    if not given:
        raise ConfigError(f"no directory to ask; set {VARIABLE}, to tcp://host:port and the directory's key")
    expect("wait", wait, int, float)
    servers = parse_setting(given, VARIABLE if text is None else "directory")
    options: dict[str, Any] = {"identity": identity or Identity.default(), "timeout": timeout, "psk": psk}
    server, keys = await _one_that_answers(servers, peer, trust, wait, options)
    async with Directory(server.address, **keys, **options) as directory:
        yield directory


async def _one_that_answers(
    servers: list[Server],
    peer: PublicKey | None,
    trust: Trust | KnownPeers | None,
    wait: float,
    options: dict[str, Any],
) -> tuple[Server, dict[str, Any]]:
    """And whom we expect there."""
    random.shuffle(servers)
    for number, server in enumerate(servers, 1):
        key = peer or server.key
        keys: dict[str, Any] = {"peer": key, "trust": trust if key is None else None}
        try:
            async with connect(server.address, wait=wait if number == len(servers) else 0.0, **keys, **options):
                return server, keys
        except SessionError:
            if number == len(servers):
                raise
    raise AssertionError("a text has one directory at least")


async def names_matching(directory: Directory, pattern: str) -> list[str]:
    """The names that servers have now and that a pattern matches, in their order: ``*`` and ``?`` as in a shell."""
    expect("directory", directory, Directory)
    expect("pattern", pattern, str)
    at = min((pattern.find(one) for one in _WILD if one in pattern), default=len(pattern))
    entries = await directory.entries(pattern[:at])
    return sorted({entry.name for entry in entries if fnmatchcase(entry.name, pattern)})
