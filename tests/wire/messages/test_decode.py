"""Message bytes to values, and what can't have been sent (protocol section 8)."""

import datetime
from collections.abc import Iterable
from functools import partial
from typing import Any

import hypothesis
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanlink.errors import DecodeError
from chanlink.wire.messages.framing import HAS_TABLE
from tests.channels.stubs import Stub
from tests.patience import lines_run, processor_time

from .codec import HOSTILE, THREE, UTC, Opened, decode, encode, framed, table


def test_an_end_that_is_not_referred_to_is_claimed_and_not_made() -> None:
    opened = Opened(*THREE)
    assert decode(framed(b"\xd4\1\1", THREE), opened).kind == "sender"
    assert not opened.waiting
    assert len(opened.made) == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_a_decode_error_and_quickly_one(name: str) -> None:
    def refused() -> None:
        with pytest.raises(DecodeError):
            decode(HOSTILE[name], Opened(*THREE))

    assert lines_run(refused) < 100_000
    assert processor_time(refused) < 0.5  # measured: under 5 ms


EQUAL_KEYS = {
    "str": (b"\x82\xa1a\1\xa1a\2", {"a": 2}),
    "int": (b"\x82\1\1\xcd\0\1\2", {1: 2}),
    "bin": (b"\x82\xc4\1a\1\xc5\0\1a\2", {b"a": 2}),
    "str beside an int": (b"\x83\xa1a\1\5\6\xd9\1a\2", {"a": 2, 5: 6}),
    "in a long one": (b"\x92\x82\1\1\1\2\xc5\x20\0" + bytes(8_192), [{1: 2}, bytes(8_192)]),
}


@pytest.mark.parametrize("name", EQUAL_KEYS)
def test_of_equal_keys_the_last_one_counts_and_beside_a_table_they_are_refused(name: str) -> None:
    body, value = EQUAL_KEYS[name]
    assert decode(framed(body)) == value
    with pytest.raises(DecodeError, match="twice"):
        decode(table(b"\x92\xd4\1\0" + body, (1, 3)), Opened(*THREE))


def rich() -> bytes:
    value = {"a": [1, -5, 2.5, None, True, "text", b"bytes", datetime.datetime(2026, 1, 1, tzinfo=UTC)], 7: Stub()}
    body, _ = encode([value, Stub("bytes"), {"n": {"m": 2**64 - 1}}])
    return framed(body, [("receiver", 3), ("bytes", 7)])


@pytest.mark.parametrize("cut", range(1, len(rich()) - 4))
def test_no_truncation_is_a_message(cut: int) -> None:
    whole = rich()
    decode(whole, Opened(*THREE))
    short = whole[4:-cut]
    with pytest.raises(DecodeError):
        decode((HAS_TABLE | len(short)).to_bytes(4, "big") + short, Opened(*THREE))


def allowed(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(allowed, value))
    if isinstance(value, dict):
        return all(type(key) in (str, int, bytes) for key in value) and all(map(allowed, value.values()))
    return value is None or type(value) in (bool, int, float, str, bytes, datetime.datetime, Stub)


def check_any(payload: bytes, with_table: bool) -> None:
    try:
        value = decode(((HAS_TABLE if with_table else 0) | len(payload)).to_bytes(4, "big") + payload, Opened(*THREE))
    except DecodeError:
        return
    assert allowed(value)


@given(st.binary(max_size=200), st.booleans())
@hypothesis.settings(max_examples=500, deadline=None)
def test_no_bytes_are_anything_but_data_or_a_decode_error(payload: bytes, with_table: bool) -> None:
    check_any(payload, with_table)


@given(st.data())
@hypothesis.settings(max_examples=500, deadline=None)
def test_no_changed_message_is_anything_but_data_or_a_decode_error(data: st.DataObject) -> None:
    payload = bytearray(rich()[4:])
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    check_any(bytes(payload), True)


def pieces() -> Iterable[bytes]:
    return [
        b"\x91",
        b"\x81",
        b"\xdc\x00\x02",
        b"\xd4\1\0",
        b"\xd4\1\1",
        b"\xa1a",
        b"\5",
        b"\xc0",
        b"\xd6\xff" + bytes(4),
    ]


@given(st.lists(st.sampled_from(pieces()), max_size=30))
@hypothesis.settings(max_examples=300, deadline=None)
def test_no_mixture_of_pieces_is_anything_but_data_or_a_decode_error(some: list[bytes]) -> None:
    check_any(b"\2" + b"\1\0\0\0\3" + b"\2\0\0\0\5" + b"".join(some), True)


def test_a_long_flat_message_is_decoded_in_a_time_that_is_in_proportion() -> None:
    for value in (
        [0] * 60_000,
        {str(n): n for n in range(8_000)},
        [[]] * 30_000,
        [{}] * 30_000,
        bytes(range(256)) * 250,
    ):
        message = framed(msgpack.packb(value))
        assert decode(message) == value
        assert lines_run(partial(decode, message)) < 3 * len(message) + 1_000
        assert processor_time(partial(decode, message)) < 0.5  # measured: 4 ms
