"""The checks of `chanlink.testing`, over every transport."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chanlink import ByteStream
from chanlink.testing import BYTE_STREAM_PROMISES, CHANNEL_PROMISES, check_byte_stream, check_channel
from tests.patience import PATIENCE

from .transports import Channel, Transport, every_transport

pytestmark = pytest.mark.anyio


@every_transport
@pytest.mark.parametrize("back", [False, True], ids=["there", "back"])
@pytest.mark.parametrize("promise", CHANNEL_PROMISES)
async def test_a_channel_keeps_the_promise(transport: Transport, back: bool, promise: str) -> None:
    @asynccontextmanager
    async def channel(capacity: int | None) -> AsyncIterator[Channel]:
        async with transport() as link:
            yield await (link.channel_back(capacity) if back else link.channel(capacity))

    await check_channel(channel, only=[promise], patience=PATIENCE)


@every_transport
@pytest.mark.parametrize("promise", BYTE_STREAM_PROMISES)
async def test_a_byte_stream_keeps_the_promise(transport: Transport, promise: str) -> None:
    @asynccontextmanager
    async def byte_stream() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        async with transport() as link:
            yield await link.byte_stream()

    await check_byte_stream(byte_stream, only=[promise], patience=PATIENCE)
