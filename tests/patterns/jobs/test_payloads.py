"""What a queue passes on unread: packed and unpacked at its two ends."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

import chanlink
from chanlink import DecodeError, EncodeError, Limits, MessageTypeError
from chanlink.patterns.jobs.payloads import pack, unpack_as


@dataclass
class Page:
    number: int
    scan: bytes


@pytest.mark.parametrize(
    ("value", "item_type"),
    [
        (1, int),
        ({"a": [1, 2.5, None]}, dict),
        (Page(3, bytes(200_000)), Page),
        (datetime(2026, 1, 2, tzinfo=UTC), datetime),
    ],
)
def test_a_value_comes_out_as_it_went_in(value: object, item_type: type) -> None:
    assert unpack_as(pack(value, item_type), item_type) == value


def test_without_a_type_it_is_plain_data() -> None:
    assert unpack_as(pack(Page(3, b"scan"), Page)) == {"number": 3, "scan": b"scan"}
    assert unpack_as(pack([bytes(300_000)])) == [bytes(300_000)]


def test_what_is_not_of_the_type_is_found_at_both_ends() -> None:
    with pytest.raises(MessageTypeError):
        pack({"number": "three", "scan": b""}, Page)
    with pytest.raises(MessageTypeError):
        unpack_as(pack({"number": "three", "scan": b""}), Page)


def test_it_holds_no_ends() -> None:
    sender, receiver = chanlink.pipe()
    with pytest.raises(EncodeError):
        pack({"reply": sender})
    sender.close()
    receiver.close()


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x01\x01", b"\xdd\xff\xff\xff\xff", b"\xc7\x01\x00\x00"])
def test_what_is_no_message_is_a_decode_error(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack_as(payload)


def test_whoever_reads_has_bounds() -> None:
    with pytest.raises(DecodeError):
        unpack_as(pack([[[[1]]]]), limits=Limits(message_depth=3))
