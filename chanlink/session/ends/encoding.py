"""`encode`: a value to a message that can be sent to many."""

from typing import Any

from chanlink.channels.encoded import Encoded
from chanlink.channels.typed import converter_of
from chanlink.channels.values import measure
from chanlink.limits import MAX_DEPTH, MAX_SIZE, Limits
from chanlink.wire.messages.decode import unpack
from chanlink.wire.messages.encode import encode as encode_body
from chanlink.wire.messages.pieces import Pieces

_MOST = 2**31 - 1
_NO_BOUNDS = Limits(message_size=MAX_SIZE, message_depth=MAX_DEPTH, message_values=_MOST, message_int_keys=_MOST)
"""What is decoded here was encoded here: nothing of it has to be doubted."""
_NO_PEER_BOUNDS = _NO_BOUNDS.announced()


def encode(value: object, item_type: Any = Any) -> Encoded:
    """Encode a message once, to send it many times: to a hundred subscribers, say.

    It takes the place of a value, as the whole message, in `Sender.send`, `send_nowait` and `sending`. Receivers can't
    tell it from the value; it is decoded for each of them, also in this process, so that none sees what another one
    does to its own. It holds no ends: each of those can be sent once only. `item_type` is that of the channels, if
    they have one.

    Raises `EncodeError` for what can't be sent, which says where that is, `MessageTooLarge` for more than 2 GiB, and
    for a type what `pipe` does. What a peer has a bound for (`Limits`) is raised when it is sent there.
    """
    converter = converter_of(item_type)
    if converter is not None:
        value = converter.outgoing(value)
    measures = measure(value)
    return Encoded(encode_body(value, {}, _NO_PEER_BOUNDS), measures, _decode)


def _decode(body: bytes | Pieces) -> object:
    return unpack(body, _NO_BOUNDS)
