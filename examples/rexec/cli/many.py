"""One command on many servers: ``rexec run 'web*' -- uptime``.

A task for each server connects, runs the command and writes what comes, a line at a time; as many of them as
``--at-once`` says are at work. What goes wrong with one of them is a line, and nothing to the others. Ctrl-C is passed
on to the commands that run, and no other one is begun; a second one gives them up.
"""

import argparse
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

import anyio
from anyio.abc import TaskGroup

import chanlink

from ..client import Command, Completed, run
from ..logs import log_problems_only
from ..messages import shell_status
from ..words import one_line
from .arguments import Options
from .connecting import Destination, connected_to, destination_of
from .descriptors import FAILED
from .lines import Lines, Outputs, shared_outputs
from .names import hosts_meant
from .running import settings_of, told, words_of
from .signals import heeding

NAMED = 20
"""So many servers of which all was well are named in the last line; of more it says only how many."""


async def run_on_many(options: Options) -> int:
    """Run the command on the servers that are meant; returns the largest of the statuses, as a shell has them.

    Raises `chanlink.ConfigError` before anything is run, and `KeyboardInterrupt` when an interrupt has ended commands.
    """
    log_problems_only()
    us = chanlink.Identity.load(options.identity) if options.identity else None
    places = [destination_of(options, host) for host in await hosts_meant(options.address, us)]
    options.ask = _in_turn(options.ask)
    async with shared_outputs() as outputs:
        runs = [_Run(where, options, outputs) for where in places]
        interrupted = await _run_all(runs, options.at_once)
        with suppress(OSError, anyio.BrokenResourceError):
            await outputs.stderr.send(f"rexec: {_summary(runs)}\n".encode(errors="replace"))
    if interrupted and any(one.status in (None, -signal.SIGINT) for one in runs):
        raise KeyboardInterrupt  # as if they had run here: a script that runs us ends, too
    return max(shell_status(one.status or 0) for one in runs)


def _in_turn(ask: Callable[[str], Awaitable[bool]]) -> Callable[[str], Awaitable[bool]]:
    """Questions about servers that are not known, one after the other."""
    turn = anyio.Lock()

    async def ask_in_turn(question: str) -> bool:
        async with turn:
            return await ask(question)

    return ask_in_turn


async def _run_all(runs: Sequence["_Run"], at_once: int) -> bool:
    """Run all of them; returns whether we were interrupted."""
    room = anyio.Semaphore(at_once)
    interrupts = 0

    async def heed(tasks: TaskGroup) -> None:
        nonlocal interrupts
        async for _ in signals:
            interrupts += 1
            for one in runs:
                one.interrupt(tasks)
            if interrupts > 1:
                life.cancel()

    with heeding(signal.SIGINT) as signals, anyio.CancelScope() as life:
        # A connection may hang while it is told of an interrupt: the next one counts all the same.
        async with anyio.create_task_group() as telling:
            telling.start_soon(heed, telling)
            async with anyio.create_task_group() as tasks:
                for one in runs:
                    tasks.start_soon(one.run, room)
            telling.cancel_scope.cancel()
    return interrupts > 0


class _Run:
    """The command on one of the servers."""

    def __init__(self, where: Destination, options: Options, outputs: Outputs) -> None:
        self.where = where
        self.status: int | None = None
        """That of the command, ``-n`` for signal n, or `FAILED`; None when it was given up, or never begun."""
        self.failed = False
        """Whether the status is one of ours."""
        user = options.user or where.user
        self._options = argparse.Namespace(**{**vars(options), "user": user})
        self._stdout = Lines(where.name, outputs.stdout)
        self._stderr = Lines(where.name, outputs.stderr)
        self._scope = anyio.CancelScope()
        self._command: Command | None = None
        self._ended = False

    async def run(self, room: anyio.Semaphore) -> None:
        """Run it, when there is room for one more."""
        with self._scope:
            async with room:
                await self._try()

    def interrupt(self, tasks: TaskGroup) -> None:
        """Ctrl-C: told to a command that runs, and the end of what has not begun."""
        if self._command is None:
            self._scope.cancel()
        elif not self._ended:
            tasks.start_soon(self._command.signal, "INT")

    async def _try(self) -> None:
        try:
            async with connected_to(self.where, self._options) as session:
                self.status = await told(self._say, session, self._options, partial(self._run_here, session))
        except Exception as exc:
            problem = self._options.explain(exc, self._options)
            if problem is None:
                raise
            self.status, self.failed = FAILED, True
            await self._say("error", problem.removeprefix(f"{self.where.name}: "))

    async def _run_here(self, session: chanlink.Session) -> Completed:
        try:
            return await run(
                session,
                words_of(self._options),
                stdout=self._stdout,
                stderr=self._stderr,
                beside=self._conduct,
                **settings_of(self._options),
            )
        finally:
            self._ended = True
            with suppress(OSError, anyio.BrokenResourceError):
                await self._stdout.finish()
                await self._stderr.finish()

    async def _conduct(self, command: Command) -> None:
        self._command = command
        await anyio.sleep_forever()

    async def _say(self, kind: str, text: str) -> None:
        if kind == "output":
            await self._stdout.send(f"{text}\n".encode(errors="replace"))
            return
        with suppress(OSError, anyio.BrokenResourceError):
            await self._stderr.send(f"rexec: {one_line(text)}\n".encode(errors="replace"))

    @property
    def outcome(self) -> str:
        """In a word or two."""
        match self.status:
            case None:
                return "given up"
            case _ if self.failed:
                return "failed"
            case status if status < 0:
                return f"signal {-status}"
            case status:
                return f"exit {status}"


def _summary(runs: Sequence[_Run]) -> str:
    """Which servers had which outcome: what went well first."""
    names: dict[str, list[str]] = {}
    for one in sorted(runs, key=lambda one: (one.failed, one.status is None, abs(one.status or 0))):
        names.setdefault(one.outcome, []).append(one_line(one.where.name))
    return "; ".join(f"{outcome}: {_listed(outcome, group)}" for outcome, group in names.items())


def _listed(outcome: str, names: Sequence[str]) -> str:
    return f"{len(names)} servers" if outcome == "exit 0" and len(names) > NAMED else ", ".join(names)
