"""Values are counted before they are made, and exactly: by whoever sends a message, and by whoever receives it."""

import datetime
import gc
import random
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import hypothesis
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chanlink
from chanlink import ChannelRefused, DecodeError, EncodeError, LimitReached, Limits
from chanlink.channels.values import find_ends
from chanlink.limits import PeerLimits
from chanlink.testing import session_pair
from chanlink.wire.messages.counting import more_values_than
from chanlink.wire.messages.decode import _map_hook
from chanlink.wire.messages.decode import decode as decode_message
from chanlink.wire.messages.encode import PlainEncoder, frame
from chanlink.wire.messages.encode import encode as encode_ends
from chanlink.wire.messages.framing import HAS_TABLE
from tests.patience import processor_time
from tests.wire.muxes import message

UTC = datetime.UTC
LIMITS = Limits()


def values_in(value: Any) -> int:
    """How many there are, counted in what was made."""
    if isinstance(value, dict):
        return 1 + sum(values_in(one) for pair in value.items() for one in pair)
    return 1 + sum(map(values_in, value)) if isinstance(value, list) else 1


def counts(body: bytes) -> int:
    """How many values are found in a body, by asking for all that there may be."""
    least, most = 0, len(body)
    while least < most:
        middle = (least + most) // 2
        if more_values_than(middle, body):
            least = middle + 1
        else:
            most = middle
    return least


def _sized(code: int, size: int) -> bytes:
    """A header with its length in one byte, in two or in four, as its code has it."""
    return bytes([code]) + size.to_bytes({0xC4: 1, 0xC7: 1, 0xD9: 1, 0xC5: 2, 0xC8: 2, 0xDA: 2}.get(code, 4), "big")


# --- what is counted --------------------------------------------------------------------------------

LENGTHS = [0, 1, 31, 32, 254, 255, 256, 257, 4_090, 4_096, 5_000, 65_535, 65_536]
LEAVES = [
    *[None, True, False, 0, 127, 128, -1, -32, -33, 255, 256, 65_535, 65_536, 2**32, 2**64 - 1, -(2**63), 1.5],
    *["x" * length for length in LENGTHS],
    *[b"x" * length for length in LENGTHS],
    *[datetime.datetime(year, 2, 3, microsecond=part, tzinfo=UTC) for year in (1, 2020, 2500) for part in (0, 1)],
    *[msgpack.ExtType(1, bytes(size)) for size in (1, 2, 4, 8, 16)],
    [],
    {},
]


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: f"{leaf!r:.24} {len(msgpack.packb(leaf, datetime=True))}")
@pytest.mark.parametrize("count", [1, 600])
def test_every_value_counts_as_one_wherever_it_stands(leaf: Any, count: int) -> None:
    for value, expected in (
        ([leaf] * count, 1 + count),
        ([1] * 4_090 + [leaf] * 3, 4_094),  # across the end of a window
        ({"k" * 40: leaf, "list": [leaf, [leaf]]}, 8),
    ):
        body = msgpack.packb(value, datetime=True)
        assert not more_values_than(expected, body)
        assert more_values_than(expected - 1, body)


@pytest.mark.parametrize("header", [b"\xd9\0", b"\xda\0\0", b"\xdb\0\0\0\0", b"\xc4\0", b"\xc5\0\0", b"\xc6\0\0\0\0"])
@pytest.mark.parametrize("containers", [b"\xdc\0\0", b"\xdd\0\0\0\0", b"\xde\0\0", b"\xdf\0\0\0\0"])
def test_headers_may_be_longer_than_they_must(header: bytes, containers: bytes) -> None:
    body = b"\xdc\x0f\xa0" + (header + containers) * 2_000
    assert counts(body) == 4_001


