"""`Valid`: the messages of a channel that are of its type, and what was wrong with the others."""

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from chanlink.errors import MessageTypeError

T_co = TypeVar("T_co", covariant=True)


class Valid(AsyncIterator[T_co]):
    """Iterates over the messages that are of the type, and calls `on_bad` with the error of each other."""

    def __init__(self, messages: AsyncIterator[T_co], on_bad: Callable[[MessageTypeError], object]) -> None:
        self._messages = messages
        self._on_bad = on_bad

    async def __anext__(self) -> T_co:
        while True:
            try:
                return await anext(self._messages)
            except MessageTypeError as exc:
                self._on_bad(exc)
