"""What is kept with a message that was encoded once: the bounds of each peer hold for it, too."""

from dataclasses import replace
from typing import Any

import pytest

from chanlink.channels.encoded import Encoded
from chanlink.channels.values import Measures
from chanlink.errors import EncodeError, LimitReached, MessageTooLarge
from chanlink.limits import PeerLimits

LIMITS = PeerLimits(message_size=10, message_depth=3, message_values=5_000, message_int_keys=3_000)


def encoded(body: bytes = bytes(10)) -> Encoded:
    return Encoded(body, Measures(values=5_000, int_keys=3_000, depth=3), lambda body: ["decoded", body])


def test_what_is_within_the_bounds_passes() -> None:
    assert encoded()._body_for(LIMITS) == bytes(10)


@pytest.mark.parametrize(
    ("less", "error"),
    [
        ({"message_size": 9}, MessageTooLarge("the message has 10 bytes, the peer takes 9")),
        ({"message_depth": 2}, EncodeError("it nests too deep")),
        ({"message_values": 4_999}, LimitReached("message_values", 4_999)),
        ({"message_int_keys": 2_999}, LimitReached("message_int_keys", 2_999)),
    ],
    ids=["size", "depth", "values", "int-keys"],
)
def test_one_more_than_a_peer_takes_is_said_as_of_a_value(less: dict[str, Any], error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        encoded()._body_for(replace(LIMITS, **less))
    assert str(caught.value) == str(error)


def test_it_is_decoded_each_time() -> None:
    message = encoded()
    assert message._value() == ["decoded", bytes(10)]
    assert message._value() is not message._value()


def test_it_says_its_size_and_is_true_even_if_that_were_none() -> None:
    assert len(encoded()) == 10
    assert repr(encoded()) == "<Encoded, 10 bytes>"
    assert encoded(b"")
