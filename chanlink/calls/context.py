"""What a call knows of itself (`current_call`), and what its caller says beside the arguments (`call_context`)."""

import dataclasses
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from chanlink.arguments import expect
from chanlink.session.peer import Peer

from .messages import check_context


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """The call that is being carried out. `current_call` gives it."""

    method: str
    """The name of the method."""
    peer: Peer
    """Who calls: the other side of the session that the request came by."""
    deadline: float
    """When it is cancelled if it has not ended, as `anyio.current_time` counts; infinity if nobody said."""
    context: Mapping[str, str]
    """What the caller has said by `call_context`: its words, for logs and traces, never to be acted upon."""


_call: ContextVar[Call | None] = ContextVar("chanlink call", default=None)
_context: ContextVar[Mapping[str, str]] = ContextVar("chanlink call context", default={})  # noqa: B039


def current_call() -> Call:
    """The call that the running method carries out; also in the tasks that it has started.

    Raises `LookupError` elsewhere.
    """
    call = _call.get()
    if call is None:
        raise LookupError("there is a current call in methods that were called only, and in the tasks that they start")
    return call


def set_current_call(call: Call | None) -> None:
    """For the task that carries it out."""
    _call.set(call)


@contextmanager
def call_context(context: Mapping[str, str]) -> Generator[None]:
    """Say something beside the arguments with all calls of the block: an id for tracing, say.

    The other side has it in `current_call`. It goes no further by itself: a method that calls others passes on what it
    wants to, by ``call_context(current_call().context)``. Blocks within blocks add up; of two equal keys the inner one
    counts. Raises `TypeError` unless all keys and values are str, `ValueError` for more than 4,096 bytes.
    """
    expect("context", context, Mapping)
    joined = {**_context.get(), **context}
    check_context(joined)
    token = _context.set(joined)
    try:
        yield
    finally:
        _context.reset(token)


def said_context() -> Mapping[str, str]:
    """What is said with calls here."""
    return _context.get()
