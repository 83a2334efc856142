"""How calls are typed, as their users see them.  Checked by mypy and pyright, never run."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Protocol, assert_type

import chanlink
from chanlink import ByteStream, Interface, Sender, Session


class OutOfStock(chanlink.CallFailed):
    detail: int


class Calculator(Protocol):
    @chanlink.idempotent
    async def add(self, a: int, b: int = 0) -> int: ...
    @chanlink.finishes(longest=3)
    async def store(self, name: str, *, body: ByteStream) -> str | None: ...
    def count(self, to: int) -> AsyncGenerator[int, None]: ...


class MyCalculator:
    async def add(self, a: int, b: int = 0) -> int:
        return a + b

    async def store(self, name: str, *, body: ByteStream) -> str | None:
        return name

    async def count(self, to: int) -> AsyncGenerator[int, None]:
        yield to


CALC = Interface(Calculator, raises=[OutOfStock])
assert_type(CALC, Interface[Calculator])


@asynccontextmanager
async def made() -> AsyncGenerator[MyCalculator, None]:
    yield MyCalculator()


async def serving() -> None:
    await chanlink.serve({"calc": CALC.serving(MyCalculator())}, "tcp://localhost:0", trust=chanlink.Trust.of())
    CALC.serving(MyCalculator(), calls=3, longest=60)
    CALC.serving(made)


async def calling(session: Session, sender: Sender[object], body: ByteStream) -> None:
    assert_type(CALC.client(sender), Calculator)
    calc = CALC.client(session, "calc")
    assert_type(calc, Calculator)
    assert_type(await calc.add(1, 2), int)
    assert_type(await calc.add(1, b=2), int)
    assert_type(await calc.store("notes", body=body), str | None)
    async with aclosing(calc.count(3)) as numbers:
        async for number in numbers:
            assert_type(number, int)


def errors(error: OutOfStock) -> None:
    assert_type(error.code, str)
    assert_type(error.text, str)
    assert_type(error.detail, int)
    OutOfStock("sold", 3)
