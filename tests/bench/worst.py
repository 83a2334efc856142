"""``python -m tests.bench.worst [--seconds N] [--out FILE]``: which message within the limits costs most?

Processor time and memory are looked at.

It climbs: of the worst messages that it has, it changes one at random, and keeps it if it is worse. A message is a
list of many small values, of kinds of which each is known to be bad for something, in shares and an order that change;
ints as keys that collide; ends; and the ways in which it arrives. Times are the least of three, and the value is thrown
away in them, too. What a busy machine has made slow gets among the worst, so these are measured again in the end.
Ends with an error when something costs more than 100 ms, or 16 times `Limits.message_size`.
"""

import argparse
import dataclasses
import functools
import gc
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack

from chanlink.errors import DecodeError
from chanlink.limits import Limits
from chanlink.wire.messages.decode import decode as decode_message
from chanlink.wire.messages.encode import frame
from chanlink.wire.messages.pieces import Pieces

from . import worst_frames

LIMITS = Limits()
MOST_SECONDS = 0.1
MOST_TIMES = 16


@functools.cache
def colliding(count: int) -> tuple[int, ...]:
    """Ints that are bad together as the keys of a dict.

    Where a place is taken, a dict looks on at ``5 * place + rest + 1``, and rest soon is nothing: so some keys fill an
    arc of that cycle, and the others come to its beginning by places that are taken, and walk to its end.
    """
    size = 8
    while size * 2 // 3 < count:
        size *= 2
    cycle, place = {}, 0
    for number in range(size):
        cycle[place] = number
        place = (5 * place + 1) % size
    keys = [place for place, number in cycle.items() if number < count * 2 // 5]
    taken = set(keys)
    for _, key, way in sorted(_ways(cycle, len(keys) // 3, count)):
        if len(keys) < count and taken.issuperset(way):
            place = way[-1]
            while place in taken:
                place = (5 * place + 1) % size
            taken.add(place)
            keys.append(key)
    return tuple(keys)


def _ways(cycle: dict[int, int], beginning: int, end: int) -> Iterator[tuple[int, int, list[int]]]:
    """Keys that come to the beginning, where there, and by which places."""
    size = len(cycle)
    for key in range(size, size * 256):
        place, rest = key % size, key
        way = [place]
        while rest:
            rest >>= 5
            place = (5 * place + rest + 1) % size
            way.append(place)
        if cycle[place] < beginning and all(cycle[one] < end for one in way):
            yield cycle[place], key, way


def nested(opening: bytes, inner: bytes, depth: int) -> bytes:
    return opening * depth + inner


KINDS: dict[str, tuple[bytes, int]] = {
    # Name: the value, and how many it holds.
    "nil": (b"\xc0", 1),
    "small int": (b"\1", 1),
    "int of 8 bits": (b"\xd0\x80", 1),
    "int of 16 bits": (b"\xcd\xff\xff", 1),
    "int of 64 bits": (b"\xcf" + b"\xff" * 8, 1),
    "float": (b"\xcb\x40\x09\x21\xfb\x54\x44\x2d\x18", 1),
    "short float": (b"\xca\x40\x49\x0f\xdb", 1),
    "empty str": (b"\xa0", 1),
    "empty str, long header": (b"\xdb\0\0\0\0", 1),
    "str": (b"\xa2ab", 1),
    "str of two bytes a character": (b"\xa2\xc4\x80", 1),
    "str of four bytes a character": (b"\xa4\xf0\x9f\x98\x80", 1),
    "str of 32": (b"\xd9\x20" + b"x" * 32, 1),
    "str of 255": (b"\xd9\xff" + b"x" * 255, 1),
    "str of 256": (b"\xda\1\0" + b"x" * 256, 1),
    "str of 259 that becomes wide": (b"\xda\1\3" + b"x" * 255 + b"\xf0\x9f\x98\x80", 1),
    "str of a megabyte that becomes wide": (b"\xdb\0\x0f\xff\xfc" + b"x" * 1_048_568 + b"\xf0\x9f\x98\x80", 1),
    "str of all that becomes wide": (b"\xdb\0\x3f\xff\xe0" + b"x" * 4_194_268 + b"\xf0\x9f\x98\x80", 1),
    "str of 5,000": (b"\xda\x13\x88" + b"x" * 5_000, 1),
    "bin": (b"\xc4\2ab", 1),
    "bin of 256": (b"\xc5\1\0" + bytes(256), 1),
    "bin of 5,000": (b"\xc5\x13\x88" + bytes(5_000), 1),
    "time": (b"\xd6\xff1234", 1),
    "time with parts of a second": (b"\xd7\xff" + (999_999_999 << 34 | 100_000).to_bytes(8, "big"), 1),
    "time with a header too long": (b"\xc9\0\0\0\4\xff1234", 1),
    "long time": (b"\xc7\x0c\xff" + bytes(4) + (1_000_000).to_bytes(8, "big"), 1),
    "empty map": (b"\x80", 1),
    "empty array": (b"\x90", 1),
    "empty array, long header": (b"\xdd\0\0\0\0", 1),
    "array of one": (b"\x91\1", 2),
    "array of fifteen": (b"\x9f" + b"\1" * 15, 16),
    "map of one": (b"\x81\xa1a\1", 3),
    "map of one, key a bin": (b"\x81\xc4\1a\1", 3),
    "map of one, key an int": (b"\x81\1\1", 3),
    "map of one, key a float": (b"\x81\xca\0\0\0\0\1", 3),
    "map of five": (b"\x85" + b"".join(b"\xa2k%d\1" % n for n in range(5)), 11),
    "map of six": (b"\x86" + b"".join(b"\xa2k%d\1" % n for n in range(6)), 13),
    "map of six, keys ints": (b"\x86" + b"".join(b"%c\1" % n for n in range(6)), 13),
    "map of five, same key": (b"\x85" + b"\xa1a\1" * 5, 11),
    "map of eleven": (b"\x8b" + b"".join(b"\xa2k%c\1" % (65 + n) for n in range(11)), 23),
    "arrays, deep": (nested(b"\x91", b"\x90", 60), 61),
    "maps, deep": (nested(b"\x81\xa1a", b"\x80", 60), 121),
    "maps, deep, keys ints": (nested(b"\x81\1", b"\x80", 60), 121),
    "pairs, deep": (nested(b"\x92\x90", b"\x90", 60), 121),
}
NAMES = list(KINDS)
ARRIVES: dict[str, Callable[[bytes], bytes | Pieces]] = {
    "whole": lambda body: body,
    "in frames": lambda body: Pieces([memoryview(body)[at : at + 65_493] for at in range(0, len(body), 65_493)]),
    "in short frames": lambda body: Pieces([memoryview(body)[at : at + 2_048] for at in range(0, len(body), 2_048)]),
}
KEYS = (0, 1, 1_365, 2_730, LIMITS.message_int_keys)
"""How many keys of a map collide."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a message is made."""

    shares: tuple[tuple[str, int], ...] = (("empty map", 1),)
    """Of each kind this many after each other, and so on from the beginning."""
    runs: bool = False
    """Whether all of one kind come after each other instead."""
    values: int = LIMITS.message_values
    size: int = LIMITS.message_size
    int_keys: int = 0
    keys_first: bool = False
    ends: int = 0
    arrives: str = "whole"

    def body(self) -> bytes:
        """At most this many values in this many bytes."""
        keys = colliding(self.int_keys)
        packed: bytes = msgpack.packb(dict.fromkeys(keys)) if keys else b"\xc0"
        references = b"".join(b"\xd4\1%c" % number for number in range(self.ends))
        turn = b"".join(KINDS[name][0] * share for name, share in self.shares)
        in_turn = sum(KINDS[name][1] * share for name, share in self.shares)
        left = self.values - 2 - 2 * len(keys) - self.ends
        turns = max(0, min(left // in_turn, (self.size - 10 - 6 * self.ends - len(packed)) // len(turn)))
        if self.runs:
            filling = b"".join(KINDS[name][0] * (share * turns) for name, share in self.shares)
        else:
            filling = turn * turns
        count = turns * sum(share for _, share in self.shares) + 1 + self.ends
        inner = packed + filling if self.keys_first else filling + packed
        return b"\xdd" + count.to_bytes(4, "big") + references + inner

    def message(self) -> tuple[int, bytes | Pieces]:
        """Header and payload."""
        entries = [("receiver", 2 * number + 1) for number in range(self.ends)]
        head, body = frame(self.body(), entries)  # type: ignore[arg-type]
        payload = head[4:] + b"".join(body)
        return int.from_bytes(head[:4], "big"), ARRIVES[self.arrives](payload)

    def changed(self, lot: random.Random) -> "Recipe":
        shares = list(self.shares)
        match lot.randrange(9):
            case 0 | 1:
                shares.insert(lot.randrange(len(shares) + 1), (lot.choice(NAMES), lot.choice((1, 1, 2, 7, 50, 300))))
            case 2 if len(shares) > 1:
                del shares[lot.randrange(len(shares))]
            case 3:
                at = lot.randrange(len(shares))
                shares[at] = lot.choice(NAMES), shares[at][1]
            case 4:
                at = lot.randrange(len(shares))
                shares[at] = shares[at][0], lot.choice((1, 1, 2, 3, 10, 60, 300))
            case 5:
                return dataclasses.replace(self, int_keys=lot.choice(KEYS), keys_first=lot.random() < 0.5)
            case 6:
                return dataclasses.replace(self, ends=lot.choice((0, 1, LIMITS.message_ends)))
            case 7:
                return dataclasses.replace(self, arrives=lot.choice(list(ARRIVES)), runs=lot.random() < 0.5)
            case 8:  # fewer, or too many: to refuse must not cost much either
                values = lot.choice((1_000, 50_000, LIMITS.message_values, LIMITS.message_values, 2**31))
                return dataclasses.replace(self, values=values)
        return dataclasses.replace(self, shares=tuple(shares[-6:]))


class End:
    """What an end is in a message that is only decoded."""


def decode(head: int, payload: bytes | Pieces) -> Any:
    """Its value, or why it has none."""
    try:
        return decode_message(head, payload, LIMITS, lambda kind, stream_id: End)  # type: ignore[arg-type, return-value]
    except DecodeError as exc:
        return str(exc)


def seconds(recipe: Recipe, most: float = 0.0, times: int = 3) -> float:
    head, payload = recipe.message()
    least = 9.0
    for _ in range(times):
        gc.collect()
        began = time.process_time()
        value = decode(head, payload)
        gc.collect(0)  # which comes next
        del value
        least = min(least, time.process_time() - began)
        if least <= most:
            break
    return least


def times_as_large(recipe: Recipe, most: float = 0.0) -> float:
    """The memory that it takes at its worst, the message itself included, in `Limits.message_size`."""
    head, payload = recipe.message()
    tracemalloc.start()
    try:
        decode(head, payload)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return (peak + len(payload)) / LIMITS.message_size


def climb(cost: Callable[[Recipe, float], float], lot: random.Random) -> Iterator[list[Recipe]]:
    """The worst until now, again and again."""
    first = [Recipe(shares=((name, 1),), int_keys=keys, ends=ends) for name in NAMES for keys, ends in STARTS]
    known = [(cost(recipe, 0.0), recipe) for recipe in first]
    known.sort(key=lambda one: one[0], reverse=True)
    while True:
        yield [recipe for _, recipe in known]
        known = known[:12]
        found, recipe = lot.choice(known[: lot.choice((1, 3, 12))])
        for _ in range(lot.choice((1, 1, 2, 4))):
            recipe = recipe.changed(lot)
        least = known[-1][0]
        found = cost(recipe, least)
        if found > least and all(recipe != one for _, one in known):
            known.append((found, recipe))
            known.sort(key=lambda one: one[0], reverse=True)


STARTS = [(0, 0), (1_365, 0), (0, 1)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.worst")
    parser.add_argument("--seconds", type=int, default=120, help="for time, and half of that for memory")
    parser.add_argument("--seed", type=int, default=time.time_ns())
    parser.add_argument("--out", type=Path, help="a folder for the worst messages")
    options = parser.parse_args()
    lot = random.Random(options.seed)
    slowest, took, largest, memory = worst_frames.worst()
    print(f"frames: {slowest} takes {took * 1e3:.1f} ms, {largest} {memory / 1024:,.0f} KiB", flush=True)
    failed = took > MOST_SECONDS or memory > MOST_TIMES * LIMITS.message_size
    for what, cost, again, share, unit, named, most in (
        ("time", seconds, lambda recipe: seconds(recipe, times=15), 1.0, 1e3, "ms", MOST_SECONDS),
        ("memory", times_as_large, times_as_large, 0.5, 1.0, "times message_size", MOST_TIMES),
    ):
        until, number, worst = time.monotonic() + options.seconds * share, 0, [Recipe()]
        for number, worst in enumerate(climb(cost, lot)):  # noqa: B007
            if time.monotonic() > until:
                break
        found, recipe = max(((again(recipe), recipe) for recipe in worst[:12]), key=lambda one: one[0])
        body, tried = recipe.body(), number + len(NAMES) * len(STARTS)
        print(f"{what}: of {tried:,} messages the worst, of {len(body):,} bytes, takes {found * unit:.1f} {named}")
        print(f"  {recipe}", flush=True)
        if options.out:
            (options.out / f"worst-{what}").write_bytes(body)
        failed |= found > most
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
