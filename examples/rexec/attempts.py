"""Tasks that are looked at when all of them are over."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Attempt(Generic[T]):
    """A call in a task whose error is looked at afterwards.

    An attempt that fails does not cancel the others, so that what has already arrived is still written when the
    connection breaks. And its error is not wrapped in an ExceptionGroup.
    """

    def __init__(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> None:
        self._call: Callable[[], Awaitable[T]] = partial(function, *args, **kwargs)
        self._error: Exception | None = None
        self._value: list[T] = []

    async def __call__(self) -> None:
        try:
            self._value = [await self._call()]
        except Exception as exc:
            self._error = exc

    def check(self) -> None:
        """Raise what it raised; an attempt that was cancelled has raised nothing."""
        if self._error is not None:
            raise self._error

    def result(self) -> T:
        """What it returned. Raises what it raised; it must not have been cancelled."""
        self.check()
        return self._value[0]
