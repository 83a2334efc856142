"""`check_byte_stream` finds the faults that it is there for, and none where there are none."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import chanlink
from chanlink.testing import FaultyStream, check_byte_stream
from tests.patience import PATIENCE

from .faults import BYTE_STREAM_FAULTS, IMPATIENCE, proxies

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


async def test_a_byte_stream_that_keeps_its_promises_passes() -> None:
    @asynccontextmanager
    async def factory() -> AsyncIterator[Any]:
        yield chanlink.byte_pipe()

    await check_byte_stream(factory, patience=PATIENCE)


async def test_byte_streams_that_are_not_ours_are_checked_for_what_all_can_do() -> None:
    @asynccontextmanager
    async def factory() -> AsyncIterator[Any]:
        one, other = chanlink.byte_pipe()
        yield FaultyStream(one), FaultyStream(other)

    await check_byte_stream(factory, patience=PATIENCE)


@pytest.mark.parametrize(
    ("promise", "replaced"), BYTE_STREAM_FAULTS, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_a_byte_stream_that_breaks_a_promise_is_found_out(promise: str, replaced: Any) -> None:
    @asynccontextmanager
    async def factory() -> AsyncIterator[Any]:
        with proxies(chanlink.byte_pipe(), (replaced, replaced)) as pair:
            yield pair

    with pytest.raises(AssertionError) as caught:
        await check_byte_stream(factory, only=[promise], patience=IMPATIENCE)
    assert f"this byte stream does not keep the promise {promise!r} (" in str(caught.value)
