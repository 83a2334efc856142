"""The checks of `chanlink.testing`, over every route."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chanlink import ByteStream
from chanlink.testing import BYTE_STREAM_PROMISES, CHANNEL_PROMISES, check_byte_stream, check_channel
from tests.patience import PATIENCE

from .routes import Channel, Route, every_route

pytestmark = pytest.mark.anyio


WAYS = [pytest.param(False, id="there", marks=pytest.mark.core), pytest.param(True, id="back")]


@every_route
@pytest.mark.parametrize("back", WAYS)
@pytest.mark.parametrize("promise", CHANNEL_PROMISES)
async def test_a_channel_keeps_the_promise(route: Route, back: bool, promise: str) -> None:
    @asynccontextmanager
    async def channel(capacity: int | None) -> AsyncIterator[Channel]:
        async with route() as places:
            yield await (places.channel_back(capacity) if back else places.channel(capacity))

    await check_channel(channel, only=[promise], patience=PATIENCE)


@pytest.mark.core
@every_route
@pytest.mark.parametrize("promise", BYTE_STREAM_PROMISES)
async def test_a_byte_stream_keeps_the_promise(route: Route, promise: str) -> None:
    @asynccontextmanager
    async def byte_stream() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
        async with route() as places:
            yield await places.byte_stream()

    await check_byte_stream(byte_stream, only=[promise], patience=PATIENCE)
