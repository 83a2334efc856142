"""A file that is read again when it has changed."""

import os
from collections.abc import Callable
from typing import Generic, TypeVar

from .files import expand

T = TypeVar("T")


class Watched(Generic[T]):
    """What a file says, as of its last good state; call `look` at regular times."""

    def __init__(
        self, path: str | os.PathLike[str], read: Callable[[], T], now: T | None, said: Callable[[T], object]
    ) -> None:
        self.path = path
        self._read = read
        self._said = said
        self._now = None if now is None else said(now)
        self._seen: object = None
        # Nothing, so that the second look reads it: it may have changed since it was loaded, in the same instant even.
        self._state_read: object = None

    def look(self) -> T | None:
        """What holds from now on, if it has changed: ``said`` tells what counts in it.

        A file is read once it has been the same at two looks: whoever writes it may not be done yet. Raises what
        ``read`` raises, once for each state that can't be read; what was read before stays in force then.
        """
        before, self._seen = self._seen, self._state()
        if self._seen != before or self._seen == self._state_read:
            return None
        self._state_read = self._seen
        found = self._read()
        if self._said(found) == self._now:
            return None
        self._now = self._said(found)
        return found

    def _state(self) -> object:
        """Something that differs after each change, also when there is no such file."""
        try:
            status = os.stat(expand(self.path))
        except (OSError, ValueError) as exc:
            return str(exc)
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
