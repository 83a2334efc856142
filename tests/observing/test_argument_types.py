"""Arguments of wrong types, at all that observes, as tests/test_argument_types.py has it for the rest."""

import inspect
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from chanlink import observing
from chanlink.observing import Instrument
from chanlink.testing import session_pair
from tests.test_argument_types import HOLDS, PATHS, Rows, check_rows, public

pytestmark = pytest.mark.anyio

SESSIONS = (None, "x")
WRONG: Rows = {
    "dump": {"sessions": SESSIONS},
    "dump_on_signal": {"which": (None, "x"), "to": PATHS},
    "state": {"sessions": SESSIONS},
    "watch_stalls": {"sources": SESSIONS, "after": ("x", None), "instruments": (5, None, ["x"])},
}
ANYTHING = {
    "CallInfo": HOLDS,
    "ChannelInfo": HOLDS,
    "ChannelTotals": HOLDS,
    "SessionInfo": HOLDS,
    "SessionTotals": HOLDS,
    "StallInfo": HOLDS,
} | {name: "programs write it, and are given what it gets" for name, _ in public(observing) if "Instrument." in name}
NAMES = {"sessions": "session", "sources": "source"}
"""How these parameters, of which there are as many as one likes, are named."""


def test_every_parameter_of_whatever_is_public_has_a_row() -> None:
    check_rows(observing, WRONG, ANYTHING)


def test_an_instrument_is_made_without_arguments() -> None:
    assert not inspect.signature(Instrument).parameters


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_of_another_type_is_an_error_that_names_the_argument(name: str) -> None:
    async with session_pair() as (session, _):
        for parameter, values in WRONG[name].items():
            for value in values:
                with pytest.raises(TypeError) as caught:
                    await use(call(getattr(observing, name), parameter, value, session))
                named = NAMES.get(parameter, parameter)
                assert named in str(caught.value), f"{name}({parameter}={value!r}): {caught.value}"


def call(function: Any, parameter: str, value: Any, session: Any) -> Any:
    if parameter in ("sessions", "sources", "which"):
        return function(value)
    return function(session, **{parameter: value}) if function is observing.watch_stalls else function(to=value)


async def use(made: Any) -> None:
    if isinstance(made, AbstractAsyncContextManager):
        async with made:
            pass
