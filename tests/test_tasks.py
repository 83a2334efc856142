"""Task groups beside a block: what the block raises, and what the tasks raise."""

import anyio
import pytest

from chanlink.tasks import tasks_beside

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("problem", [ValueError("mine"), KeyboardInterrupt(), ExceptionGroup("mine", [OSError()])])
async def test_what_the_block_raises_leaves_it_as_it_is_when_the_tasks_have_ended(problem: BaseException) -> None:
    ended = []

    async def task() -> None:
        await anyio.sleep(0.01)
        ended.append(True)

    with pytest.raises(type(problem)) as caught:
        async with tasks_beside() as tasks:
            tasks.start_soon(task)
            raise problem
    assert caught.value is problem
    assert ended


async def test_what_a_task_raises_comes_in_a_group_and_cancels_the_block() -> None:
    async def task() -> None:
        raise ValueError("its own")

    with pytest.raises(ExceptionGroup) as caught:
        async with tasks_beside() as tasks:
            tasks.start_soon(task)
            await anyio.sleep_forever()
    assert [str(one) for one in caught.value.exceptions] == ["its own"]


async def test_a_block_may_cancel_its_tasks_when_it_is_left() -> None:
    with pytest.raises(ZeroDivisionError):
        async with tasks_beside() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            try:
                raise ZeroDivisionError
            finally:
                tasks.cancel_scope.cancel()


async def test_a_cancelled_block_ends_with_its_tasks() -> None:
    with anyio.CancelScope() as scope:
        async with tasks_beside() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
