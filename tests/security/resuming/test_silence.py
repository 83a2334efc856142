"""When a connection that says nothing is given up, tick by tick."""

import pytest

from chanlink.security.resuming.silence import ANSWER, ASKED, LONGEST, PROGRESS, Silence


def ticks_until_given_up(silence: Silence, *, heard: bool = False, most: int = 200) -> int | None:
    for tick in range(1, most):
        if silence.tick(heard=heard, due=True, acknowledged=False):
            return tick
    return None


def test_where_nothing_is_due_nobody_has_to_say_anything() -> None:
    silence = Silence(30)
    assert not any(silence.tick(heard=False, due=False, acknowledged=False) for _ in range(1_000))


def test_an_answer_that_is_due_may_take_ten_whole_ticks() -> None:
    assert ticks_until_given_up(Silence(30)) == ANSWER + 1


def test_whatever_comes_is_an_answer() -> None:
    silence = Silence(1_000)
    for _ in range(10):
        assert not any(silence.tick(heard=False, due=True, acknowledged=False) for _ in range(ANSWER))
        assert not silence.tick(heard=True, due=True, acknowledged=False)


def test_who_talks_and_acknowledges_nothing_is_given_up_after_the_time_of_progress() -> None:
    assert ticks_until_given_up(Silence(30), heard=True) == 31
    assert ticks_until_given_up(Silence(0.1), heard=True) == PROGRESS + 1
    silence = Silence(30)
    assert not any(silence.tick(heard=True, due=True, acknowledged=True) for _ in range(100))


def test_the_time_is_doubled_by_each_silence_up_to_a_bound() -> None:
    silence, found = Silence(30), []
    for _ in range(5):
        found.append(ticks_until_given_up(silence))
        silence.begin()
    assert found == [ANSWER + 1, 2 * ANSWER + 1, 4 * ANSWER + 1, LONGEST + 1, LONGEST + 1]


def test_another_connection_after_another_problem_has_the_time_of_the_one_before() -> None:
    silence = Silence(30)
    assert not silence.tick(heard=False, due=True, acknowledged=False)
    silence.begin()
    assert ticks_until_given_up(silence) == ANSWER + 1


@pytest.mark.parametrize(("ticks", "allowed"), [(1, ANSWER), (ANSWER - 1, ANSWER), (ANSWER, 2 * ANSWER)])
def test_an_answer_that_came_in_a_short_time_makes_it_short_again(ticks: int, allowed: int) -> None:
    silence = Silence(30)
    assert ticks_until_given_up(silence)
    silence.begin()
    assert not silence.tick(heard=False, due=False, acknowledged=False)
    assert silence.allowed == 2 * ANSWER, "nobody was asked"
    silence.answered(ticks)
    assert silence.allowed == allowed


def test_where_there_is_doubt_the_answer_may_take_a_short_time_only() -> None:
    silence = Silence(30)
    assert not any(silence.tick(heard=False, due=True, acknowledged=False) for _ in range(ANSWER))
    silence.hurry()
    assert ticks_until_given_up(silence) == ASKED + 1
    silence.begin()
    assert ticks_until_given_up(silence) == ANSWER + 1, "that was no reason to allow more"


def test_doubts_end_with_the_answer() -> None:
    silence = Silence(30)
    silence.hurry()
    assert not silence.tick(heard=True, due=False, acknowledged=True)
    assert ticks_until_given_up(silence) == ANSWER + 1


def test_what_comes_while_data_flows_may_be_older_than_the_doubt() -> None:
    silence = Silence(30)
    silence.hurry()
    assert not silence.tick(heard=True, due=True, acknowledged=True)
    assert ticks_until_given_up(silence) == ASKED + 1
    silence.hurry()
    for _ in range(2):
        assert not silence.tick(heard=True, due=True, acknowledged=True)
    assert ticks_until_given_up(silence) == ANSWER + 1
