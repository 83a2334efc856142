"""Sessions with a server of rexec in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

import chanlink
from chanlink.security.keys.trust import Grant, Issued
from examples.rexec.server.service import ENFORCES, SERVICE, service
from tests.rexec.servers import alive, until


@asynccontextmanager
async def sessions(
    name: str = SERVICE, issued: Issued | None = None, **options: Any
) -> AsyncIterator[chanlink.Session]:
    """A session with a server in this process, which knows us by what is ``issued``, if that is given."""
    us, them = chanlink.Identity.generate("us"), chanlink.Identity.generate("them")
    trust = chanlink.Trust.of(us.public_key)
    if issued is not None:
        trust.grants[us.public_key] = Grant(f"{issued.principal}@{issued.issuer}", None, issued=issued)
    async with (
        service(**options) as rexec,
        chanlink.listen(
            "tcp://127.0.0.1:0",
            identity=them,
            trust=trust,
            services={name: chanlink.service(rexec, enforces=ENFORCES)},
        ) as listener,
        chanlink.connect(listener.addresses[0], identity=us, peer=them.public_key) as session,
    ):
        yield session


async def gone(pids: list[int]) -> None:
    await anyio.to_thread.run_sync(until, lambda: not any(map(alive, pids)))


async def read_line(stream: chanlink.ByteStream) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        line += await stream.receive()
    return line
