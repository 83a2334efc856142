"""Plans that broke a promise once."""

import pytest

from tests.conftest import BACKENDS

from .driver import Plan, run

FOUND: dict[str, Plan] = {
    "an end that had refused arrives with its refusal, not with what it has not read": [
        ("byte_pipe", 8, 0),
        ("write", 0, 0),
        ("some_time", 0, 1),
        ("fail", 0, 0),
        ("refuse", 105, 0),
        ("send_end", 0, 198),
    ],
    "an end whose halves are bound to different things is noticed when it is forgotten": [
        ("open_channel", 0, 1),
        ("byte_pipe", 0, 0),
        ("refuse", 0, 0),
        ("send_end", 0, 1),
        ("forget", 0, 0),
    ],
    "an end is lent no more once the send is cancelled, also one that had not begun (the machine was wrong)": [
        ("send_end", 0, 0),
        ("send_end", 0, 0),
        ("cancel", 182, 0),
        ("send_lent_end", 0, 0),
    ],
}


@pytest.mark.parametrize("plan", FOUND.values(), ids=FOUND)
def test_it_does_so_no_more(plan: Plan) -> None:
    for backend in BACKENDS:
        name, options = backend.values[0]
        run(plan, name, **options)
