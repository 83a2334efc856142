"""Which PINGs wait for an answer, and when another one is worth sending."""

from chanlink.session.pings import CHECK, Pings


def test_an_answer_ends_its_ping_and_no_other_one() -> None:
    pings = Pings()
    first, second = pings.begin(1.0), pings.begin(2.0)
    assert first.payload != second.payload
    assert pings.answer(second.payload) is second
    assert (first.over.is_set(), second.over.is_set()) == (False, True)
    assert (first.began, second.began) == (1.0, 2.0)


def test_what_nobody_waits_for_is_no_answer() -> None:
    pings = Pings()
    ping = pings.begin(1.0)
    assert pings.answer(bytes(8)) is None, "those that only ask whether the peer is there"
    pings.forget(ping)
    assert pings.answer(ping.payload) is None
    assert pings.begin(1.0).payload != ping.payload


def test_the_end_ends_those_that_wait() -> None:
    pings = Pings()
    waiting = [pings.begin(1.0) for _ in range(3)]
    pings.end()
    assert all(ping.over.is_set() for ping in waiting)


def test_doubts_ask_once_in_a_while() -> None:
    pings = Pings()
    assert pings.checks(0.0)
    assert not pings.checks(CHECK)
    assert pings.checks(CHECK + 0.1)
    assert not pings.checks(2 * CHECK)
    assert pings.checks(2 * CHECK + 0.2)
