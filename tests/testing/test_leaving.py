"""What a test leaves behind is noticed, and nothing else is."""

import asyncio
import warnings

import anyio
import pytest

import chanlink
from chanlink.testing import leaving
from chanlink.testing.leaving import Leavings, tasks_now

pytestmark = pytest.mark.anyio


def test_a_forgotten_end_is_noticed_also_in_a_circle_and_other_warnings_go_on() -> None:
    leavings = Leavings()
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        with leavings.of_ends():
            sender, receiver = chanlink.pipe()
            circle: list[object] = [receiver]
            circle.append(circle)
            del receiver, circle
            leavings.collect()
            warnings.warn("another thing", stacklevel=1)
        sender.close()
    assert leavings.problems == ["a Receiver was forgotten without closing it"]
    assert [str(one.message) for one in others] == ["another thing"]


def test_what_was_closed_or_sent_away_is_not_forgotten() -> None:
    leavings = Leavings()
    with leavings.of_ends():
        for end in chanlink.pipe():
            end.close()
        del end
        leavings.collect()
    assert leavings.problems == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=False)
async def test_a_task_that_goes_on_is_noticed_and_one_that_is_ending_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leaving, "PATIENCE", 0.05)
    leavings, before, never = Leavings(), tasks_now(), asyncio.Event()
    ending = asyncio.create_task(asyncio.sleep(0.001))
    staying = asyncio.create_task(never.wait(), name="that stays")
    await leavings.of_tasks(before, "")
    assert len(leavings.problems) == 1
    assert leavings.problems[0].startswith("the task 'that stays' (<coroutine object Event.wait")
    never.set()
    await staying
    await ending


async def test_tasks_that_were_there_before_and_plumbing_do_not_count() -> None:
    leavings = Leavings()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep, 1_000)
        before = tasks_now()
        await leavings.of_tasks(before, "")
        tasks.start_soon(anyio.sleep, 1_000, name="plumbing")
        await leavings.of_tasks(before, "plumbing")
        tasks.cancel_scope.cancel()
    assert leavings.problems == []
