"""A command for each job."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from chanlink import JobFailed
from chanlink.command.actions import queue_work
from chanlink.command.actions.queue_work import LONGEST_LINE, attempt, running
from chanlink.patterns import Ticket, WorkQueue, work_queue
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def working(queue: WorkQueue[Any, Any], *command: str) -> AsyncIterator[None]:
    async def work() -> None:
        async with queue.jobs(slots=2) as jobs, anyio.create_task_group() as attempts:
            async for job in jobs:
                attempts.start_soon(attempt, job, command)

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            yield
            tasks.cancel_scope.cancel()


async def outcome_of(job: Any, *command: str) -> Any:
    async with work_queue(attempts=1) as queue, working(queue, *command):
        ticket = await queue.submit(job, id="one")
        try:
            return await ticket.result()
        except JobFailed as exc:
            return exc


def shell(text: str) -> tuple[str, ...]:
    return "sh", "-c", text


@pytest.mark.parametrize(
    ("printed", "result"),
    [
        ("", None), ("42", 42), ('{"a": [1, 2]}\\n', {"a": [1, 2]}), ("some words\\n", "some words"), ("1\\n2\\n3", 3),
        ("\\n", None), ("\\377\\n", "\N{REPLACEMENT CHARACTER}"), ('"text"', "text"), ("x\\r\\n", "x\r"),
    ],
)  # fmt: skip
async def test_the_last_line_that_it_prints_is_the_result(printed: str, result: Any) -> None:
    assert await outcome_of(None, *shell(f"printf '{printed}'")) == result


async def test_a_command_gets_the_job_as_json_and_its_id_and_attempt() -> None:
    job = {"page": [1, None, "é"]}
    told = "import json, os, sys; print(json.dumps([json.load(sys.stdin), os.environ['CHANLINK_JOB_ID'], "
    told += "os.environ['CHANLINK_JOB_ATTEMPT']]))"
    assert await outcome_of(job, sys.executable, "-c", told) == [job, "one", "1"]


async def test_a_command_need_not_read_its_job() -> None:
    assert await outcome_of("x" * 1_000_000, *shell("exec <&-; echo 1")) == 1


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        (shell("echo it is gone; exit 65"), "exit-65", "it is gone"),
        (shell("echo no; exit 3"), "attempts-used-up", "exit-3"),
        (shell("kill -9 $$"), "attempts-used-up", "signal-9"),
        (shell(f"head -c {LONGEST_LINE + 100_000} /dev/zero; sleep 1000"), "attempts-used-up", "signal-9"),
        (("/nowhere/command",), "attempts-used-up", "not-run"),
        (shell("echo 100000000000000000000000000"), "bad-result", ""),
    ],
)
async def test_a_command_that_fails_is_another_attempt_or_the_end(
    command: tuple[str, ...], code: str, text: str
) -> None:
    outcome = await outcome_of(None, *command)
    assert isinstance(outcome, JobFailed)
    assert outcome.code == code
    assert text in outcome.text


async def test_a_job_that_is_no_json_fails() -> None:
    outcome = await outcome_of(b"bytes", "true")
    assert isinstance(outcome, JobFailed)
    assert outcome.code == "bad-job"


async def test_what_it_prints_is_heard_while_it_runs_and_again_when_it_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_work, "ALIVE", 0.05)
    command = shell(f"echo 0.25; until test -e {tmp_path}/go; do sleep 0.01; done; echo 1")
    heard: list[Any] = []
    async with work_queue(silence=1, attempts=1) as queue, working(queue, *command):
        ticket = await queue.submit(None)
        async for value in ticket.progress():
            heard.append(value)
            if len(heard) == 30:  # longer than the silence of the queue
                (tmp_path / "go").touch()
        assert await ticket.result() == 1
    assert {0.25} <= set(heard[:-1]) <= {None, 0.25}  # None: before it has printed anything


async def test_a_command_whose_job_was_cancelled_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    command = shell(f"sleep 1000 & echo $! > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; wait")
    async with work_queue() as queue, working(queue, *command):
        ticket = await queue.submit(None)
        while not (tmp_path / "pid").exists():
            await anyio.sleep(0.01)
        await ticket.cancel()
        while runs(int((tmp_path / "pid").read_text())):
            await anyio.sleep(0.01)


async def test_a_command_is_killed_also_if_its_job_was_cancelled_while_it_was_started() -> None:
    with anyio.fail_after(PATIENCE):
        async with work_queue() as queue, queue.jobs() as jobs:
            await queue.submit(None)
            with anyio.CancelScope() as scope:
                job = await anext(jobs)
                scope.cancel()
                async with running(["sleep", "1000"], job) as process:
                    await anyio.sleep_forever()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def runs(pid: int) -> bool:
    try:
        return f"{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]}" != "Z"
    except FileNotFoundError:
        return False


async def test_the_next_attempt_says_so() -> None:
    command = shell('test "$CHANLINK_JOB_ATTEMPT" = 2 && echo 2')
    async with work_queue(attempts=2) as queue, working(queue, *command):
        ticket: Ticket[Any] = await queue.submit(None)
        assert await ticket.result() == 2
