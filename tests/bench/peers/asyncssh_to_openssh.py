"""asyncssh as the client of OpenSSH's server: commands on an open connection."""

from pathlib import Path
from typing import Any

import asyncssh

from tests.bench.meter import Meter

from .openssh import Where, serve

__all__ = ["WORKS", "serve"]


async def command(where: Where, meter: Meter, *, count: int) -> None:
    """Run ``true`` on a connection that is open already."""
    folder = Path(where["folder"])
    options: dict[str, Any] = {
        "username": where["user"],
        "client_keys": [str(folder / "user")],
        "known_hosts": str(folder / "known"),
        "config": None,
        "agent_path": None,
    }
    async with asyncssh.connect(where["host"], where["port"], **options) as connection:
        await connection.run("true", check=True)
        with meter.over(count):
            for _ in range(count):
                await connection.run("true", check=True)


WORKS = {"command": command}
