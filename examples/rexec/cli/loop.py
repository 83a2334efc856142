"""The event loop."""

from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import TypeVar

import anyio
from anyio.lowlevel import checkpoint

from .interrupts import let_interrupts_end_us, let_interrupts_raise

T = TypeVar("T")


def run_quick(function: Callable[..., Awaitable[T]], *args: object) -> T:
    """`anyio.run`; until it begins Ctrl-C ends us, and from then on it cancels."""
    return _run(function, args, {})


def run_loop(function: Callable[..., Awaitable[T]], *args: object) -> T:
    """The same for what runs long or moves much, on uvloop where that is installed.

    That takes a tenth less processor time for bulk, but 5 ms to import, which short commands can't spare.
    """
    return _run(function, args, {"use_uvloop": find_spec("uvloop") is not None})


def _run(function: Callable[..., Awaitable[T]], args: tuple[object, ...], options: dict[str, object]) -> T:
    let_interrupts_end_us()
    anyio.run(checkpoint, backend_options=options)  # which imports what it needs
    let_interrupts_raise()
    return anyio.run(function, *args, backend_options=options)
