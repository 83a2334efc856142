"""Long messages in pieces: what is long in them goes out and comes in as it is."""

import datetime
import random
import tracemalloc
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

import hypothesis
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chanlink.channels.values import find_ends
from chanlink.errors import DecodeError
from chanlink.limits import Limits, PeerLimits
from chanlink.wire.inbox import IN_PIECES, Inbox
from chanlink.wire.messages.decode import _nests_deeper, decode
from chanlink.wire.messages.encode import PlainEncoder, encode
from chanlink.wire.messages.framing import HAS_TABLE
from chanlink.wire.messages.pieces import Pieces, has_long_bin, long_bins, pack_in_pieces
from tests.channels.stubs import Stub

from .codec import HOSTILE, KEYS, Opened, framed, no_wrap

LONG = 65_536


def cut(whole: bytes, cuts: Sequence[int]) -> Pieces:
    """Pieces of both sorts; none is empty."""
    bounds = sorted({0, *(at % len(whole) for at in cuts), len(whole)})
    parts = [whole[begin:end] for begin, end in pairwise(bounds)]
    return Pieces([memoryview(part) if n % 2 else part for n, part in enumerate(parts)])


@given(st.binary(min_size=1, max_size=60), st.lists(st.integers(0, 60)), st.integers(0, 70), st.integers(0, 70))
@hypothesis.settings(deadline=None)
def test_a_slice_of_pieces_is_that_of_the_whole(whole: bytes, cuts: list[int], begin: int, end: int) -> None:
    pieces = cut(whole, cuts)
    assert len(pieces) == len(whole)
    assert bytes(pieces) == whole
    assert pieces[begin:end] == whole[begin:end]
    assert pieces[begin:] == whole[begin:]
    assert pieces[:end] == whole[:end]


# --- going out ----------------------------------------------------------------------------------

A, B = bytes(LONG), b"b" * (2 * LONG)


@pytest.mark.parametrize(
    "value",
    [
        *(A, [A], (A, 1, B), {"n": 1, "body": A}, {"body": A, "n": 1}, {A: 1, 5: B}, [1, A, "x" * LONG, A, {"a": [1]}]),
        {"body": A, "rest": bytearray(A), "time": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "x": None},
        [*range(15), A],
        dict.fromkeys(range(16), A),
    ],
    ids=lambda value: f"{value!r:.20}",
)
def test_pieces_are_what_msgpack_packs_and_long_bins_in_them_the_very_objects(value: Any) -> None:
    assert has_long_bin(value)
    pieces = pack_in_pieces(value, datetime=True)
    assert bytes(pieces) == msgpack.packb(value, datetime=True)
    assert all(pieces.pieces)
    items = [value] if type(value) is bytes else chain(value, value.values()) if type(value) is dict else value
    long = [item for item in items if type(item) is bytes and len(item) >= LONG]
    assert all(any(piece is item for piece in pieces.pieces) for item in long)


@pytest.mark.parametrize(
    "value", [A[1:], {"a": bytearray(A)}, ["x" * LONG], {"a": [A]}, [*range(16), A], {}, [], 5, None, memoryview(A)]
)
def test_anything_else_is_packed_by_msgpack(value: object) -> None:
    assert not has_long_bin(value)


def test_both_ways_to_encode_leave_long_bins_where_they_are() -> None:
    value, limits = {"n": 1, "body": bytes(2**20)}, PeerLimits()
    tracemalloc.start()
    try:
        plain = PlainEncoder(limits).encode(value)
        whole = encode(value, find_ends(value, limits, no_wrap), limits)
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()
    assert isinstance(plain, Pieces)
    assert isinstance(whole, Pieces)
    assert bytes(plain) == bytes(whole) == msgpack.packb(value)


def test_a_long_bin_over_the_limit_is_refused() -> None:
    limits = PeerLimits(message_size=LONG + 5)
    encoder = PlainEncoder(limits)
    assert encoder.encode(A) is not None
    assert encoder.encode(A + b"1") is None
    assert encoder.encode({"a": 2**64, "b": A}) is None
    assert encoder.encode("x") == b"\xa1x"


# --- a body of few values -----------------------------------------------------------------------

HEADERS = [bytes([first]) for first in range(256)]
LENGTHS = [b"\0", b"\1", b"\xff", b"\0\2", b"\0\0", b"\0\0\0\3", b"\x7f\xff\xff\xff"]
FILL = [bytes(7), bytes(300), b"\x93" * 5, bytes(5_000), bytes(70_000)]
MADE_UP = st.lists(st.sampled_from(HEADERS) | st.sampled_from(LENGTHS) | st.sampled_from(FILL), max_size=20)


