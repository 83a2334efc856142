"""The event loop that the commands run on."""

from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import TypeVar

import anyio

T = TypeVar("T")


def run_loop(function: Callable[..., Awaitable[T]], *args: object) -> T:
    """`anyio.run`, on uvloop where that is installed: it takes a tenth less processor time for bulk."""
    return anyio.run(function, *args, backend_options={"use_uvloop": find_spec("uvloop") is not None})
