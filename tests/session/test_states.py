"""The states of a session, as they are followed."""

import anyio
import pytest

from chanlink.channels.waiting import Waiters
from chanlink.session.states import State, States
from tests.patience import PATIENCE, until

pytestmark = pytest.mark.anyio


class Life:
    def __init__(self) -> None:
        self.state: State = "open"
        self.changes = Waiters()

    def states(self) -> States:
        return States(lambda: self.state, self.changes)

    def go(self, state: State) -> None:
        self.state = state
        self.changes.wake_all()


async def test_each_state_is_given_once_until_the_last() -> None:
    life, found = Life(), list[State]()

    async def follow() -> None:
        async for state in life.states():
            found.append(state)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await until(lambda: found == ["open"])
            life.go("open")  # another phase of the same state
            life.go("draining")
            await until(lambda: found == ["open", "draining"])
            life.go("closed")
    assert found == ["open", "draining", "closed"]


async def test_who_comes_late_or_looks_seldom_gets_the_current_one_and_never_misses_the_last() -> None:
    life = Life()
    early = life.states()
    assert await anext(early) == "open"
    life.go("draining")
    life.go("closed")
    assert [state async for state in early] == ["closed"]
    assert [state async for state in life.states()] == ["closed"]
    with pytest.raises(StopAsyncIteration):
        await anext(early)


async def test_one_that_is_cancelled_goes_on_where_it_was() -> None:
    life = Life()
    states = life.states()
    await anext(states)
    with anyio.move_on_after(0.01):
        await anext(states)
    assert not life.changes
    life.go("draining")
    assert await anext(states) == "draining"
