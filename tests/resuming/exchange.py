"""What a client and a server tell each other, and how they notice that something is wrong with it.

Everything is numbered, or has its place in a pattern: each side takes nothing but the next number, and the byte that
belongs at the next place. Four ways are in use at once until enough is done:

- numbers, with some bytes each, from the client to a service, and from the server to one of the client;
- questions: a message with a reply channel in it; the server counts how often it was asked what;
- bytes of a pattern, both ways over one byte stream.
"""

import random
from collections import Counter
from typing import Any

import anyio
from anyio.abc import TaskGroup

import chanlink
from chanlink import ByteStream, Incoming, Receiver, Sender, Session

PATTERN = random.Random(0).randbytes(65_521)
"""Repeated: its length is a prime number, so that no piece begins where another one did."""
SIZES = (0, 1, 100, 3_000, 20_000)
"""Bytes in messages, in turn."""
MOST = 50_000
"""Bytes of one piece of a byte stream."""

WAYS = 5
"""Numbers and bytes both ways, and answers."""


def pattern(begin: int, size: int) -> bytes:
    """The bytes that belong there."""
    begin %= len(PATTERN)
    return (PATTERN[begin:] + PATTERN * (size // len(PATTERN) + 1))[:size]


class Count:
    """The numbers that come, one after the other."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.next = 0
        self.ended = False

    def take(self, number: int) -> None:
        assert not self.ended, f"{self.name}: {number} comes behind the end"
        assert number == self.next, f"{self.name}: {number} comes in the place of {self.next}"
        self.next += 1


class Exchange:
    """Both sides of it, in one process."""

    def __init__(self, chance: random.Random) -> None:
        self.enough = anyio.Event()
        """Set when everything shall come to its end."""
        self._chance = chance
        self._sent: Counter[str] = Counter()
        self.heard: dict[str, Count] = {}
        self._asked: Counter[int] = Counter()

    @property
    def volume(self) -> Counter[str]:
        """How much there was of what."""
        return Counter({name: count.next for name, count in self.heard.items()})

    async def as_client(self, session: Session) -> None:
        """Open everything, use it until there is enough, and return when all of it has ended."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tell, await session.open("numbers"), "numbers of the client")
            tasks.start_soon(self._ask, await session.open("questions"))
            self._both_ways(tasks, await session.open_stream("bytes"), "client", "server")
            numbers = await session.accept()
            await self._hear(numbers.end, "numbers of the server")

    async def as_server(self, session: Session) -> None:
        """The same at the other side."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tell, await session.open("numbers"), "numbers of the server")
            async for incoming in session:
                self._serve(tasks, incoming)

    def _serve(self, tasks: TaskGroup, incoming: Incoming) -> None:
        match incoming.service:
            case "numbers":
                tasks.start_soon(self._hear, incoming.end, "numbers of the client")
            case "questions":
                tasks.start_soon(self._answer, incoming.end)
            case "bytes":
                self._both_ways(tasks, incoming.end, "server", "client")

    def check(self) -> None:
        """At the end: all that was sent has come, each once."""
        assert len(self.heard) == WAYS, f"only {set(self.heard)} were opened"
        for name, count in self.heard.items():
            assert count.ended, f"{name}: no end"
            assert count.next == self._sent[name], f"{name}: {count.next} of {self._sent[name]} came"
        assert set(self._asked.values()) <= {1}

    # --- numbers ---

    async def _tell(self, sender: Sender[Any], name: str) -> None:
        async with sender:
            while not self.enough.is_set():
                number = self._sent[name]
                await sender.send([number, pattern(number, SIZES[number % len(SIZES)])])
                self._sent[name] += 1

    async def _hear(self, receiver: Receiver[Any], name: str) -> None:
        count = self.heard[name] = Count(name)
        async with receiver:
            async for number, data in receiver:
                count.take(number)
                assert data == pattern(number, SIZES[number % len(SIZES)]), f"{name}: other bytes in {number}"
        count.ended = True

    # --- questions ---

    async def _ask(self, sender: Sender[Any]) -> None:
        count = self.heard["answers"] = Count("answers")
        async with sender:
            while not self.enough.is_set():
                reply, answers = chanlink.pipe()
                await sender.send({"number": self._sent["answers"], "reply": reply})
                self._sent["answers"] += 1
                count.take(await answers.receive())
                answers.close()
        count.ended = True

    async def _answer(self, receiver: Receiver[Any]) -> None:
        async with receiver:
            async for question in receiver:
                self._asked[question["number"]] += 1
                async with question["reply"] as reply:
                    await reply.send(question["number"])

    # --- bytes ---

    def _both_ways(self, tasks: TaskGroup, stream: ByteStream, us: str, them: str) -> None:
        tasks.start_soon(self._write, stream, f"bytes of the {us}")
        tasks.start_soon(self._read, stream, f"bytes of the {them}")

    async def _write(self, stream: ByteStream, name: str) -> None:
        while not self.enough.is_set():
            piece = pattern(self._sent[name], self._chance.randint(1, MOST))
            await stream.send(piece)
            self._sent[name] += len(piece)
        await stream.send_eof()

    async def _read(self, stream: ByteStream, name: str) -> None:
        count = self.heard[name] = Count(name)
        try:
            while True:
                piece = await stream.receive()
                assert piece == pattern(count.next, len(piece)), f"{name}: other bytes behind {count.next}"
                count.next += len(piece)
        except anyio.EndOfStream:
            count.ended = True
