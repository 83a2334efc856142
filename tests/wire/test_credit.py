"""Windows and the budget they share, by themselves."""

import pytest

from chanlink.errors import END, Reason
from chanlink.limits import Limits
from chanlink.wire.credit import CALM_BYTES, CALM_SECONDS, FAR_SECONDS, QUICK_SECONDS, Credit, Window

FIRST = Limits().stream_window


class Half:
    """Stands in for a stream."""

    in_reason: Reason | None = None


class Session:
    """Some windows and what they have together."""

    def __init__(self, **limits: int) -> None:
        self.limits = Limits(**limits)  # type: ignore[arg-type]
        self.due: list[Half] = []
        self.pings: list[bytes] = []
        self.credit = Credit(self.limits, due=self.due.append, ping=self.pings.append)

    def window(self) -> Window:
        return Window(self.credit, Half(), 0.0)

    def give(self, window: Window, now: float = 100.0, ahead: int | None = None) -> int:
        return self.credit.give(window, ahead=ahead, now=now)

    @property
    def lent(self) -> int:
        return self.limits.session_budget - self.credit.budget


# --- one window ---------------------------------------------------------------------------------


def test_credit_is_due_from_half_a_window_on() -> None:
    session = Session()
    window = session.window()
    window.took(FIRST // 2 - 1)
    assert not window.is_due()
    assert not session.due
    window.took(1)
    assert window.is_due()
    assert session.due == [window._stream]
    assert session.give(window) == FIRST // 2
    assert not window.is_due()
    assert window.size == FIRST


def test_no_credit_is_due_for_what_is_over() -> None:
    session = Session()
    window = session.window()
    window._stream.in_reason = END
    window.took(FIRST)
    assert not session.due


def test_a_message_that_fits_borrows_nothing() -> None:
    session = Session()
    window = session.window()
    window.make_way(FIRST)
    assert (window.loan, window.needed, session.due) == (0, False, [])


def test_less_than_half_a_window_is_due_when_the_message_at_the_head_needs_it() -> None:
    session = Session()
    window = session.window()
    window.took(10)
    window.make_way(FIRST - 10)
    assert not window.is_due()
    window.make_way(FIRST - 9)
    window.make_way(FIRST - 9)
    assert window.is_due()
    assert session.due == [window._stream]
    assert session.give(window) == 10


def test_a_window_is_full_when_nothing_more_may_come() -> None:
    window = Session().window()
    assert not window.full(FIRST - 1)
    assert window.full(FIRST)
    window.took(1)
    assert window.full(FIRST - 1)
    window.lend(5)
    assert not window.full(FIRST + 3)
    assert window.full(FIRST + 4)


def test_a_loan_is_paid_back_first_and_leaves_once() -> None:
    session = Session()
    window = session.window()
    window.make_way(FIRST + 1_000)
    assert (window.loan, session.lent) == (1_000, 1_000)
    assert session.give(window) == 1_000
    assert session.give(window) == 0
    window.took(600)
    assert (window.loan, window.unreturned, session.lent) == (400, 0, 400)
    window.took(600)
    assert (window.loan, window.unreturned, session.lent) == (0, 200, 0)


def test_what_the_budget_gave_comes_back_when_a_window_is_released() -> None:
    session = Session()
    window = session.window()
    window.make_way(FIRST + 1_000)
    session.credit.measured(1.0)
    window.took(FIRST)
    session.give(window, now=0.0)  # at once: it grows
    assert window.size > FIRST
    assert session.lent == window.loan + window.size - FIRST
    for _ in range(2):
        window.release()
        assert (window.size, window.loan, session.lent) == (FIRST, 0, 0)


# --- the budget ---------------------------------------------------------------------------------


def test_borrowers_are_served_one_after_the_other() -> None:
    session = Session(session_budget=10_000)
    one, two, three = (session.window() for _ in range(3))
    one.make_way(FIRST + 8_000)
    two.make_way(FIRST + 3_000)
    three.make_way(FIRST + 1_000)  # though there is enough for this one
    assert [window.loan for window in (one, two, three)] == [8_000, 0, 0]
    one.took(999)
    assert two.loan == 0
    one.took(1)
    assert [window.loan for window in (one, two, three)] == [7_000, 3_000, 0]
    one.took(7_000)
    assert [window.loan for window in (one, two, three)] == [0, 3_000, 1_000]


def test_one_message_may_arrive_even_if_the_whole_budget_is_less() -> None:
    session = Session(session_budget=10)
    one, two = session.window(), session.window()
    one.make_way(FIRST + 1_000)
    two.make_way(FIRST + 1_000)
    assert (one.loan, two.loan, session.credit.budget) == (1_000, 0, -990)
    one.took(1_000)
    assert (one.loan, two.loan) == (0, 1_000)


def test_who_wants_nothing_more_makes_place_for_the_next_one() -> None:
    session = Session(session_budget=1_000)
    one, two, three = (session.window() for _ in range(3))
    for window in (one, two, three):
        window.make_way(FIRST + 600)
    two.withdraw()
    two.withdraw()
    one.took(600)
    assert [window.loan for window in (one, two, three)] == [0, 0, 600]
    session.credit.clear()


# --- growth -------------------------------------------------------------------------------------


@pytest.mark.parametrize("round_trip", [0.0, 0.001, 0.1])
def test_a_window_grows_when_half_of_it_is_used_up_faster_than_credit_travels(round_trip: float) -> None:
    session = Session()
    if round_trip:
        session.credit.measured(round_trip)
    slow, quick = session.window(), session.window()
    limit = max(QUICK_SECONDS, 1.5 * round_trip)
    slow.took(FIRST // 2)
    assert session.give(slow, now=limit) == FIRST // 2
    quick.took(FIRST // 2)
    step = FIRST * (1 if round_trip < FAR_SECONDS else 7)
    assert session.give(quick, now=limit * 0.99) == FIRST // 2 + step
    assert (slow.size, quick.size) == (FIRST, FIRST + step)


def test_growth_leaves_of_the_budget_what_one_message_may_need() -> None:
    session = Session(session_budget=100_000, message_size=90_000)
    window = session.window()
    for now in (0.0, 0.0, 0.0):
        window.took(window.size // 2)
        session.give(window, now=now)
    assert window.size == FIRST + 10_000


def test_no_window_grows_beyond_its_bound() -> None:
    session = Session(stream_window_max=FIRST + 5)
    window = session.window()
    for _ in range(3):
        window.took(window.size // 2)
        session.give(window, now=0.0)
    assert window.size == FIRST + 5


def test_bytes_keep_calm_while_messages_flow() -> None:
    session = Session()
    channel, wide = session.window(), session.window()
    wide.grow(4 * CALM_BYTES)
    session.credit.message_arrived(channel, 100.0)
    assert session.give(wide, 100.0, ahead=CALM_BYTES) == 0
    assert session.give(wide, 100.0, ahead=CALM_BYTES // 2 + 1) == 0
    assert session.give(wide, 100.0, ahead=CALM_BYTES // 2) == CALM_BYTES // 2
    rest = 4 * CALM_BYTES - CALM_BYTES // 2
    assert session.give(wide, 100.0 + 2 * CALM_SECONDS, ahead=CALM_BYTES) >= rest


def test_messages_of_a_channel_that_has_grown_are_bulk_themselves() -> None:
    session = Session()
    channel, wide = session.window(), session.window()
    channel.grow(1)
    wide.grow(4 * CALM_BYTES)
    session.credit.message_arrived(channel, 100.0)
    assert session.give(wide, 100.0, ahead=CALM_BYTES) > 0


# --- the round trip -----------------------------------------------------------------------------


def test_the_shortest_round_trip_counts() -> None:
    credit = Session().credit
    for seconds, shortest in ((3.0, 3.0), (2.0, 2.0), (5.0, 2.0)):
        credit.measured(seconds)
        assert credit.round_trip == shortest


def test_one_ping_at_a_time_measures_it() -> None:
    session = Session()
    window = session.window()
    for now in (10.0, 10.5, 20.0):
        window.took(window.size)
        session.give(window, now=now)
    assert session.pings == [b"measured"]
    assert not session.credit.pong(b"somebody", 20.0)
    assert session.credit.pong(b"measured", 20.25)
    assert session.credit.pong(b"measured", 30.0)  # ours, but nobody waits for it
    assert session.credit.round_trip == 10.25
