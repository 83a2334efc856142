"""One question to a directory, by a session of its own."""

import time

import anyio

from chanlink.directory.entries import Entry, Signed, entry_of, parse
from chanlink.directory.interface import LOOKING_UP, Told, looking_up
from chanlink.directory.problems import BadEntry
from chanlink.printing import printable_logger
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.known_peers import KnownPeers
from chanlink.session.connecting import connect

from .setting import Server

logger = printable_logger(__name__)


async def ask(server: Server, name: str, identity: Identity | None, trust: KnownPeers | None) -> list[Entry]:
    """The servers that have this name. Raises as `connect`, and `CallError`.

    What can't be read, is signed wrong or by now over, is left out and logged.
    """
    asks = looking_up()
    trust = trust if server.key is None else None
    async with connect(server.address, identity=identity, peer=server.key, trust=trust) as session:
        asked = anyio.current_time()
        told = await asks.client(session, LOOKING_UP).lookup(name)
        took = anyio.current_time() - asked
    found = [_read(one, took) for one in told]
    return [entry for entry in found if entry is not None and entry.name == name and entry.expires_in]


def _read(told: Told, took: float) -> Entry | None:
    try:
        said = parse(Signed(told["entry"], told["sshsig"]))
        said.check_time(time.time())
    except BadEntry as exc:
        logger.warning("passed over an entry that the directory has told: %s", exc.text)
        return None
    return entry_of(said, max(told["left"] / 1_000 - took, 0.0), told.get("prekeys", b""))
