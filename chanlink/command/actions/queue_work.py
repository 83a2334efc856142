"""Runs a command for each job of a queue.

What the job is goes to its standard input as JSON. Each line that it prints is how far it is, and the last one is the
result: the value of that line if it is JSON, and its text otherwise.
"""

import argparse
import json
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

import chanlink
from chanlink import printable
from chanlink.command.interrupts import ENDING, heeding
from chanlink.command.output import note
from chanlink.command.sessions import reconnecting
from chanlink.patterns import Job, Jobs, queue_client

ALIVE = 10.0
"""Seconds after which the queue hears again that a command goes on, however little it prints."""
LONGEST_LINE = 1024 * 1024
LONGEST_TEXT = 1_000
NO_USE = os.EX_DATAERR
"""The exit status of a command that says: another attempt would end as this one."""
LONGEST_PAUSE = 60.0
"""Seconds before another attempt, at most; the first pause is one second, and each is twice the one before."""


async def work(options: argparse.Namespace) -> None:
    """Run the command for each job until interrupted, and then until those that run have ended."""
    async with reconnecting(options) as link:
        jobs = queue_client(link, options.service).jobs(slots=options.slots)
        with heeding(*ENDING) as signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_stop, jobs, signals, tasks.cancel_scope)
                note(f"waits for jobs of {options.service}")
                async with jobs, anyio.create_task_group() as attempts:
                    async for job in jobs:
                        attempts.start_soon(attempt, job, options.program)
                tasks.cancel_scope.cancel()


async def _stop(jobs: Jobs[Any, Any], signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope) -> None:
    """At the first signal ask for no more jobs, at the second one end those that run."""
    await anext(signals)
    note("stopping: jobs that run may end; once more cuts that short")
    jobs.stop()
    await anext(signals)
    scope.cancel()


async def attempt(job: Job[Any, Any], command: Sequence[str]) -> None:
    """One attempt, with its outcome; nothing that is wrong with it touches the others."""
    async with job:
        try:
            counts = await _outcome(job, command)
        except chanlink.MessageError as exc:  # what it has printed can't be sent
            counts = await job.fail("bad-result", str(exc))
        if not counts:
            note(f"{printable(job.id)}: it has another outcome by now")


async def _outcome(job: Job[Any, Any], command: Sequence[str]) -> bool:
    """Run the command, and say what became of the job; returns whether that counts."""
    try:
        given = json.dumps(job.value).encode()
    except (TypeError, ValueError):
        return await job.fail("bad-job", "JSON has nothing for what is in it")
    printed = _Printed(job)
    try:
        async with running(command, job) as process:
            status = await printed.read(process, given)
    except OSError as exc:
        return await _again(job, "not-run", str(exc))
    if status == 0:
        return await job.done(printed.value)
    if status == NO_USE:
        return await job.fail(f"exit-{status}", printed.text[:LONGEST_TEXT])
    return await _again(job, f"exit-{status}" if status > 0 else f"signal-{-status}", printed.text[:LONGEST_TEXT])


async def _again(job: Job[Any, Any], code: str, text: str) -> bool:
    pause = min(2.0 ** min(job.attempt - 1, 10), LONGEST_PAUSE)
    note(f"{printable(job.id)}: {code} at attempt {job.attempt}")
    return await job.retry(pause, code, text)


@asynccontextmanager
async def running(command: Sequence[str], job: Job[Any, Any]) -> AsyncGenerator[Process, None]:
    """The command. When this is left early, it is killed, with all that it has started."""
    about = {"CHANLINK_JOB_ID": printable(job.id), "CHANLINK_JOB_ATTEMPT": str(job.attempt)}
    with anyio.CancelScope(shield=True):  # cancelled in there, what it has started already would not be killed
        process = await anyio.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            env={**os.environ, **about},
            start_new_session=True,  # Ctrl-C is for us: what runs may end
        )
    async with process:
        try:
            yield process
        except BaseException:
            _kill(process)
            raise


def _kill(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


class _Printed:
    """What a command has printed: the newest line, told to the queue as progress."""

    def __init__(self, job: Job[Any, Any]) -> None:
        self._job = job
        self._told = anyio.current_time()
        self.text = ""

    @property
    def value(self) -> Any:
        """That of the newest line; None if there is none."""
        try:
            return json.loads(self.text) if self.text else None
        except (ValueError, RecursionError):
            return self.text

    async def read(self, process: Process, given: bytes) -> int:
        """Give it its input, and read until it has ended; returns its status. Too long a line is its end."""
        assert process.stdin is not None
        assert process.stdout is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_feed, process.stdin, given)
            tasks.start_soon(self._stay_alive)
            if not await self._read_lines(process.stdout):
                _kill(process)
            status = await process.wait()
            tasks.cancel_scope.cancel()
        return status

    async def _read_lines(self, stream: ByteReceiveStream) -> bool:
        rest = b""
        async for piece in stream:
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LONGEST_LINE:
                self.text = f"it has printed a line of more than {LONGEST_LINE:,} bytes"
                return False
            if lines:
                await self._tell(lines[-1])
        if rest:
            await self._tell(rest)
        return True

    async def _stay_alive(self) -> None:
        while True:
            await anyio.sleep_until(self._told + ALIVE)
            if anyio.current_time() - self._told >= ALIVE:
                await self._tell(self.text.encode())

    async def _tell(self, line: bytes) -> None:
        self._told = anyio.current_time()
        self.text = line.decode(errors="replace")
        try:
            await self._job.progress(self.value)
        except chanlink.MessageError:  # JSON has it, and a message has not
            await self._job.progress()


async def _feed(stream: ByteSendStream, data: bytes) -> None:
    with suppress(anyio.BrokenResourceError):  # a command need not read it
        await stream.send(data)
    await stream.aclose()
