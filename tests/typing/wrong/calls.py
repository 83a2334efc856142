"""Mistakes with calls. Checked by mypy and pyright (tests/project/test_typing.py), never run."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

import chanlink
from chanlink import ByteStream, Interface, Receiver, Sender, Session


class OutOfStock(chanlink.CallFailed):
    detail: int


class Calculator(Protocol):
    async def add(self, a: int, b: int = 0) -> int: ...
    async def store(self, name: str, *, body: ByteStream) -> str | None: ...
    def count(self, to: int) -> AsyncGenerator[int, None]: ...


class Good:
    async def add(self, a: int, b: int = 0) -> int:
        return a + b

    async def store(self, name: str, *, body: ByteStream) -> str | None:
        return name

    async def count(self, to: int) -> AsyncGenerator[int, None]:
        yield to


class OtherResult:
    store = Good.store
    count = Good.count

    async def add(self, a: int, b: int = 0) -> str:
        return ""


class OtherItem:
    add = Good.add
    store = Good.store

    async def count(self, to: int) -> AsyncGenerator[str, None]:
        yield ""


class NotAsync:
    store = Good.store
    count = Good.count

    def add(self, a: int, b: int = 0) -> int:
        return a + b


class OtherName:
    store = Good.store
    count = Good.count

    async def add(self, x: int, b: int = 0) -> int:
        return x + b


class WithoutCount:
    add = Good.add
    store = Good.store


CALC = Interface(Calculator)
Interface("Calculator")  # mypy: arg-type
Interface(Calculator, raises=[ValueError])  # mypy: list-item; pyright: reportArgumentType
Interface(Calculator, raises=[OutOfStock()])  # mypy: list-item; pyright: reportArgumentType


@asynccontextmanager
async def made_wrong() -> AsyncGenerator[WithoutCount, None]:
    yield WithoutCount()


def serving() -> None:
    CALC.serving(OtherResult())  # mypy: arg-type; pyright: reportArgumentType
    CALC.serving(OtherItem())  # mypy: arg-type; pyright: reportArgumentType
    CALC.serving(NotAsync())  # mypy: arg-type; pyright: reportArgumentType
    CALC.serving(OtherName())  # mypy: none; pyright: reportArgumentType
    CALC.serving(WithoutCount())  # mypy: arg-type; pyright: reportArgumentType
    CALC.serving(Good)  # mypy: arg-type; pyright: reportArgumentType
    CALC.serving(made_wrong)  # mypy: arg-type; pyright: reportArgumentType
    CALC.serving(Good(), calls="many")  # mypy: arg-type; pyright: reportArgumentType


async def calling(session: Session, sender: Sender[object], receiver: Receiver[object], body: ByteStream) -> None:
    CALC.client(receiver)  # mypy: arg-type; pyright: reportArgumentType
    CALC.client(session, 3)  # mypy: arg-type; pyright: reportArgumentType
    calc = CALC.client(sender)
    await calc.add("1", 2)  # mypy: arg-type; pyright: reportArgumentType
    await calc.add()  # mypy: call-arg; pyright: reportCallIssue
    await calc.add(1, 2, 3)  # mypy: call-arg; pyright: reportCallIssue
    await calc.add(1, c=2)  # mypy: call-arg; pyright: reportCallIssue
    await calc.store("notes", body)  # mypy: call-arg; pyright: reportCallIssue
    await calc.subtract(1, 2)  # mypy: attr-defined; pyright: reportAttributeAccessIssue
    await calc.count(3)  # mypy: misc; pyright: reportGeneralTypeIssues
    text: str = await calc.add(1)  # mypy: assignment; pyright: reportAssignmentType
    async for number in calc.count(3):
        text = number  # mypy: assignment; pyright: reportAssignmentType
    assert text
