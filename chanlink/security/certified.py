"""A key of this process that its identity certifies, and that is made afresh before the certificate ends."""

import time
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import anyio

from chanlink.forks import forget_in_child
from chanlink.printing import printable_logger
from chanlink.security.keys.certificate import CERTIFICATE_LIFETIME, Certificate

logger = printable_logger("chanlink")

RETRY, RENEWAL = 60, 5.0
"""Seconds until a certificate that could not be renewed is tried again, and for each time."""

K = TypeVar("K")


class Certified(ABC, Generic[K]):
    """A key of this process, and the identity's certificate for it.

    Both are made afresh at half of the certificate's life; sessions that exist go on.
    """

    def __init__(self) -> None:
        self._current: tuple[K, Certificate] | None = None
        self._tried = -RETRY
        self._signing = anyio.Lock()
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: it makes a key of its own."""
        self._current = None
        self._tried = -RETRY
        self._signing = anyio.Lock()  # a task of the parent may hold the old one

    async def current(self) -> tuple[K, Certificate]:
        """The key and its certificate. May ask the holder of the identity to sign, and raises what that raises."""
        if (current := self._valid()) is not None:
            return current
        async with self._signing:  # one signature for all tasks that wait for it
            current = self._valid() or await self._renew()
            self._current = current
        return current

    def _valid(self) -> tuple[K, Certificate] | None:
        now = int(time.time())
        # One that could not be renewed is good for longer, until that is tried again.
        life = CERTIFICATE_LIFETIME - RETRY if 0 <= now - self._tried < RETRY else CERTIFICATE_LIFETIME // 2
        # Below zero after the clock was set back: to the peers it would not be valid yet.
        return self._current if self._current and 0 <= now - self._current[1].not_before <= life else None

    async def _renew(self) -> tuple[K, Certificate]:
        """New ones; or the old ones while they are valid, when the agent that signed them has gone."""
        self._tried = int(time.time())
        old = self._valid()
        try:
            with anyio.fail_after(None if old is None else RENEWAL):
                return await self._make()
        except Exception as exc:  # raised by the signer
            if old is None:
                raise
            logger.warning("the certificate can't be renewed, and the old one is used: %s", exc or "no answer")
            return old

    @abstractmethod
    async def _make(self) -> tuple[K, Certificate]:
        """A fresh key, and a certificate for it."""
