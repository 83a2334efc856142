"""`idempotent`, `finishes`: what the author of a protocol says of a method that its signature can't.

They belong to the protocol, not to the implementation: who calls has to know it, too.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, TypeVar

from chanlink.arguments import expect_function
from chanlink.errors import InterfaceError

F = TypeVar("F", bound=Callable[..., Any])
_NAME = "__chanlink_marks__"


@dataclasses.dataclass(frozen=True, slots=True)
class Marks:
    """What is said of one method."""

    idempotent: bool = False
    longest: float | None = None
    """The seconds that it has to finish, if it finishes."""


def idempotent(method: F) -> F:
    """Mark a method of a protocol: to call it twice does what calling it once does.

    So a call may be made again by itself when nobody knows whether it ran. Nothing else is changed.
    """
    expect_function("method", method)
    return _marked(method, idempotent=True)


def finishes(*, longest: float) -> Callable[[F], F]:
    """Mark a method of a protocol: a call that has begun goes on when its caller leaves, or is lost.

    It has ``longest`` seconds for that, and is cancelled then; the block of the session over there waits for it as
    long. Use it for what must not stop half-way: ``@chanlink.finishes(longest=10)``.

    Raises `InterfaceError` unless that is a number over 0.
    """
    if not isinstance(longest, int | float) or not 0 < longest < math.inf:
        raise InterfaceError(f"finishes: longest is a number of seconds over 0, not {longest!r}")

    def mark(method: F) -> F:
        return _marked(method, longest=longest)

    return mark


def marks_of(method: object) -> Marks:
    """What was said of a method; of one that is not marked, nothing."""
    marks = getattr(method, _NAME, None)
    return marks if isinstance(marks, Marks) else Marks()


def _marked(method: F, **what: Any) -> F:
    setattr(method, _NAME, dataclasses.replace(marks_of(method), **what))
    return method
