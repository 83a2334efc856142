"""Marks of methods."""

import math
from typing import Any

import pytest

from chanlink.calls.marks import Marks, finishes, idempotent, marks_of
from chanlink.errors import InterfaceError


async def method() -> None: ...


def test_a_method_without_marks_has_none() -> None:
    assert marks_of(method) == Marks(idempotent=False, longest=None)


def test_marks_leave_the_method_as_it_is_and_add_up() -> None:
    async def both() -> None: ...

    assert finishes(longest=5)(idempotent(both)) is both
    assert marks_of(both) == Marks(idempotent=True, longest=5)


@pytest.mark.parametrize("longest", [0, -1, math.inf, math.nan, "10", None])
def test_what_finishes_has_a_bound(longest: Any) -> None:
    with pytest.raises(InterfaceError, match="longest is a number of seconds"):
        finishes(longest=longest)
