"""Arguments of another kind than was asked for."""

import uuid
from types import NoneType

import pytest

from chanlink import Limits, Trust
from chanlink.arguments import expect, expect_function, with_article


def test_what_was_asked_for_passes() -> None:
    expect("limits", Limits(), Limits)
    expect("trust", None, Trust, NoneType)
    expect("number", True, int)  # as elsewhere in Python


@pytest.mark.parametrize(
    ("value", "kinds", "words"),
    [
        ("a path", (Trust,), "trust must be Trust, not str"),
        ("a path", (Trust, NoneType), "trust must be Trust or None, not str"),
        (None, (Trust, Limits), "trust must be Trust or Limits, not NoneType"),
    ],
)
def test_anything_else_is_a_type_error_that_says_what_was_wanted(
    value: object, kinds: tuple[type, ...], words: str
) -> None:
    with pytest.raises(TypeError) as caught:
        expect("trust", value, *kinds)
    assert str(caught.value) == words


class _Empty: ...


class Unit: ...


class Unknown: ...


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (list, "a list"),
        (object, "an object"),
        (int, "an int"),
        (OSError, "an OSError"),
        (_Empty, "an _Empty"),
        (Unit, "a Unit"),
        (Unknown, "an Unknown"),
        (uuid.UUID, "a UUID"),
    ],
)
def test_a_type_has_its_article(kind: type, words: str) -> None:
    assert with_article(kind) == words


def test_whatever_can_be_called_is_a_function() -> None:
    expect_function("handler", print)
    expect_function("handler", Limits)
    with pytest.raises(TypeError) as caught:
        expect_function("handler", "echo")
    assert str(caught.value) == "handler must be a function, not str"
