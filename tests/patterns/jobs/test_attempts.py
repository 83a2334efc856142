"""Which attempts there are, and which of them are silent."""

import pytest

from chanlink.patterns.jobs.attempts import Attempt, Attempts, pause
from chanlink.patterns.jobs.store import Begun


class Nobody:
    """Has attempts, and wants to know nothing."""

    def counted(self, attempt: Attempt) -> None:
        pass

    def stale(self, attempt: Attempt) -> None:
        pass


@pytest.fixture
def attempts() -> Attempts:
    return Attempts()


def begun(attempts: Attempts, job_id: str, number: int = 1) -> Attempt:
    attempt = Attempt(Begun(job_id, b"", number, attached=False), Nobody(), 1)
    attempts.add(attempt)
    return attempt


def test_the_newest_attempt_of_a_job_is_the_last_one(attempts: Attempts) -> None:
    first, second = begun(attempts, "x"), begun(attempts, "x", 2)
    assert (attempts.of("x"), attempts.newest("x"), len(attempts)) == ([first, second], second, 1)
    attempts.remove(second)
    attempts.remove(second)
    assert attempts.newest("x") is first
    attempts.remove(first)
    assert (attempts.of("x"), attempts.newest("x"), len(attempts)) == ([], None, 0)


def test_one_of_which_nothing_was_heard_for_ten_ticks_is_silent_once(attempts: Attempts) -> None:
    silent, heard = begun(attempts, "x"), begun(attempts, "y")
    for _ in range(10):
        assert attempts.tick() == []
    attempts.hear(heard)
    assert attempts.tick() == [silent]
    assert silent.silent
    assert not heard.silent
    attempts.hear(silent)
    for _ in range(9):
        assert attempts.tick() == []
    assert attempts.tick() == [heard]


def test_one_that_rests_is_never_silent(attempts: Attempts) -> None:
    attempts.rest(begun(attempts, "x"))
    assert not [silent for _ in range(30) for silent in attempts.tick()]


def test_progress_is_told_once_and_forgotten_with_its_attempt(attempts: Attempts) -> None:
    x, y = begun(attempts, "x"), begun(attempts, "y")
    for value in (b"1", b"2"):
        attempts.progress(x, value)
    attempts.progress(y, b"3")
    attempts.remove(y)
    assert attempts.untold() == {"x": b"2"}
    assert attempts.untold() == {}
    assert x.progress == b"2"


def test_pauses_grow_up_to_a_minute() -> None:
    assert [pause(number) for number in (1, 2, 3, 7, 1_000)] == [1.0, 2.0, 4.0, 60.0, 60.0]
