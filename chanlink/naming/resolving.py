"""`Configured`: what `connect` asks when it was given no directory, but a text that says where one is."""

import os
import random
import time
from collections.abc import Sequence

import anyio

from chanlink.errors import CallError, ConfigError, ConnectFailed, SessionError
from chanlink.printing import printable_logger
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.known_peers import KnownPeers
from chanlink.security.keys.threads import run_apart
from chanlink.session.naming import Entry

from .cache import Cache, Kept
from .setting import VARIABLE, Server, parse_setting

logger = printable_logger(__name__)

ONE_TRY = 3.0
"""Seconds for which one of several directories may be silent."""


class Configured:
    """A directory that a text names: each question that the cache does not answer is a session of its own."""

    def __init__(self, text: str | None, identity: Identity | None = None, trust: object = None) -> None:
        """Without a text, ``$CHANLINK_DIRECTORY`` is it when somebody asks."""
        self._given = text
        self._identity = identity
        self._trust = trust if isinstance(trust, KnownPeers) else None

    async def lookup(self, name: str, *, fresh: bool = False) -> Sequence[Entry]:
        """As `Resolver.lookup`."""
        text = os.environ.get(VARIABLE, "") if self._given is None else self._given
        if not text:
            raise ConfigError(f"chanlink://{name}: no directory to ask; set {VARIABLE}, or say directory=...")
        servers = parse_setting(text, VARIABLE if self._given is None else "directory")
        cache = Cache.default()
        before = await run_apart(cache.find, text, name, abandon=True)
        if before and not fresh:
            return before
        rows = _newest(before, await self._ask(servers, text, name))
        if rows or before:
            await run_apart(cache.keep, text, name, rows, abandon=True)
        return rows

    async def _ask(self, servers: list[Server], text: str, name: str) -> list[Kept]:
        """Ask one of them, at random, and the others when it does not answer."""
        from .asking import ask  # most programs ask no directory

        random.shuffle(servers)
        problem: SessionError | CallError | None = None
        for number, server in enumerate(servers, 1):
            try:
                with anyio.fail_after(ONE_TRY if number < len(servers) else None):
                    entries = await ask(server, name, self._identity, self._trust)
            except TimeoutError:
                problem = ConnectFailed(f"{server.address}: no answer within {ONE_TRY:g} s")
            except (SessionError, CallError) as exc:
                problem = exc
            else:
                now = time.time()
                rows = [(entry, now + entry.expires_in) for entry in entries]
                return [Kept(text, name, one.key, one.addresses, one.serial, now, until) for one, until in rows]
        assert problem is not None
        raise problem


def _newest(before: Sequence[Kept], rows: Sequence[Kept]) -> list[Kept]:
    """Those that are not older than what was told before: who replays an old answer is not believed."""
    serials = {row.key: row.serial for row in before}
    good = [row for row in rows if row.serial >= serials.get(row.key, 0)]
    if len(good) < len(rows):
        logger.warning("passed over an entry that the directory has told: a newer one was seen before")
    return good
