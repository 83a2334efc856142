"""The fuzz targets hold on their kept corpus and on some thousand changes of it; `make fuzz` has millions."""

import random
from functools import partial
from pathlib import Path

import pytest

from tests.fuzz.every import TARGETS
from tests.patience import lines_run, takes_less

pytestmark = pytest.mark.slow

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
MOST = 30_000
"""Lines of Python for one input of the corpus, of a few hundred bytes; the handshake takes 13,000 to begin with."""

SLOW = 10
"""So many times as slow as it says may be the machine."""


def changed(data: bytes, lot: random.Random) -> bytes:
    for _ in range(lot.randint(1, 4)):
        at = lot.randrange(len(data) + 1)
        data = lot.choice(
            [
                data[:at] + bytes([lot.randrange(256)]) + data[at + 1 :],
                data[:at] + bytes([lot.randrange(256)]) + data[at:],
                data[:at] + data[at + lot.randint(1, 8) :],
                data[:at],
                data[:at] + data[lot.randrange(len(data) + 1) :],
                data[:at]
                + lot.choice([b"\xff" * 4, b"\0" * 4, b"\xdd\xff\xff\xff\xff", b"\x7f\xff\xff\xff"])
                + data[at:],
            ]
        )
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_escapes_and_nothing_takes_long(name: str) -> None:
    target = TARGETS[name].run
    lot = random.Random(name)  # the same each time
    seeds = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    assert len(seeds) > 2
    for number in range(600):
        data = seeds[number] if number < len(seeds) else changed(lot.choice(seeds), lot)
        assert lines_run(partial(target, data)) < MOST, data[:100]


@pytest.mark.parametrize("name", TARGETS)
def test_an_input_as_long_as_can_be_takes_no_longer_than_its_target_says(name: str) -> None:
    target = TARGETS[name]
    lot = random.Random(name)
    seeds = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    for number in range(4 * len(seeds)):
        data = seeds[number] if number < len(seeds) else changed(lot.choice(seeds), lot)
        grown = target.grow(data, target.longest)
        assert len(grown) > target.longest * 0.9
        assert takes_less(partial(target.run, grown), SLOW * target.seconds), data[:100]


def test_every_target_has_its_corpus() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
