"""`check_channel`: what every channel promises, whatever is between its two ends."""

from collections.abc import Collection

from chanlink.arguments import expect as expect_type
from chanlink.arguments import expect_function

from . import delivery, flow, nesting
from .promises import MakeChannel, check

_PROMISES = [*delivery.PROMISES, *flow.PROMISES, *nesting.PROMISES]

CHANNEL_PROMISES = tuple(promise.__name__ for promise in _PROMISES)
"""The names of the promises that `check_channel` tries, in its order."""


async def check_channel(factory: MakeChannel, *, only: Collection[str] | None = None, patience: float = 10.0) -> None:
    """Check that a channel keeps every promise that chanlink makes about channels.

    ``factory(capacity)`` returns an async context manager that gives the two ends (sender, receiver) of a fresh
    channel of that capacity (``None``, 0 or more, as for `chanlink.pipe`). It is called once or more for each promise;
    the ends may be over when its block is left. ``only`` names the promises to check, out of `CHANNEL_PROMISES`.
    ``patience`` is the number of seconds that one promise may take before it counts as broken.

    Raises `AssertionError` for the first broken promise: its name, what it says, and what was seen instead.
    """
    expect_function("factory", factory)
    expect_type("patience", patience, int, float)
    await check(_PROMISES, factory, only, patience, "this channel")
