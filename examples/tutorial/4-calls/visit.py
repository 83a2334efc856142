# visit.py
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import chanlink

from catalogue import LIBRARY, Library


@asynccontextmanager
async def visit() -> AsyncGenerator[Library, None]:
    async with chanlink.connect(
        "tcp://127.0.0.1:9323",
        identity=chanlink.Identity.load("alice"),
        peer=chanlink.PublicKey.load("library_key.pub"),
        wait=10,
    ) as session:
        yield LIBRARY.client(session, "library")
