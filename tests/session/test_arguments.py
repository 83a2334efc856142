"""Arguments of another kind than was asked for."""

from types import NoneType

import pytest

from chanlink import Limits, Trust
from chanlink.session.arguments import expect


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
