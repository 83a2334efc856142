"""How the processes of a campaign find each other: everything is in one folder."""

import json
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import chanlink
from chanlink import Identity, Link, PublicKey, Trust, backoff

ENOUGH = "enough"
"""The name of a file: no more new jobs."""


@dataclass(frozen=True)
class Plan:
    """What a campaign is like; in its folder for its processes."""

    seed: str
    store: str
    """``memory``, ``sqlite``, or ``postgres``."""
    database: str = ""
    silence: float = 1.5
    attempts: int = 8
    slots: int = 4
    in_flight: int = 20
    lease: float = 3.0

    def save(self, folder: Path) -> None:
        (folder / "plan").write_text(json.dumps(asdict(self)))
        for name in ("server", "client"):
            Identity.generate(name).save(folder / name)


def plan_in(folder: Path) -> Plan:
    return Plan(**json.loads((folder / "plan").read_text()))


def link(folder: Path, address: str) -> AbstractAsyncContextManager[Link]:
    """A link with a queue."""
    identity, peer = Identity.load(folder / "client"), PublicKey.load(folder / "server.pub")
    return chanlink.reconnecting(address, identity=identity, peer=peer)


def hurry() -> None:
    """Links of this process wait for a second at most before they connect again, since bad days are but a minute long
    here. Otherwise they would hardly ever be there."""
    backoff.LONGEST = 1.0


def trust(folder: Path) -> tuple[Identity, Trust]:
    """What a queue serves with."""
    return Identity.load(folder / "server"), Trust.load(folder / "client.pub")
