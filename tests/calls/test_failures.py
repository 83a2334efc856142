"""Errors that both sides have agreed upon."""

import dataclasses
from typing import Any

import pytest

from chanlink.calls.failures import Failures
from chanlink.errors import CallFailed, ChanlinkError, InterfaceError, MessageTypeError


@dataclasses.dataclass
class Stock:
    left: int


class OutOfStock(CallFailed):
    detail: Stock


class NoneOfThat(OutOfStock):
    pass


class Another(CallFailed):
    code = "out-of-stock"


class NotAWord(CallFailed):
    code = "Not A Word"


class Long(CallFailed):
    code = "a-" * 40 + "b"


class NoText(CallFailed):
    code: Any = 7


class Deadline(CallFailed):
    pass


class Unknown(CallFailed):
    detail: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


AGREED = Failures([OutOfStock])


def test_what_was_agreed_upon_travels_as_code_text_and_detail() -> None:
    assert AGREED.failure_of(OutOfStock("sold", Stock(2))) == ("out-of-stock", "sold", {"left": 2})
    assert AGREED.failure_of(OutOfStock()) == ("out-of-stock", "", None)


def test_a_subclass_travels_as_what_was_agreed_upon() -> None:
    assert AGREED.failure_of(NoneOfThat("sold", Stock(2))) == ("out-of-stock", "sold", {"left": 2})
    assert Failures([OutOfStock, NoneOfThat]).failure_of(NoneOfThat()) == ("none-of-that", "", None)


@pytest.mark.parametrize("error", [Another(), CallFailed(code="out-of-stock"), ValueError(), ChanlinkError()])
def test_what_was_not_agreed_upon_does_not_travel(error: Exception) -> None:
    assert AGREED.failure_of(error) is None


def test_what_was_agreed_upon_arrives_as_itself() -> None:
    error = AGREED.error_of("out-of-stock", "sold", {"left": 2})
    assert type(error) is OutOfStock
    assert (error.code, error.text, error.detail) == ("out-of-stock", "sold", Stock(2))
    assert AGREED.error_of("out-of-stock", "", None).detail is None


def test_another_code_arrives_as_a_failed_call_without_its_detail() -> None:
    error = AGREED.error_of("handler-failed", "", "two")
    assert type(error) is CallFailed
    assert (error.code, error.text, error.detail) == ("handler-failed", "", None)


def test_the_type_of_a_detail_is_what_its_class_says() -> None:
    with pytest.raises(MessageTypeError, match=r"^detail\.left: expected int, got str$"):
        AGREED.error_of("out-of-stock", "sold", {"left": "two"})
    assert Failures([NotSaid]).error_of("not-said", "", {"left": "two"}).detail == {"left": "two"}


class Unsendable(CallFailed):
    detail: complex


class NotSaid(CallFailed):
    pass


@pytest.mark.parametrize(
    ("raises", "text"),
    [
        ([OutOfStock, Another], "OutOfStock and Another have the same code, 'out-of-stock'"),
        ([OutOfStock, OutOfStock], "have the same code"),
        ([NotAWord], "NotAWord: a code is short words with hyphens, not 'Not A Word'"),
        ([Long], "Long: a code is short words"),
        ([NoText], "NoText: a code is short words with hyphens, not 7"),
        ([Deadline], "Deadline: the code 'deadline' means something else"),
        ([CallFailed], "subclasses of CallFailed are wanted"),
        ([ValueError], "subclasses of CallFailed are wanted, not <class 'ValueError'>"),
        ([OutOfStock()], "subclasses of CallFailed are wanted"),
        ([Unsendable], r"Unsendable\.detail: .*complex can't"),
        ([Unknown], "Unknown: its annotations can't be evaluated"),
    ],
)
def test_what_can_not_be_agreed_upon_is_told(raises: list[Any], text: str) -> None:
    with pytest.raises(InterfaceError, match=text):
        Failures(raises)
