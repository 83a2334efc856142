"""What callers say beside the arguments."""

from typing import Any

import pytest

from chanlink.calls.context import call_context, current_call, said_context


def test_blocks_add_up_and_end() -> None:
    with call_context({"a": "1", "b": "2"}):
        with call_context({"b": "3"}):
            assert said_context() == {"a": "1", "b": "3"}
        assert said_context() == {"a": "1", "b": "2"}
    assert said_context() == {}


@pytest.mark.parametrize(
    ("context", "error"),
    [
        ({"a": 1}, TypeError),
        ({1: "a"}, TypeError),
        ({"a": "x" * 4_095}, None),
        ({"a": "x" * 4_096}, ValueError),
        ({"\N{EURO SIGN}" * 1_365: "aa"}, ValueError),
    ],
    ids=["value", "key", "longest", "too long", "by bytes"],
)
def test_a_context_is_checked_where_it_is_said(context: Any, error: type[Exception] | None) -> None:
    if error is None:
        with call_context(context):
            assert said_context() == context
        return
    with pytest.raises(error, match="context"), call_context(context):
        pass
    assert said_context() == {}


def test_what_blocks_say_together_is_bounded() -> None:
    with call_context({"a": "x" * 3_000}), pytest.raises(ValueError, match="4096"), call_context({"b": "x" * 3_000}):
        pass


def test_outside_of_calls_there_is_none() -> None:
    with pytest.raises(LookupError):
        current_call()
