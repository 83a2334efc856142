"""An interface, made of a protocol."""

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Protocol

import anyio
import pytest

import chanlink
from chanlink.calls import Interface
from chanlink.testing import session_pair

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]


class Calculator(Protocol):
    async def add(self, a: int, b: int) -> int: ...
    def count(self, to: int) -> AsyncGenerator[int, None]: ...


class OutOfStock(chanlink.CallFailed):
    detail: int


def test_an_interface_has_its_methods_and_nothing_changes_them() -> None:
    methods: Any = Interface(Calculator).methods
    assert set(methods) == {"add", "count"}
    with pytest.raises(TypeError):
        methods["sub"] = methods["add"]


def test_an_interface_has_the_failures_that_were_agreed_upon() -> None:
    interface = Interface(Calculator, raises=[OutOfStock])
    assert interface.failures.failure_of(OutOfStock("sold", 3)) == ("out-of-stock", "sold", 3)


def test_an_interface_says_of_what_it_is() -> None:
    assert repr(Interface(Calculator)) == "Interface(Calculator)"


CALC = Interface(Calculator, raises=[OutOfStock])


class MyCalculator:
    async def add(self, a: int, b: int) -> int:
        return a + b

    async def count(self, to: int) -> AsyncGenerator[int, None]:
        for number in range(to):
            yield number

    async def secret(self) -> int:
        raise AssertionError("never called")


class Lacking:
    add = MyCalculator.add


async def test_what_is_served_can_be_called_by_a_client() -> None:
    async with session_pair(services={"calc": CALC.serving(MyCalculator())}) as (client, _):
        calc = CALC.client(client, "calc")
        assert await calc.add(1, b=2) == 3
        async with aclosing(calc.count(3)) as numbers:
            assert [number async for number in numbers] == [0, 1, 2]


async def test_a_client_has_the_methods_of_the_interface_and_no_others() -> None:
    sender, receiver = chanlink.pipe()
    client: Any = CALC.client(sender)
    assert callable(client.add)
    for name in ("secret", "protocol", "close"):
        with pytest.raises(AttributeError):
            getattr(client, name)
    sender.close()
    receiver.close()


class OnlySecret(Protocol):
    async def secret(self) -> int: ...


async def test_what_else_an_implementation_has_can_not_be_called() -> None:
    async with session_pair(services={"calc": CALC.serving(MyCalculator())}) as (client, _):
        with pytest.raises(chanlink.CallRefused, match="no-such-method"):
            await Interface(OnlySecret).client(client, "calc").secret()


@pytest.mark.parametrize("wrong", [Lacking(), MyCalculator, 3, None])
def test_what_can_not_be_called_is_an_error_when_it_is_to_be_served(wrong: Any) -> None:
    with pytest.raises(chanlink.InterfaceError, match="Calculator: "):
        CALC.serving(wrong)


async def test_a_context_manager_makes_an_implementation_for_each_channel() -> None:
    life: list[str] = []

    @asynccontextmanager
    async def made() -> AsyncGenerator[MyCalculator, None]:
        life.append("made")
        try:
            yield MyCalculator()
        finally:
            life.append("over")

    async with session_pair(services={"calc": CALC.serving(made)}) as (session, _):
        first, second = await session.open("calc"), await session.open("calc")
        for sender in (first, second):
            assert await CALC.client(sender).add(1, 2) == 3
            assert await CALC.client(sender).add(1, 2) == 3
        assert life == ["made", "made"]
        first.close()
        second.close()
    assert life == ["made", "made", "over", "over"]


class InContext(MyCalculator):
    async def __aenter__(self) -> "InContext":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await anyio.lowlevel.checkpoint()


async def test_a_class_of_context_managers_makes_implementations() -> None:
    made: Any = InContext
    async with session_pair(services={"calc": CALC.serving(made)}) as (session, _):
        assert await CALC.client(session, "calc").add(1, 2) == 3


async def test_what_a_context_manager_makes_is_checked_when_a_client_comes(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def made() -> AsyncGenerator[Any, None]:
        yield Lacking()

    async with session_pair(services={"calc": CALC.serving(made)}) as (session, _):
        with pytest.raises(chanlink.CallError):
            await CALC.client(session, "calc").add(1, 2)
    assert "Calculator: Lacking.count: there is no such method" in caplog.text


async def test_a_client_can_be_served_itself_so_that_a_process_between_passes_calls_on() -> None:
    async with (
        session_pair(services={"calc": CALC.serving(MyCalculator())}) as (middle, _),
        session_pair(services={"calc": CALC.serving(CALC.client(middle, "calc"))}) as (near, _),
    ):
        calc = CALC.client(near, "calc")
        assert await calc.add(1, b=2) == 3
        async with aclosing(calc.count(3)) as numbers:
            assert [number async for number in numbers] == [0, 1, 2]


def test_without_msgspec_an_interface_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgspec", None)
    with pytest.raises(chanlink.ConfigError, match=r'pip install "chanlink\[typed\]"') as raised:
        Interface(Calculator)
    assert not isinstance(raised.value, chanlink.InterfaceError)
