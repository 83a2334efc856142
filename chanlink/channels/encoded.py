"""`Encoded`: a message that was encoded once, and can be sent any number of times."""

from collections.abc import Callable
from typing import Any

from chanlink.errors import EncodeError, LimitReached, MessageTooLarge
from chanlink.limits import PeerLimits

from .values import Measures


class Encoded:
    """A message that was made by `encode`. `Sender.send` takes it any number of times, on any channels.

    It does not change, whatever becomes of the value that it was made of. Its ``len`` is its size in bytes. Whether a
    peer takes so much is looked at when it is sent there. What begins with an underscore is the package's own.
    """

    __slots__ = ("_body", "_decode", "_measures")

    def __init__(self, body: Any, measures: Measures, decode: Callable[[Any], object]) -> None:
        self._body = body
        self._measures = measures
        self._decode = decode

    def __len__(self) -> int:
        return len(self._body)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Encoded, {len(self)} bytes>"

    def _value(self) -> object:
        """What a receiver in this process gets: a value of its own, as one in another process does."""
        return self._decode(self._body)

    def _body_for(self, limits: PeerLimits) -> Any:
        """Its body, if this peer takes it. Raises as for a value: `EncodeError`, `LimitReached`, `MessageTooLarge`."""
        if len(self._body) > limits.message_size:
            raise MessageTooLarge(f"the message has {len(self._body)} bytes, the peer takes {limits.message_size}")
        if self._measures.depth > limits.message_depth:
            raise EncodeError("it nests too deep")
        if self._measures.values > limits.message_values:
            raise LimitReached("message_values", limits.message_values)
        if self._measures.int_keys > limits.message_int_keys:
            raise LimitReached("message_int_keys", limits.message_int_keys)
        return self._body
