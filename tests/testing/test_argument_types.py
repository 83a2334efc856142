"""Arguments of wrong types, at all that is public for tests, as tests/test_argument_types.py has it for the rest."""

import inspect
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

import chanlink
from chanlink import testing
from tests.test_argument_types import FLAGS, MADE_BY_US, NUMBERS, TEXTS, Rows, check_rows

pytestmark = pytest.mark.anyio

CHECK = {"factory": (None, "x"), "patience": ("x", None)}
WRONG: Rows = {
    "FaultyStream": {
        "stream": (None, "x"),
        "cut_after": NUMBERS,
        "stall_after": NUMBERS,
        "corrupt_at": NUMBERS,
        "piece": NUMBERS,
        "delay": ("x", None),
        "seed": NUMBERS,
        "steps": NUMBERS,
    },
    "LocalServer.connect": {"name": TEXTS, "may_use": (5, "x"), "faults": (5, "x")},
    "LocalServer.identity": {"name": TEXTS, "may_use": (5, "x")},
    "check_byte_stream": CHECK,
    "check_channel": CHECK,
    "local_server": {"services": (5, ["x"]), "address": (5, None), "limits": ({}, 5)},
    "session_over": {"stream": (None, "x"), "client_side": FLAGS, "peer": ("x", 5)},
    "session_pair": {
        "limits": ({}, 5),
        "server_limits": ({}, 5),
        "services": (5, ["x"]),
        "client_services": (5, ["x"]),
        "allows": (5, "x"),
        "wire": (5, "x"),
        "instruments": (5, ["x"]),
        "server_instruments": (5, ["x"]),
    },
    "session_pair_with_keys": {
        "limits": ({}, 5),
        "server_limits": ({}, 5),
        "services": (5, ["x"]),
        "client_services": (5, ["x"]),
        "may_use": (5, "x"),
        "client_faults": (5, "x"),
        "server_faults": (5, "x"),
    },
}
ANYTHING = {
    "FaultyStream.send": "it is the stream's below",
    "FaultyStream.receive": "it is the stream's below",
    "check_byte_stream(only)": "a `ValueError` names what is no promise",
    "check_channel(only)": "a `ValueError` names what is no promise",
    "session_over(options)": "they are those of `session_pair`",
    "LocalServer": MADE_BY_US,
    "SessionPair": MADE_BY_US,
    "StartServer": "it is a type",
    "LocalServer.connect(options)": "they are those of `chanlink.connect`",
    "session_pair_with_keys(over)": "a `ValueError` names what there is",
    "session_pair(features)": "a name that nobody knows is ignored, as in a handshake",
}


def test_every_parameter_of_whatever_is_public_has_a_row() -> None:
    check_rows(testing, WRONG, ANYTHING)


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_of_another_type_is_an_error_that_names_the_argument(name: str) -> None:
    near, far = chanlink.byte_pipe()
    others = {"FaultyStream": {"stream": near}, "session_over": {"stream": near, "client_side": True}}
    if name.startswith("check"):
        others[name] = {"factory": chanlink.pipe}
    if name in ("LocalServer.connect", "LocalServer.identity"):
        others[name] = {"name": "alice"}
    for parameter, values in WRONG[name].items():
        for value in values:
            async with testing.local_server() as server:
                function = getattr(server, name.removeprefix("LocalServer."), None) or getattr(testing, name)
                with pytest.raises(TypeError) as caught:
                    await use(function(**{**others.get(name, {}), parameter: value}))
            named = "services" if "services" in parameter else parameter
            assert named in str(caught.value), f"{name}({parameter}={value!r}): {caught.value}"
    near.close()
    far.close()


async def use(made: Any) -> None:
    if inspect.isawaitable(made):
        await made
    elif isinstance(made, AbstractAsyncContextManager):
        async with made:
            pass
