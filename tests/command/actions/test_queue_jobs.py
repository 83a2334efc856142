"""Those who look into a queue, and change what becomes of its jobs."""

import argparse
from collections.abc import Sequence

import anyio
import pytest

import chanlink
from chanlink.command.actions.queue_jobs import (
    AT_ONCE,
    UNKNOWN,
    answered,
    change_each,
    failed_behind,
    print_failed,
    retry_all,
)
from chanlink.command.problems import Problem
from chanlink.patterns import FailedJob, work_queue

pytestmark = pytest.mark.anyio
OPTIONS = argparse.Namespace(address="tcp://build", timeout=60.0, json=False)


async def test_a_queue_that_does_not_answer_is_waited_for_as_long_as_connecting_may_take() -> None:
    with pytest.raises(Problem, match=r"tcp://build: the queue did not answer within 0\.01 s"):
        await answered(anyio.sleep_forever(), argparse.Namespace(**{**vars(OPTIONS), "timeout": 0.01}))
    await answered(anyio.sleep(0), OPTIONS)


async def test_all_that_has_failed_begins_anew_however_much_it_is() -> None:
    count = 2 * AT_ONCE + 1
    async with work_queue() as queue:
        for number in range(count):
            (await queue.submit(None, id=f"job-{number:04}")).close()
        async with queue.jobs(slots=count) as work:
            for _ in range(count):
                await (await anext(work)).fail("broken")
        assert (await failed_behind("job-0199", queue, OPTIONS))[0].id == "job-0200"
        assert await retry_all(queue, OPTIONS) == count
        assert (await queue.status()).waiting == count
        assert await failed_behind("", queue, OPTIONS) == []
        assert await retry_all(queue, OPTIONS) == 0


async def test_what_each_is_then_is_printed_in_the_order_in_which_they_were_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []

    async def change(id: str) -> str:
        asked.append(id)
        if id == "none":
            raise chanlink.JobRefused("unknown-job", "there is none")
        await anyio.sleep(0.001 * (id == "slow"))
        return "waiting"

    assert await change_each(change, ["slow", "quick"], OPTIONS)
    assert capsys.readouterr().out == "slow\twaiting\nquick\twaiting\n"
    assert not await change_each(change, ["quick", "none", "quick"], OPTIONS)
    assert capsys.readouterr().out == f"quick\twaiting\nnone\t{UNKNOWN}\nquick\twaiting\n"
    assert sorted(asked) == ["none", "quick", "quick", "slow"]


async def test_another_refusal_ends_it() -> None:
    async def change(id: str) -> str:
        raise chanlink.JobRefused("not-allowed")

    with pytest.raises(ExceptionGroup) as caught:
        await change_each(change, ["one"], OPTIONS)
    assert isinstance(caught.value.exceptions[0], chanlink.JobRefused)


class OutOfOrder:
    async def failed(self, after: str, most: int) -> Sequence[FailedJob]:
        return [FailedJob("b", "x", "", 1), FailedJob("a", "x", "", 1)]


async def test_a_queue_that_would_be_asked_for_ever_is_not_asked_again() -> None:
    queue = OutOfOrder()
    with pytest.raises(Problem, match="lists its jobs in no order"):
        await failed_behind("a", queue, OPTIONS)  # type: ignore[arg-type]


def test_what_others_have_said_is_printed_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    job = FailedJob("a\x1b[2J", "code\n", "te\txt", 3)
    print_failed(job, OPTIONS)
    print_failed(job, argparse.Namespace(json=True))
    text, as_json = capsys.readouterr().out.splitlines()
    assert text == "a\\x1b[2J\t3\tcode\\n\tte\\txt"
    assert as_json == '{"id": "a\\u001b[2J", "code": "code\\n", "text": "te\\txt", "attempt": 3}'
