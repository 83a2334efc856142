"""Outputs of many commands, line by line, with the name of the machine in front of each line."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NamedTuple

import anyio
from anyio.abc import ByteSendStream

from ..pumps import open_standard_output

LONGEST = 64 * 1024
"""Bytes of a line that are kept until its end comes. A longer one is written as several lines, lest a machine that ends
none fills our memory."""


class Shared(ByteSendStream):
    """A sink of many: one after the other, so that what one of them sends stays together."""

    def __init__(self, sink: ByteSendStream, turn: anyio.Lock) -> None:
        self._sink = sink
        self._turn = turn

    async def send(self, item: bytes) -> None:
        async with self._turn:
            await self._sink.send(item)

    async def aclose(self) -> None:
        """It is not ours alone."""


class Outputs(NamedTuple):
    stdout: Shared
    stderr: Shared


@asynccontextmanager
async def shared_outputs() -> AsyncGenerator[Outputs, None]:
    """Our standard output and error. Where both are one file, a line of the one is not within a line of the other."""
    turn = anyio.Lock()
    other = turn if os.path.samestat(os.fstat(1), os.fstat(2)) else anyio.Lock()
    async with open_standard_output(1) as stdout, open_standard_output(2) as stderr:
        yield Outputs(Shared(stdout, turn), Shared(stderr, other))


class Lines(ByteSendStream):
    """What is sent is written to a sink as whole lines with a name in front of each."""

    def __init__(self, name: str, sink: ByteSendStream) -> None:
        self._front = f"{name}: ".encode(errors="replace")
        self._sink = sink
        self._rest = b""
        """Of a line that has not ended."""

    async def send(self, item: bytes) -> None:
        """Raises as the sink does."""
        whole, end, self._rest = (self._rest + item).rpartition(b"\n")
        if len(self._rest) > LONGEST:
            whole, end, self._rest = whole + end + self._rest, b"\n", b""
        if end:
            await self._write(whole)

    async def finish(self) -> None:
        """Write what is left of a line that was not ended."""
        if self._rest:
            rest, self._rest = self._rest, b""
            await self._write(rest)

    async def _write(self, lines: bytes) -> None:
        await self._sink.send(self._front + lines.replace(b"\n", b"\n" + self._front) + b"\n")

    async def aclose(self) -> None:
        """The sink is not ours alone."""
