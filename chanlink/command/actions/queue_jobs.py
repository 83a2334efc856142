"""Looks into a queue somewhere else, and changes what becomes of its jobs."""

import argparse
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio

import chanlink
from chanlink import printable
from chanlink.command.output import print_json
from chanlink.command.problems import Problem
from chanlink.command.sessions import connected
from chanlink.patterns import FailedJob, QueueClient, queue_client

from .counting import Counter

PAGE = 1_000
"""Failed jobs to ask for at a time, which is the most that a queue gives."""
AT_ONCE = 100
"""Requests under way: so many of them take hardly more time than one."""
UNKNOWN = "unknown"

T = TypeVar("T")
Change = Callable[[str], Awaitable[str]]
"""Changes the job of this id; returns what it is then."""


@asynccontextmanager
async def queue_of(options: argparse.Namespace) -> AsyncGenerator[QueueClient[Any, Any], None]:
    """The queue at `options.address`."""
    async with connected(options) as session:
        yield queue_client(session, options.service)


async def answered(answer: Awaitable[T], options: argparse.Namespace) -> T:
    """What a queue answers. Raises `Problem` if that takes longer than connecting may."""
    try:
        with anyio.fail_after(options.timeout):
            return await answer
    except TimeoutError as exc:
        raise Problem(f"{options.address}: the queue did not answer within {options.timeout:g} s") from exc


# --- what has failed ------------------------------------------------------------------------------


async def failed_behind(after: str, queue: QueueClient[Any, Any], options: argparse.Namespace) -> list[FailedJob]:
    """The next jobs that have failed, by their ids; none at the end. One that fails meanwhile may be among them."""
    page = await answered(queue.failed(after, PAGE), options)
    if page and page[-1].id <= after:
        raise Problem(f"{options.address}: the queue lists its jobs in no order; it is none that this version knows")
    return page


def print_failed(job: FailedJob, options: argparse.Namespace) -> None:
    """One line."""
    if options.json:
        print_json(job._asdict())
    else:
        print("\t".join([printable(job.id), str(job.attempt), printable(job.code), printable(job.text)]))


# --- changes --------------------------------------------------------------------------------------


async def change_each(change: Change, ids: Sequence[str], options: argparse.Namespace) -> bool:
    """Change these jobs, and print what each is then, in their order; returns whether the queue knew all of them."""
    known = True
    with Counter(len(ids)) as counter:
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            for id, state in zip(some, await _change(change, some, options), strict=True):
                known = known and state != UNKNOWN
                counter.aside()
                if options.json:
                    print_json({"id": id, "state": state})
                else:
                    print(f"{printable(id)}\t{printable(state)}")
            counter.add(len(some))
    return known


async def retry_all(queue: QueueClient[Any, Any], options: argparse.Namespace) -> int:
    """Let all jobs that have failed wait again; returns how many these are."""
    count = 0
    with Counter(None) as counter:
        page = await failed_behind("", queue, options)
        while page:
            for start in range(0, len(page), AT_ONCE):
                ids = [job.id for job in page[start : start + AT_ONCE]]
                states = await _change(queue.retry, ids, options)
                count += sum(state != UNKNOWN for state in states)
                counter.add(len(ids))
            page = await failed_behind(page[-1].id, queue, options)
    return count


async def _change(change: Change, ids: Sequence[str], options: argparse.Namespace) -> list[str]:
    states = dict.fromkeys(ids, UNKNOWN)

    async def one(id: str) -> None:
        try:
            states[id] = await answered(change(id), options)
        except chanlink.JobRefused as exc:
            if exc.code != "unknown-job":
                raise

    async with anyio.create_task_group() as tasks:
        for id in states:
            tasks.start_soon(one, id)
    return [states[id] for id in ids]
