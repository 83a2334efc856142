"""What one side of a copy tells to whoever asked for it."""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import anyio

import chanlink

from ..words import LINE_MAX

INTERVAL = 0.1
"""Seconds between two reports of how far it is."""


class Remark(NamedTuple):
    """What is to be told about an entry, in a line."""

    text: str
    is_problem: bool = True
    """It could not be copied; else it is left out on purpose."""


class Report:
    """Counts what was done, and tells it. Raises `chanlink.ChannelBroken` when nobody wants to know any more."""

    def __init__(self, sender: chanlink.Sender[Any]) -> None:
        self._sender = sender
        self._files = 0
        self._bytes = 0
        self._spared = 0
        self._next = 0.0

    def add(self, size: int) -> None:
        """This many more bytes were written."""
        self._bytes += size

    def add_spared(self, size: int) -> None:
        """This many more bytes were there already."""
        self._bytes += size
        self._spared += size

    def add_file(self) -> None:
        """One more file is complete."""
        self._files += 1

    def tell(self, name: bytes = b"") -> None:
        """Report how far it is, if the last such report is old enough, and if there is room for another."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + INTERVAL
            with suppress(anyio.WouldBlock):
                self._sender.send_nowait({"at": self._counts, "name": name})

    async def total(self, files: int, size: int) -> None:
        await self._sender.send({"total": [files, size]})

    async def say(self, remarks: Iterable[Remark]) -> None:
        for remark in remarks:
            await self._sender.send({"problem" if remark.is_problem else "note": remark.text[:LINE_MAX]})

    async def done(self) -> None:
        await self._sender.send({"done": self._counts})

    async def failed(self, text: str = "") -> None:
        """The copy is given up; without a text, because the other side of it is gone."""
        await self._sender.send({"failed": text[:LINE_MAX]})

    @property
    def _counts(self) -> list[int]:
        return [self._files, self._bytes, self._spared]
