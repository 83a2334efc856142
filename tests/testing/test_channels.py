"""`check_channel` finds the faults that it is there for, and none where there are none."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import chanlink
from chanlink.testing import (
    BYTE_STREAM_PROMISES,
    CHANNEL_PROMISES,
    check_channel,
)
from tests.channels.pairs import CHANNELS, MakeChannel
from tests.patience import PATIENCE

from .faults import BYTE_STREAM_FAULTS, CHANNEL_FAULTS, Proxy

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


@pytest.mark.parametrize("make_channel", CHANNELS, ids=lambda f: f.__name__)
async def test_a_channel_that_keeps_its_promises_passes(make_channel: MakeChannel) -> None:
    await check_channel(make_channel, patience=PATIENCE)


def test_every_promise_has_a_fault_that_breaks_it() -> None:
    assert {name for name, _ in CHANNEL_FAULTS} == set(CHANNEL_PROMISES)
    assert {name for name, _ in BYTE_STREAM_FAULTS} == set(BYTE_STREAM_PROMISES)


async def test_a_check_of_all_promises_finds_a_fault_too() -> None:
    @asynccontextmanager
    async def factory(capacity: int | None) -> AsyncIterator[Any]:
        sender, receiver = chanlink.pipe(capacity)
        yield sender, Proxy(receiver, **CHANNEL_FAULTS[0][1][1])

    with pytest.raises(AssertionError, match=r"messages_arrive_in_order.*EndOfChannel was raised"):
        await check_channel(factory, patience=PATIENCE)  # a machine that stands still would break it in another way


async def test_a_promise_that_is_not_there_is_not_checked_silently() -> None:
    with pytest.raises(ValueError, match="no such promise: spelled_wrong"):
        await check_channel(CHANNELS[0], only=["spelled_wrong"])
