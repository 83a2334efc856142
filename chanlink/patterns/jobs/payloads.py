"""What a queue stores and passes on without looking into it: the bytes of a message without ends.

A queue looks in only if it has types. Whoever has brought a job reads its result with the bounds of its own session.
"""

from typing import Any

from chanlink.channels.typed import converter_of
from chanlink.limits import Limits
from chanlink.session.ends.encoding import encode
from chanlink.wire.messages.decode import unpack


def pack(value: object, item_type: Any = Any) -> bytes:
    """Raises as `encode` does, and `MessageTypeError` for what is not of the type: it is found here, not elsewhere."""
    converter = converter_of(item_type, check=True)
    return bytes(encode(value if converter is None else converter.outgoing(value))._body)


def unpack_as(payload: bytes, item_type: Any = Any, limits: Limits = Limits()) -> Any:  # noqa: B008 it does not change
    """The value. Raises `DecodeError`, and `MessageTypeError` for what is not of the type."""
    value = unpack(payload, limits)
    converter = converter_of(item_type)
    return value if converter is None else converter.incoming(value)
