"""Brings jobs that are written as JSON to a queue, and prints what becomes of them."""

import argparse
import json
from collections import deque
from typing import Any

import anyio

import chanlink
from chanlink import printable
from chanlink.command.output import note, print_json
from chanlink.command.problems import Problem
from chanlink.patterns import QueueClient, Ticket

from .queue_jobs import AT_ONCE, answered, queue_of
from .stdio import Input

STANDARD_INPUT = "-"
LONGEST_LINE = 64 * 1024 * 1024
"""Bytes: more than a message may have."""


async def submit(options: argparse.Namespace) -> bool:
    """Bring the jobs; with `options.result` wait for what becomes of them. Returns whether none has failed."""
    async with queue_of(options) as queue:
        if options.job == STANDARD_INPUT:
            return await _each_line(queue, options)
        return await _bring(queue, parsed(options.job, "the job"), options)


async def _each_line(queue: QueueClient[Any, Any], options: argparse.Namespace) -> bool:
    """Those before a line that is wrong are brought, too."""
    places, outcomes, lines = anyio.Semaphore(AT_ONCE), set[bool](), Lines()

    async def one(job: Any) -> None:
        try:
            outcomes.add(await _bring(queue, job, options))
        finally:
            places.release()

    problem = None
    async with anyio.create_task_group() as tasks:
        while line := await lines.next():
            try:
                job = parsed(line, f"line {lines.number}")
            except Problem as exc:
                problem = exc
                break
            await places.acquire()
            tasks.start_soon(one, job)
    if problem is not None:
        raise problem
    return False not in outcomes


def parsed(text: str | bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise Problem(f"{where} is no JSON: {exc}; a text has quotes around it there") from exc


async def _bring(queue: QueueClient[Any, Any], job: Any, options: argparse.Namespace) -> bool:
    ticket = await answered(queue.submit(job, id=options.id), options)
    if options.result:
        return await _print_outcome(ticket, options)
    ticket.close()
    if options.json:
        print_json({"id": ticket.id, "new": ticket.new})
    else:
        print(printable(ticket.id), flush=True)
    return True


async def _print_outcome(ticket: Ticket[Any], options: argparse.Namespace) -> bool:
    if options.job != STANDARD_INPUT:  # who brings many looks at the status of the queue
        async for value in ticket.progress():
            note(_written(value, ticket))
    try:
        result = await ticket.result()
    except chanlink.JobFailed as exc:
        print_json({"id": ticket.id, "failed": exc.code, "text": exc.text, "attempt": exc.attempt})
        return False
    print(f'{{"id": {json.dumps(ticket.id)}, "result": {_written(result, ticket)}}}', flush=True)
    return True


def _written(value: Any, ticket: Ticket[Any]) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as exc:
        raise Problem(f"{printable(ticket.id)}: JSON has nothing for what it has brought") from exc


class Lines:
    """The lines of standard input that are not empty."""

    def __init__(self) -> None:
        self.number = 0
        """That of the last one, counted from 1."""
        self._input = Input()
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._ended = False

    async def next(self) -> bytes:
        """The next one; nothing at the end. Raises `Problem` for one that is too long, and `OSError`."""
        while True:
            while self._lines:
                self.number += 1
                if (line := self._lines.popleft()).strip():
                    return line
            if self._ended:
                return b""
            await self._read()

    async def _read(self) -> None:
        data = await self._input.receive()
        self._ended = not data
        *lines, self._rest = (self._rest + (data or b"\n")).split(b"\n")
        self._lines.extend(lines)
        if len(self._rest) > LONGEST_LINE:
            raise Problem(f"line {self.number + len(lines) + 1} is longer than a job may be")
