"""The interface that is called."""

from typing import Protocol

import chanlink


class Work(Protocol):
    async def work(self, seconds: float) -> int: ...


WORK = chanlink.Interface(Work)
