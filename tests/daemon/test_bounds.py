"""What one user may have at a time."""

import pytest

from chanlink.daemon.bounds import Bound, Full, Held

ALICE, BOB, EVE = 1001, 1002, 1003


def test_a_user_may_have_so_many_and_others_have_theirs() -> None:
    held = Held(Bound(2, 10))
    with held.one(ALICE), held.one(ALICE):
        with pytest.raises(Full, match="2 of this user's"), held.one(ALICE):
            pass
        with held.one(BOB):
            assert (held.of(ALICE), held.of(BOB), len(held)) == (2, 1, 3)
    assert len(held) == 0


def test_all_together_may_have_so_many() -> None:
    held = Held(Bound(2, 3))
    with held.one(ALICE), held.one(ALICE), held.one(BOB), pytest.raises(Full, match="3 at a time"):
        held.check(EVE)
    held.check(EVE)


def test_what_was_refused_holds_nothing() -> None:
    held = Held(Bound(1, 10))
    held.add(ALICE)
    for _ in range(3):
        with pytest.raises(Full), held.one(ALICE):
            pass
    held.give(ALICE)
    assert held.of(ALICE) == len(held) == 0
