"""Requests of calls, as a service reads them."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Protocol

import msgpack

from chanlink.calls import Interface
from chanlink.calls.messages import Refusal, read_request, refuse_ends
from chanlink.errors import DecodeError, MessageTypeError
from chanlink.wire.messages.decode import unpack

from .targets import LIMITS, target


class Shop(Protocol):
    async def buy(self, what: str, count: int = 1, *, notes: dict[str, list[str]] | None = None) -> float: ...
    def stock(self, like: Any) -> AsyncGenerator[str, None]: ...


SHOP: Interface[Shop] = Interface(Shop)


def map_of_entries(data: bytes, longest: int) -> bytes:
    """A request with as many entries that nobody knows as there may be, with keys as long as there is room for."""
    known = msgpack.packb({"method": "buy", "arguments": {}})[1:]
    count = LIMITS.message_values // 2 - 10
    size = min(255, longest // count - 3)
    entries = (b"\xd9%c" % size + b"%*d" % (size, number) + b"\xc0" for number in range(count))
    return b"\xdf" + (count + 2).to_bytes(4, "big") + known + b"".join(entries)


@target(LIMITS.message_size, grow=map_of_entries, seconds=0.2)
def call_request(data: bytes) -> None:
    """A request that is none is refused, and nothing else is raised."""
    try:
        message = unpack(data, LIMITS)
    except DecodeError:
        return
    if type(message) is not dict:
        refuse_ends(message, "not-taken", "")
        return
    request = None
    with suppress(Refusal):
        request = read_request(message)
    if request is None:
        return
    assert request.seconds > 0
    if (method := SHOP.methods.get(request.method)) is not None:
        with suppress(MessageTypeError):
            args, kwargs = method.unpack(request.arguments)
            assert {*kwargs} <= {"what", "count", "notes", "like"}
            assert not args
