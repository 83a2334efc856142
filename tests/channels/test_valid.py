"""Iterating over what fits."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from chanlink import ChannelFailed, MessageTypeError
from chanlink.channels.valid import Valid

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


class Messages:
    """Says one after the other, or raises it."""

    def __init__(self, *messages: Any) -> None:
        self._left = list(messages)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if not self._left:
            raise StopAsyncIteration
        message = self._left.pop(0)
        if isinstance(message, Exception):
            raise message
        return message


async def test_each_misfit_is_told_in_its_turn_and_what_fits_comes_out() -> None:
    seen: list[Any] = []
    bad = MessageTypeError("expected int, got str", "a")
    async for message in Valid(Messages(1, bad, bad, 2, bad), lambda error: seen.append(error.path)):
        seen.append(message)
    assert seen == [1, "a", "a", 2, "a"]


async def test_any_other_error_is_raised_and_so_is_one_of_the_callback() -> None:
    def stop(error: MessageTypeError) -> None:
        raise LookupError(error.path)

    valid = Valid(Messages(ChannelFailed("x"), MessageTypeError("expected", "b"), 3), stop)
    with pytest.raises(ChannelFailed):
        await anext(valid)
    with pytest.raises(LookupError, match="b"):
        await anext(valid)
    assert await anext(valid) == 3