def check_sparse(body: bytes, depth: int) -> bool:
    """Nothing passes as sparse that `Unpacker.skip` refuses, that has something behind it, or that nests deeper."""
    if long_bins(body, depth) is None:
        return False
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(body), 1))
    unpacker.feed(body)
    unpacker.skip()
    assert unpacker.tell() == len(body)
    try:
        value = msgpack.unpackb(body, strict_map_key=False, object_pairs_hook=lambda pairs: list(chain(*pairs)))
    except (ValueError, TypeError):  # of strs that are no UTF-8, and of timestamps
        return True
    assert not _nests_deeper(value, depth)
    return True


@pytest.mark.slow
@given(MADE_UP, st.integers(1, 4))
@hypothesis.settings(max_examples=1_000, deadline=None)
def test_no_bytes_pass_as_a_few_values_that_msgpack_would_not_skip(pieces: list[bytes], depth: int) -> None:
    check_sparse(b"".join(pieces), depth)


LONG_LEAVES = st.sampled_from([bytes(5_000), "x" * 70_000, "y" * 300, b"z", 1, -1, 2**40, 2.5, None, True])
LONG_VALUES = st.recursive(
    LONG_LEAVES, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=16
)


@pytest.mark.slow
@given(LONG_VALUES, st.data())
@hypothesis.settings(max_examples=300, deadline=None)
def test_no_changed_long_message_passes_that_msgpack_would_not_skip(value: object, data: st.DataObject) -> None:
    body = bytearray(msgpack.packb(value))
    check_sparse(bytes(body), 64)
    headers = [at for at in range(len(body)) if body[at] not in b"\0xyz"]
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.sampled_from(headers))] = data.draw(st.integers(0, 255))
    check_sparse(bytes(body[: data.draw(st.integers(0, 2)) or None]), 64)


@pytest.mark.parametrize(
    "value",
    [bytes(2**20), "x" * 2**20, {"n": 1, "body": bytes(5_000)}, [[{}], {"a": [None, 2.5, -7, 2**63, bytes(300_000)]}]],
)
def test_a_long_message_of_few_values_is_looked_at_without_a_copy(value: object) -> None:
    body = msgpack.packb(value)
    assert check_sparse(body, 64)
    tracemalloc.start()
    try:
        long_bins(body, 64)
        assert tracemalloc.get_traced_memory()[1] < 4_096
    finally:
        tracemalloc.stop()


SORTS = [
    *(b"\x00", b"\xff", b"\xc0", b"\xc2", b"\xc3", b"\xca" + bytes(4), b"\xcb" + bytes(8)),
    *(bytes([0xCC + power]) + bytes(2**power) for power in range(4)),
    *(bytes([0xD0 + power]) + bytes(2**power) for power in range(4)),
    *(bytes([0xD4 + power]) + b"\1" + bytes(2**power) for power in range(5)),
    *(b"\xa0", b"\xbf" + bytes(31), b"\xc4\2ab", b"\xc5\0\2ab", b"\xc6\0\0\0\2ab"),
    *(b"\xd9\2ab", b"\xda\0\2ab", b"\xdb\0\0\0\2ab"),
    *(b"\x90", b"\x92\1\2", b"\x80", b"\x82\1\2\3\4", b"\xdc\0\2\1\2", b"\xdd\0\0\0\2\1\2"),
    *(b"\xde\0\2\1\2\3\4", b"\xdf\0\0\0\2\1\2\3\4"),
]


@pytest.mark.parametrize("value", SORTS, ids=bytes.hex)
def test_each_sort_of_value_is_known_and_must_be_there_to_its_last_byte(value: bytes) -> None:
    long = b"\xc5\x13\x88" + bytes(5_000)
    assert check_sparse(b"\x92" + long + value, 8)
    assert check_sparse(b"\x92" + value + long, 8)
    assert long_bins(b"\x92" + long + value[:-1], 8) is None
    assert long_bins(b"\x92" + long + value + b"\0", 8) is None


@pytest.mark.parametrize("header", [b"\x91", b"\x81\0", b"\xdc\0\1", b"\xdf\0\0\0\1\0"], ids=bytes.hex)
def test_levels_are_counted_in_a_long_message_of_few_values(header: bytes) -> None:
    long = b"\xc6\0\1\0\0" + bytes(65_536)
    assert check_sparse(header * 8 + long, 8)
    assert long_bins(header * 9 + long, 8) is None


