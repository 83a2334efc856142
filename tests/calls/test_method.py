"""What a call carries: arguments by name, as Python would take them."""

from collections.abc import Callable
from inspect import BoundArguments, Parameter, Signature, signature
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chanlink.calls.method import Parameters
from chanlink.calls.parts import Part
from chanlink.errors import MessageTypeError


def parameters(function: Callable[..., Any]) -> Parameters:
    return Parameters("f", signature(function), Part("arguments", Any))


def plain(a: int, b: int, c: int = 3) -> None: ...
def named(a: int, *, b: int, c: int = 3) -> None: ...
def unnamed(a: int, b: int = 2, c: int = 3, /, d: int = 4) -> None: ...
def nothing() -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "packed"),
    [
        (plain, (1, 2), {}, {"a": 1, "b": 2}),
        (plain, (1, 2, 3), {}, {"a": 1, "b": 2, "c": 3}),
        (plain, (1,), {"b": 2}, {"a": 1, "b": 2}),
        (plain, (), {"b": 2, "a": 1}, {"a": 1, "b": 2}),
        (named, (1,), {"b": 2}, {"a": 1, "b": 2}),
        (unnamed, (1,), {}, {"a": 1}),
        (unnamed, (1, 2), {"d": 4}, {"a": 1, "b": 2, "d": 4}),
        (nothing, (), {}, {}),
    ],
)
def test_arguments_travel_by_name_and_what_is_left_out_does_not_travel(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], packed: dict[str, Any]
) -> None:
    assert parameters(function).pack(args, kwargs) == packed


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (plain, (), {}),
        (plain, (1,), {}),
        (plain, (1, 2, 3, 4), {}),
        (plain, (1, 2), {"b": 2}),
        (plain, (1, 2), {"d": 2}),
        (plain, (1, 2, 3, 4), {"d": 2}),
        (plain, (1, 2, 3, 4), {"c": 2}),
        (named, (1, 2), {}),
        (named, (1,), {"c": 2}),
        (nothing, (1,), {}),
    ],
)
def test_a_call_that_does_not_fit_is_the_error_that_python_raises(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(TypeError) as by_python:
        signature(function).bind(*args, **kwargs)
    with pytest.raises(TypeError) as raised:
        parameters(function).pack(args, kwargs)
    assert str(raised.value) == f"f(): {by_python.value}"


@pytest.mark.parametrize(
    ("args", "kwargs", "names"),
    [((), {"a": 1}, "a"), ((), {"b": 1}, "b"), ((1,), {"b": 1, "c": 1}, "b, c"), ((1, 2), {"b": 1, "d": 4}, "b")],
)
def test_what_stands_before_a_slash_is_not_given_by_its_name(
    args: tuple[Any, ...], kwargs: dict[str, Any], names: str
) -> None:
    """As a call is refused by Python: `Signature.bind` has words of its own in each version, and 3.13.0 takes some."""
    with pytest.raises(TypeError) as raised:
        parameters(unnamed).pack(args, kwargs)
    assert str(raised.value) == f"f() got some positional-only arguments passed as keyword arguments: '{names}'"


@pytest.mark.parametrize(
    ("function", "value", "args", "kwargs"),
    [
        (plain, {"a": 1, "b": 2}, [], {"a": 1, "b": 2}),
        (unnamed, {"a": 1, "b": 2, "d": 4}, [1, 2], {"d": 4}),
        (unnamed, {"a": 1}, [1], {}),
        (nothing, {}, [], {}),
    ],
)
def test_arguments_come_back_as_a_function_takes_them(
    function: Callable[..., Any], value: dict[str, Any], args: list[Any], kwargs: dict[str, Any]
) -> None:
    assert parameters(function).unpack(value) == (args, kwargs)
    function(*args, **kwargs)


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (plain, [1, 2], "arguments: a map was expected"),
        (plain, None, "arguments: a map was expected"),
        (plain, {"a": 1}, "arguments.b: it is missing"),
        (plain, {"a": 1, "b": 2, "d": 3}, "arguments: there is one that this method does not have"),
        (plain, {"a": 1, "b": 2, b"c": 3}, "arguments: there is one that this method does not have"),
        (plain, {"a": 1, "b": 2, 7: 3}, "arguments: there is one that this method does not have"),
        (unnamed, {"a": 1, "c": 3}, "arguments.b: it is missing"),
        (nothing, {"a": 1}, "arguments: there is one that this method does not have"),
    ],
)
def test_arguments_that_no_caller_could_have_given_are_told_by_their_place(
    function: Callable[..., Any], value: Any, text: str
) -> None:
    with pytest.raises(MessageTypeError, match=f"^{text}$"):
        parameters(function).unpack(value)


on_any_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""However busy it is."""
NAMES = "abcdef"
KINDS = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


@st.composite
def signatures(draw: st.DrawFn) -> Signature:
    """Any that Python allows: kinds in their order, and by position none without a default after one with it."""
    kinds = sorted(draw(st.lists(st.sampled_from(KINDS), max_size=len(NAMES))))
    made, optional = [], False
    for name, kind in zip(NAMES, kinds, strict=False):
        has_default = draw(st.booleans())
        if kind is not Parameter.KEYWORD_ONLY:
            has_default = optional = optional or has_default
        made.append(Parameter(name, kind, default=f"{name} of the interface" if has_default else Parameter.empty))
    return Signature(made)


def as_a_call_binds(wanted: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BoundArguments:
    """As Python calls a function: `Signature.bind` of 3.13.0 takes a name from before a slash where defaults stand."""
    never = {one.name for one in wanted.parameters.values() if one.kind is Parameter.POSITIONAL_ONLY}
    if never & kwargs.keys():
        raise TypeError("it is given by position only")
    return wanted.bind(*args, **kwargs)


@on_any_machine
@given(signatures(), st.integers(0, len(NAMES) + 1), st.sets(st.sampled_from(NAMES)))
def test_any_call_of_any_method_arrives_as_python_would_have_made_it(
    wanted: Signature, by_position: int, by_name: set[str]
) -> None:
    method = Parameters("f", wanted, Part("arguments", Any))
    args, kwargs = tuple(range(by_position)), {name: f"a {name}" for name in by_name}
    try:
        bound = as_a_call_binds(wanted, args, kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            method.pack(args, kwargs)
        return
    travels = method.pack(args, kwargs)
    assert travels == bound.arguments
    there_args, there_kwargs = method.unpack(dict(travels))
    assert wanted.bind(*there_args, **there_kwargs) == bound


@on_any_machine
@given(signatures(), st.dictionaries(st.sampled_from([*NAMES, "unknown", 7, b"a"]), st.none()))
def test_any_map_of_arguments_is_a_call_that_python_takes_or_an_error(wanted: Signature, value: dict[Any, Any]) -> None:
    method = Parameters("f", wanted, Part("arguments", Any))
    try:
        args, kwargs = method.unpack(dict(value))
    except MessageTypeError:
        names = set(wanted.parameters)
        required = {name for name in names if wanted.parameters[name].default is Parameter.empty}
        unnamed = [one.name in value for one in wanted.parameters.values() if one.kind is Parameter.POSITIONAL_ONLY]
        assert not required <= value.keys() <= names or unnamed != sorted(unnamed, reverse=True)
    else:
        assert wanted.bind(*args, **kwargs).arguments == value
