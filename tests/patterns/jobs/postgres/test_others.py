"""Who is dead."""

from chanlink.patterns.jobs.postgres.others import Others

LEASE = 6.0


def test_who_gives_no_sign_of_life_for_a_lease_is_dead() -> None:
    others = Others(LEASE)
    for now in range(7):
        assert others.look({"a": 1, "b": now}, float(now)) == {}
    assert others.look({"a": 1, "b": 7}, 7.0) == {"a": 1}


def test_who_gives_one_is_not() -> None:
    others = Others(LEASE)
    for now in range(60):
        assert others.look({"a": now // 5}, float(now)) == {}


def test_who_comes_late_has_a_lease() -> None:
    others = Others(LEASE)
    found = {now: others.look({"a": 1} if now >= 20 else {}, float(now)) for now in range(30)}
    assert [now for now, dead in found.items() if dead] == [27, 28, 29]


def test_who_did_not_look_for_long_counts_anew() -> None:
    """The watcher was stopped: the beats that it missed have come and gone, or the others were stopped as well."""
    others = Others(LEASE)
    for now in range(6):
        others.look({"a": 1}, float(now))
    assert others.look({"a": 1}, 100.0) == {}
    for now in range(101, 107):
        assert others.look({"a": 1}, float(now)) == {}
    assert others.look({"a": 1}, 107.0) == {"a": 1}


def test_who_was_away_and_is_back_with_the_same_beat_has_a_lease() -> None:
    others = Others(LEASE)
    for now in range(6):
        others.look({"a": 1}, float(now))
    others.look({}, 6.0)
    assert others.look({"a": 1}, 7.0) == {}