@pytest.mark.slow
@given(st.integers(), st.integers(1, 3_000))
@hypothesis.settings(max_examples=30, deadline=None)
def test_what_is_counted_is_what_is_made(seed: int, size: int) -> None:
    lot = random.Random(seed)

    def made(left: int) -> Any:
        if left <= 1 or lot.random() < 0.2:
            return lot.choice(LEAVES)
        inner = [made(lot.randrange(left)) for _ in range(lot.randrange(1, 20))]
        return inner if lot.random() < 0.5 else {f"{n}" * lot.choice((1, 40)): one for n, one in enumerate(inner)}

    value = [made(6) for _ in range(lot.randrange(size // 100 + 2))] + [1] * size
    assert counts(msgpack.packb(value, datetime=True)) == values_in(value)


HEADERS: dict[str, list[Callable[[int], bytes]]] = {
    "array": [lambda n: bytes([0x90 + n]), lambda n: b"\xdc\0%c" % n, lambda n: b"\xdd\0\0\0%c" % n],
    "map": [lambda n: bytes([0x80 + n]), lambda n: b"\xde\0%c" % n, lambda n: b"\xdf\0\0\0%c" % n],
    "str": [lambda n: bytes([0xA0 + n]), *(partial(_sized, code) for code in (0xD9, 0xDA, 0xDB))],
    "bin": [partial(_sized, code) for code in (0xC4, 0xC5, 0xC6)],
    "extension": [partial(_sized, code) for code in (0xC7, 0xC8, 0xC9)],
}
"""What a value of this many bytes or items may begin with: the shortest form, and all others that say the same."""
PLAIN = [
    *[bytes([code]) for code in (*range(0x80), *range(0xE0, 0x100), 0xC0, 0xC2, 0xC3)],
    *[
        bytes([code]) + bytes(size)
        for code, size in zip(range(0xCA, 0xD4), (4, 8, 1, 2, 4, 8, 1, 2, 4, 8), strict=True)
    ],
]
FIXED = {1: b"\xd4", 2: b"\xd5", 4: b"\xd6", 8: b"\xd7", 16: b"\xd8"}


class Bodies:
    """Makes bodies out of everything that msgpack has, in all of its forms."""

    def __init__(self, seed: int) -> None:
        self.lot = random.Random(seed)
        self.values = 0

    def value(self, depth: int = 0) -> bytes:
        self.values += 1
        lot = self.lot
        kind = lot.choice(["plain", "str", "bin", "end", "time", *(["array", "map"] if depth < 5 else [])])
        if kind == "plain":
            return lot.choice(PLAIN)
        if kind in ("str", "bin"):
            size = lot.randrange(32)
            return lot.choice(HEADERS[kind])(size) + bytes(size)
        if kind in ("end", "time"):
            size = 1 if kind == "end" else lot.choice([4, 8, 12])
            header = lot.choice(
                [*(make(size) for make in HEADERS["extension"]), *([FIXED[size]] if size in FIXED else [])]
            )
            return header + (b"\1" if kind == "end" else b"\xff") + bytes(size)
        count = lot.randrange(16)
        inner = [self.key_and_value(depth + 1) if kind == "map" else self.value(depth + 1) for _ in range(count)]
        return lot.choice(HEADERS[kind])(count) + b"".join(inner)

    def key_and_value(self, depth: int) -> bytes:
        self.values += 1
        size = self.lot.randrange(1, 32)
        return self.lot.choice(HEADERS["str"])(size) + bytes(size) + self.value(depth)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_can_be_unpacked_is_counted_in_whichever_form_it_comes(seed: int) -> None:
    bodies = Bodies(seed)
    items = [bodies.value() for _ in range(300)]
    bodies.lot.shuffle(items)
    body = b"\xdc" + len(items).to_bytes(2, "big") + b"".join(items)
    made = msgpack.unpackb(body, timestamp=3)
    assert len(made) == len(items)
    assert counts(body) == 1 + bodies.values


@pytest.mark.parametrize("code", [-1, 0, 1, 127])
@pytest.mark.parametrize("size", [0, 1, 3, 4, 8, 12, 16, 255])
@pytest.mark.parametrize("form", range(3))
def test_behind_an_extension_there_are_not_too_many_values_either(code: int, size: int, form: int) -> None:
    first = HEADERS["extension"][form](size) + bytes([code & 0xFF]) + bytes(size)
    body = b"\xdd" + (5_001).to_bytes(4, "big") + first + b"\x80" * 5_000
    payload = message(body, ("sender", 3))[4:]

    def claim(kind: object, stream_id: int) -> Any:
        return object

    with pytest.raises(DecodeError):
        decode_message(len(body), body, Limits(message_values=5_000), claim)
    with pytest.raises(DecodeError):
        decode_message(HAS_TABLE | len(payload), payload, Limits(message_values=5_000), claim)


# --- what is refused --------------------------------------------------------------------------------


def encode(value: object, **limits: int) -> Any:
    peer = PeerLimits(**limits)
    return PlainEncoder(peer).encode(value) or encode_ends(value, find_ends(value, peer, lambda item: None), peer)


def decode(body: bytes, **limits: int) -> Any:
    return decode_message(len(body), body, Limits(**limits), lambda kind, stream_id: None)


MOST = 5_000
JUST_ENOUGH = {
    "a list": [1.5] * (MOST - 1),
    "a map": {"n": 1, **{f"{n}": 1 for n in range((MOST - 1) // 2 - 1)}},
    "lists in lists": [[1.5] * 9 for _ in range(MOST // 10 - 1)] + [[]] * 9,
    "maps in lists": [{"name": "x" * 40, "n": n} for n in range(MOST // 5 - 1)] + [2] * 4,
    "maps in maps": {f"{n}": {"value": 1} for n in range(MOST // 4 - 1)} | {"last": 1},
}


@pytest.mark.parametrize("value", JUST_ENOUGH.values(), ids=JUST_ENOUGH)
def test_just_as_many_values_pass_on_both_sides_and_more_do_not(value: Any) -> None:
    exactly = values_in(value)
    assert MOST - 5 < exactly <= MOST
    body = encode(value, message_values=exactly)
    assert decode(body, message_values=exactly) == value
    with pytest.raises(LimitReached) as caught:
        encode(value, message_values=exactly - 1)
    assert (caught.value.limit, caught.value.value) == ("message_values", exactly - 1)
    with pytest.raises(DecodeError, match=r"message_values"):
        decode(body, message_values=exactly - 1)


def test_a_hundred_thousand_numbers_pass_by_default() -> None:
    value = [n / 7 for n in range(100_000)]
    assert decode(encode(value)) == value


KEYS = {
    "in one map": dict.fromkeys(range(3000), 1),
    "in many maps": [{n: "x", "n": {-n: 1}} for n in range(1_500)],
    "beside others": {**dict.fromkeys(range(3000), 1), **{f"{n}": 1 for n in range(3_000)}, b"x": 1},
}


@pytest.mark.parametrize("value", KEYS.values(), ids=KEYS)
def test_just_as_many_int_keys_pass_on_both_sides_and_more_do_not(value: Any) -> None:
    body = encode(value, message_int_keys=3_000)
    assert decode(body, message_int_keys=3_000) == value
    with pytest.raises(LimitReached) as caught:
        encode(value, message_int_keys=2_999)
    assert (caught.value.limit, caught.value.value) == ("message_int_keys", 2_999)
    with pytest.raises(DecodeError, match="message_int_keys"):
        decode(body, message_int_keys=2_999)


def test_int_keys_are_counted_beside_ends_too() -> None:
    class End:
        pass

    body = msgpack.packb([dict.fromkeys(range(3000), 1), msgpack.ExtType(1, b"\0")])
    head, rest = frame(body, [("receiver", 3)])
    payload = head[4:] + b"".join(rest)

    def claimed(limit: int) -> Any:
        return decode_message(HAS_TABLE, payload, Limits(message_int_keys=limit), lambda kind, n: End)  # type: ignore[arg-type, return-value]

    assert len(claimed(3_000)[0]) == 3_000
    with pytest.raises(DecodeError, match="message_int_keys"):
        claimed(2_999)


def test_in_memory_nothing_is_counted() -> None:
    assert find_ends([1] * 200_000, PeerLimits(), None) == {}
    assert find_ends({n: [] for n in range(200_000)}, PeerLimits(), None) == {}


# --- what it costs ----------------------------------------------------------------------------------

SIZE = LIMITS.message_size
BOMBS = {
    "empty maps": b"\x80",
    "empty arrays": b"\x90",
    "maps of one": b"\x81\xa1a\1",
    "arrays in arrays": b"\x91" * 50 + b"\1",
    "strings": b"\xa2ab",
    "medium strings": b"\xdc\0\x33" + b"\xd9\x20" + b"x" * 32 + b"\x80" * 50,
    "long strings": b"\xdc\0\x65" + b"\xda\1\0" + b"x" * 256 + b"\x80" * 100,
    "ints": b"\xd0\x80",
    "times": b"\xd6\xff1234",
    "a time and maps": b"\xc7\4\xff1234" + b"\x80" * 300,
}


@pytest.mark.parametrize("item", BOMBS.values(), ids=BOMBS)
def test_too_many_values_are_refused_before_any_is_made(item: bytes) -> None:
    turns = (SIZE - 8) // len(item)
    body = b"\xdd" + turns.to_bytes(4, "big") + item * turns
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="message_values"):
            decode(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * SIZE  # msgpack's copy of it, to skip through


def test_colliding_ints_are_refused_before_they_are_put_into_a_map() -> None:
    """A dict of 2^18 that were chosen for it takes most of a minute."""

    class Pairs(list[Any]):
        """They can be looked at once; `dict` would be the second."""

        looked_at = 0

        def __iter__(self) -> Any:
            self.looked_at += 1
            return super().__iter__()

    make = _map_hook(1_000)
    assert make([(n, None) for n in range(600)]) == dict.fromkeys(range(600))
    pairs = Pairs((n, None) for n in range(401))
    with pytest.raises(DecodeError, match="message_int_keys"):
        make(pairs)
    assert pairs.looked_at == 1
    body = msgpack.packb([{n << 20: None for n in range(4_097)}])
    with pytest.raises(DecodeError, match="message_int_keys"):
        decode(body)


@pytest.mark.parametrize("before", [True, False], ids=["collected", "not collected"])
@pytest.mark.parametrize("rest", [[], [{1: 2}], [{1.5: 2}]], ids=["plain", "int keys", "malformed"])
def test_nothing_is_collected_while_a_long_message_is_made_and_then_as_before(before: bool, rest: list[Any]) -> None:
    """Each value is in use; to look for others took longer than all else."""
    during: list[bool] = []

    def claimed(*_: object) -> Any:
        return lambda: during.append(gc.isenabled())

    try:
        for size, expected in ((10, before), (20_000, False)):
            head, body = frame(msgpack.packb([msgpack.ExtType(1, b"\0"), [{}] * size, *rest]), [("receiver", 3)])
            if not before:
                gc.disable()
            with suppress(DecodeError):
                decode_message(HAS_TABLE, head[4:] + b"".join(body), LIMITS, claimed)
            assert gc.isenabled() == before
            assert during.pop() == expected
    finally:
        gc.enable()


def test_a_long_key_is_not_copied_for_each_value_below_it() -> None:
    """What came from a peer, and goes on: the key and the lists below it are that peer's choice."""

    def walked(key: str) -> float:
        value = {key: [[] for _ in range(20_000)]}
        return processor_time(lambda: find_ends(value, PeerLimits(), lambda item: None))

    assert walked("k" * 2**20) < 20 * walked("k")


@pytest.mark.parametrize("key", ["k" * 2**20, b"k" * 2**20, 10**5_000], ids=["str", "bin", "int"])
@pytest.mark.parametrize("bad", [object(), 2**64, datetime.datetime(2020, 1, 1)], ids=lambda bad: type(bad).__name__)
def test_an_error_names_the_place_in_few_words_however_long_the_keys_are(key: Any, bad: object) -> None:
    with pytest.raises(EncodeError) as caught:
        encode({"list": [1, {key: {key: [bad]}}]})
    assert caught.value.path.startswith("list[1].")
    assert len(str(caught.value)) < 400


# --- over a session ---------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("limit", "body"),
    [
        ("message_values", msgpack.packb([0] * 5_000)),
        ("message_int_keys", msgpack.packb(dict.fromkeys(range(2_100)))),
    ],
)
async def test_who_sends_too_many_all_the_same_is_told_which_limit(limit: str, body: bytes) -> None:
    limits: Any = {"message_values": 4_500, "message_int_keys": 2_048}
    async with session_pair(Limits(), Limits(**limits)) as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        other = await client.open("other")
        other_there = (await server.accept()).end
        with pytest.raises(LimitReached, match=limit):
            await sender.send(msgpack.unpackb(body, strict_map_key=False))
        await sender.send("goes on")
        assert await receiver.receive() == "goes on"
        sender._send_core.outlet.stream.outgoing.write(len(body).to_bytes(4, "big") + body)
        with pytest.raises(DecodeError, match=limit):
            await receiver.receive()
        reason = await sender.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "bad-message"
        assert limit in reason.reason
        await other.send(chanlink.pipe()[0])
        (await other_there.receive()).close()
