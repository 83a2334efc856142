"""asyncio's event loop calls a reader by itself; sockets and pipes are tried where they are tested."""

import os

import anyio
import pytest
from anyio.lowlevel import current_token

from chanlink.transport.watching import Watch

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize(
        "anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
    ),
]


async def test_what_the_reader_raises_ends_it() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)

    def look() -> None:
        raise anyio.BrokenResourceError(os.read(reading, 10).decode())

    watch = Watch(current_token().native_token, reading, look)
    os.write(writing, b"why")
    with pytest.raises(anyio.BrokenResourceError, match="why"):
        await watch.until_over()
    os.close(writing)
    os.close(reading)


async def test_it_is_ended_from_outside() -> None:
    reading, writing = os.pipe()
    watch = Watch(current_token().native_token, reading, lambda: None)
    watch.end(anyio.ClosedResourceError())
    with pytest.raises(anyio.ClosedResourceError):
        await watch.until_over()
    os.close(writing)
    os.close(reading)