def test_a_header_that_claims_much_is_no_few_values() -> None:
    for header in (b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xde\xff\xff", b"\xdf\xff\xff\xff\xff"):
        for levels in (1, 3, 100):
            assert long_bins(header * levels + bytes(50_000), 128) is None
            assert long_bins(header * levels + b"\xc6\0\0\xff\xff" + bytes(65_535), 128) is None


# --- coming in ----------------------------------------------------------------------------------


def shown(value: Any) -> Any:
    """A value in which each end says which one it is."""
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return (value.kind, value.stream_id) if isinstance(value, Stub) else value


def outcome(payload: bytes | Pieces, table: bool, depth: int) -> tuple[Any, ...]:
    """What comes of a message: its value or error, and the ends in it."""
    opened = Opened(("receiver", 3), ("sender", 5), ("bytes", 7))
    head = (HAS_TABLE if table else 0) | len(payload)
    try:
        value = decode(head, payload, Limits(message_depth=depth), opened.claim)  # type: ignore[arg-type]
    except DecodeError as exc:
        value = str(exc)
    return shown(value), opened.waiting, shown(opened.made)


def check_both(payload: bytes, cuts: Sequence[int], *, table: bool = False, depth: int = 64) -> Any:
    """What comes of a message is the same whether it was joined or not."""
    joined = outcome(payload, table, depth)
    assert outcome(cut(payload, cuts), table, depth) == joined
    return joined[0]


CUTS = st.lists(st.integers(0, 2**20), max_size=8)


@given(LONG_VALUES, CUTS)
@hypothesis.settings(max_examples=200, deadline=None)
def test_a_message_in_pieces_is_what_it_is_joined(value: object, cuts: list[int]) -> None:
    assert check_both(msgpack.packb(value), cuts) == value


@pytest.mark.slow
@given(LONG_VALUES, CUTS, st.data(), st.integers(1, 5))
@hypothesis.settings(max_examples=300, deadline=None)
def test_a_changed_message_in_pieces_is_what_it_is_joined(
    value: object, cuts: list[int], data: st.DataObject, depth: int
) -> None:
    body = bytearray(msgpack.packb(value))
    headers = [at for at in range(len(body)) if body[at] not in b"\0xyz"]
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.sampled_from(headers))] = data.draw(st.integers(0, 255))
    check_both(bytes(body), cuts, depth=depth)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_in_pieces_are_the_same_error_as_joined(name: str) -> None:
    payload, table = HOSTILE[name][4:], bool(HOSTILE[name][0] & 0x80)
    if payload:
        check_both(payload, [1, 7, 100], table=table)
        beside = b"\x92\xc6\0\1\0\0" + A + payload
        check_both(beside, [3, 40_000], depth=64)


@pytest.mark.parametrize("code", [0x7F, 0x02, 0xFE])
def test_an_extension_like_the_one_for_what_was_set_aside_is_refused(code: int) -> None:
    """A peer can't have a bin put in twice, or where it was not."""
    for extension in (
        b"\xd6" + bytes([code]) + bytes(4),
        b"\xc7\4" + bytes([code]) + bytes(4),
        b"\xd4" + bytes([code, 0]),
    ):
        for body in (b"\x92\xc6\0\1\0\0" + A + extension, b"\x92" + extension + b"\xc6\0\1\0\0" + A):
            assert check_both(body, [10, 50_000]) == "an unknown extension type"


def test_ends_and_times_arrive_beside_long_bins() -> None:
    time = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    value = [Stub(), {"a": A, "time": time, "reply": Stub("sender")}, B, Stub("bytes")]
    ends = find_ends(value, PeerLimits(), no_wrap)
    message = framed(encode(value, ends, PeerLimits()), [("receiver", 3), ("sender", 5), ("bytes", 7)])
    got = check_both(message[4:], [2, 30_000, 70_000, 190_000], table=True)
    assert got == [("receiver", 3), {"a": A, "time": time, "reply": ("sender", 5)}, B, ("bytes", 7)]


def test_long_bins_may_be_keys() -> None:
    assert check_both(msgpack.packb({A: 1, 5: B}), [5, 70_000]) == {A: 1, 5: B}
    assert check_both(msgpack.packb({B: {A: "x"}}), [5, 70_000]) == {B: {A: "x"}}


def test_a_long_bin_is_copied_once_on_its_way_in() -> None:
    value = {"n": 1, "body": b"x" * 2**22}
    pieces = cut(msgpack.packb(value), range(0, 2**22, LONG))
    tracemalloc.start()
    try:
        assert decode(len(pieces), pieces, Limits(message_size=2**23), no_claim) == value
        assert tracemalloc.get_traced_memory()[1] < 1.01 * 2**22
    finally:
        tracemalloc.stop()


def no_claim(kind: object, stream_id: int) -> None:
    raise AssertionError("nothing was opened")


@pytest.mark.parametrize("size", [100, IN_PIECES - 1, IN_PIECES, 2 * IN_PIECES])
@pytest.mark.parametrize("frame", [999, 65_493, IN_PIECES + 4, 10**6])
def test_what_is_taken_out_of_several_frames_is_in_pieces_if_it_is_long(size: int, frame: int) -> None:
    inbox, whole = Inbox(), random.Random(1).randbytes(4 * (4 + size) + 1)
    for at in range(0, len(whole), frame):
        inbox.append(whole[at : at + frame])
    for begin in range(4, len(whole) - 1, 4 + size):
        got = inbox.take(4, size)
        assert bytes(got) == whole[begin : begin + size]
        assert type(got) is bytes or (size >= IN_PIECES and len(got.pieces) > 1)
        assert size < IN_PIECES or frame >= size or type(got) is Pieces
    assert inbox.size == 1
