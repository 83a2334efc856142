"""The buffers that the connections of one event loop share."""

import anyio
import pytest

from chanlink.security.buffers import Buffers, loop_buffers


@pytest.mark.anyio
async def test_one_event_loop_has_one_set_for_all_tasks() -> None:
    found: list[Buffers] = []

    async def look() -> None:
        found.append(loop_buffers())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        tasks.start_soon(look)
    assert found[0] is found[1] is loop_buffers()


def test_each_event_loop_has_its_own() -> None:
    async def look() -> Buffers:
        return loop_buffers()

    assert anyio.run(look) is not anyio.run(look)


def test_without_an_event_loop_they_are_new_each_time() -> None:
    assert loop_buffers() is not loop_buffers()
