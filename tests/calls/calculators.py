"""An interface with a method of each sort, an implementation that says what happens to it, and ways to call it."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Protocol

import anyio

from chanlink import ByteStream, CallFailed, Receiver, Sender, pipe
from chanlink.calls import Interface, finishes
from chanlink.testing import session_pair
from chanlink.testing.sessions import PEER


class OutOfStock(CallFailed):
    detail: int


class Calculator(Protocol):
    async def add(self, a: int, b: int = 1) -> int: ...
    def count(self, to: int) -> AsyncGenerator[int, None]: ...
    async def store(self, name: str, body: ByteStream) -> int: ...
    async def numbers(self, to: Sender[int]) -> Receiver[int]: ...
    async def wait(self, end: Any = None) -> None: ...
    async def do(self, what: Any, value: Any = None) -> Any: ...
    def items(self, what: Any) -> AsyncGenerator[Any, None]: ...
    @finishes(longest=30)
    async def finish(self, what: str) -> str: ...


CALC: Interface[Any] = Interface(Calculator, raises=(OutOfStock,))


class OneCalculator:
    """``do`` and ``items`` do what a test has given them by name."""

    def __init__(self, **deeds: Callable[..., Any]) -> None:
        self.deeds = deeds
        self.began = self.ended = 0
        self.may_go_on = anyio.Event()

    async def add(self, a: int, b: int = 1) -> int:
        return a + b

    async def count(self, to: int) -> AsyncGenerator[int, None]:
        self.began += 1
        try:
            for n in range(to):
                yield n
        finally:
            self.ended += 1

    async def store(self, name: str, body: ByteStream) -> int:
        return sum([len(data) async for data in body])

    async def numbers(self, to: Sender[int]) -> Receiver[int]:
        """Gives a channel out of which comes what went into another one."""
        back, receiver = pipe(item_type=int)
        async with to, back:
            for number in range(3):
                await to.send(number)
                await back.send(-number)
        return receiver

    async def wait(self, end: Any = None) -> None:
        self.began += 1
        try:
            await anyio.sleep_forever()
        finally:
            self.ended += 1

    async def do(self, what: Any, value: Any = None) -> Any:
        return await self.deeds[what](value)

    async def items(self, what: Any) -> AsyncGenerator[Any, None]:
        async with aclosing(self.deeds[what]()) as items:
            async for item in items:
                yield item

    async def finish(self, what: str) -> str:
        self.began += 1
        await self.may_go_on.wait()
        self.ended += 1
        return what


def serving(implementation: Any, service: Any = None, **options: Any) -> Any:
    """The service of an implementation, unless there is another one."""
    return service or CALC.serving(implementation, **options)


def client(*target: Any) -> Any:
    return CALC.client(*target)


@asynccontextmanager
async def in_memory(implementation: object, **options: Any) -> AsyncIterator[Any]:
    """A client of a service in the same process, without a session."""
    sender, receiver = pipe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serving(implementation, **options), receiver, PEER)
        try:
            yield client(sender)
        finally:
            sender.close()


@asynccontextmanager
async def over_session(implementation: object, **options: Any) -> AsyncIterator[Any]:
    async with session_pair(services={"calc": serving(implementation, **options)}) as (near, _far):
        yield client(near, "calc")


@asynccontextmanager
async def over_relay(implementation: object, **options: Any) -> AsyncIterator[Any]:
    """The middle has opened the channel to the service, and has sent it on."""
    async with (
        session_pair(services={"calc": serving(implementation, **options)}) as (middle, _far),
        session_pair() as (near, there),
    ):
        carrier = await there.open("carrier")
        await carrier.send(await middle.open("calc"))
        sender = await (await near.accept()).end.receive()
        yield client(sender)
        sender.close()


WAYS = [in_memory, over_session, over_relay]
