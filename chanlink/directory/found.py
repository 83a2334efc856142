"""`Found`: what a store has read of names, until they change.

A read that was under way while its name changed may have seen either, so what it found is not kept.
"""

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

NAMES = 10_000
"""Of which it is kept what was found; those that were read longest ago are forgotten."""


class Found(Generic[T]):
    """What was found under names; nothing is something, too."""

    def __init__(self) -> None:
        self._found: dict[str, Sequence[T]] = {}
        self._changing: Counter[str] = Counter()
        self._reading: dict[str, object] = {}
        """Names that are being read and have not changed meanwhile, and by whom."""

    def get(self, name: str) -> Sequence[T] | None:
        """What was found; None if that is not known."""
        return self._found.get(name)

    def reads(self, name: str) -> object:
        """A name is being read from now on, by the one that gets this."""
        reader = object()
        if not self._changing[name]:
            self._reading[name] = reader
        return reader

    def has_read(self, name: str, reader: object, found: Sequence[T] | None) -> None:
        """That read is over; None if it has failed."""
        if self._reading.get(name) is reader:
            del self._reading[name]
            if found is not None:
                self._found[name] = found
                if len(self._found) > NAMES:
                    del self._found[next(iter(self._found))]

    @contextmanager
    def changing(self, name: str) -> Generator[None]:
        """In the block the name changes, or maybe it does not: nobody knows it."""
        self._changing[name] += 1
        self._forget(name)
        try:
            yield
        finally:
            self._changing[name] -= 1
            if not self._changing[name]:
                del self._changing[name]
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._found.pop(name, None)
        self._reading.pop(name, None)
