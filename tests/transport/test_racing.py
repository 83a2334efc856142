"""Several ways at a time, without a network: when the next one begins, and what becomes of those that are late."""

import math
from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.abc import AsyncResource

from chanlink import ConnectFailed
from chanlink.transport import racing
from chanlink.transport.racing import race
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio


class Way(AsyncResource):
    """Somewhere that one attempt has led to."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True


class Course:
    """Attempts that go on when a test says so, and what has become of them."""

    def __init__(self, count: int) -> None:
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self.ways = [Way(number) for number in range(count)]
        self.fails = [False] * count
        self.goes_on = [anyio.Event() for _ in range(count)]

    def attempts(self) -> list[Callable[[], Awaitable[Way]]]:
        return [lambda number=number: self._run(number) for number in range(len(self.ways))]  # type: ignore[misc]

    def end(self, number: int, *, fails: bool = False) -> None:
        self.fails[number] = fails
        self.goes_on[number].set()

    async def _run(self, number: int) -> Way:
        self.begun.append(number)
        try:
            if not self.goes_on[number].is_set():
                await self.goes_on[number].wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(number)
            raise
        if self.fails[number]:
            raise ConnectFailed(f"way {number}")
        return self.ways[number]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody begins because another one is slow."""
    monkeypatch.setattr(racing, "HEAD_START", math.inf)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """All begin at once."""
    monkeypatch.setattr(racing, "HEAD_START", 0.0)


@pytest.mark.usefixtures("patient")
async def test_the_first_one_that_succeeds_is_the_only_one_that_began() -> None:
    course = Course(3)
    course.end(0)
    assert await race(course.attempts()) is course.ways[0]
    assert course.begun == [0]
    assert not course.ways[0].closed


@pytest.mark.usefixtures("patient")
async def test_the_next_one_begins_when_the_one_before_has_failed() -> None:
    course = Course(3)
    course.end(0, fails=True)
    course.end(1)
    assert (await race(course.attempts())).number == 1
    assert course.begun == [0, 1]


async def test_the_next_one_begins_when_the_one_before_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(racing, "HEAD_START", 0.01)
    course = Course(2)
    course.end(1)
    assert (await race(course.attempts())).number == 1
    assert course.begun == [0, 1]
    assert course.cancelled == [0]


@pytest.mark.usefixtures("impatient")
async def test_when_there_is_a_result_the_others_are_cancelled() -> None:
    course = Course(3)
    async with anyio.create_task_group() as tasks:
        found: list[Way] = []

        async def run() -> None:
            found.append(await race(course.attempts()))

        tasks.start_soon(run)
        with anyio.fail_after(PATIENCE):
            while len(course.begun) < 3:
                await anyio.sleep(0)
        course.end(2)
    assert [way.number for way in found] == [2]
    assert sorted(course.cancelled) == [0, 1]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.usefixtures("patient")
async def test_when_all_fail_the_problem_of_the_last_one_is_raised(count: int) -> None:
    course = Course(count)
    for number in range(count):
        course.end(number, fails=True)
    with pytest.raises(ConnectFailed, match=f"^way {count - 1}$"):
        await race(course.attempts())


@pytest.mark.usefixtures("impatient")
async def test_of_two_that_succeed_at_the_same_time_one_is_closed() -> None:
    course = Course(2)
    course.end(0)
    course.end(1)
    found = await race(course.attempts())
    for way in course.ways:
        assert way.closed == (way is not found and way.number in course.begun)


@pytest.mark.usefixtures("impatient")
async def test_cancelling_cancels_all_of_them() -> None:
    course = Course(3)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(race, course.attempts())
        with anyio.fail_after(PATIENCE):
            while len(course.begun) < 3:
                await anyio.sleep(0)
        tasks.cancel_scope.cancel()
    assert sorted(course.cancelled) == [0, 1, 2]
