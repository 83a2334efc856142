"""How long a link waits, and that a herd does not come back as one."""

import random

import pytest

from chanlink.backoff import FIRST, GOOD, LONGEST, Backoff


@pytest.fixture(autouse=True)
def same_dice() -> None:
    random.seed(5)


def test_pauses_get_longer_up_to_half_a_minute_and_are_short_again_after_a_good_session() -> None:
    many = [Backoff() for _ in range(500)]
    for number in range(12):
        most = min(FIRST * 2**number, LONGEST)
        assert 0.9 * most < max(backoff.pause() for backoff in many) <= most
    backoff = Backoff()
    for _ in range(12):
        backoff.pause()
    backoff.lived(GOOD - 1)
    assert max(backoff.pause() for _ in range(100)) > FIRST
    backoff.lived(GOOD)
    assert backoff.pause() <= FIRST


def test_ten_thousand_that_were_cut_off_at_once_come_back_evenly() -> None:
    """No tenth of the time sees many more of them than another; the k-th time, within twice as long as before."""
    herd = [Backoff() for _ in range(10_000)]
    for number in range(6):
        span = FIRST * 2**number
        tenths = [0] * 10
        for backoff in herd:
            tenths[min(9, int(backoff.pause() / span * 10))] += 1
        assert 800 < min(tenths) <= max(tenths) < 1_200
