"""Runs the command of ``rexec run``: for ourselves, or for another process that has passed its descriptors."""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Protocol

from anyio.abc import ByteReceiveStream, ByteSendStream

import chanlink

from ..client import Command, Completed, Settings, StartError, detach, run
from ..pumps import open_standard_input, open_standard_output
from ..words import Word
from .arguments import Options

Say = Callable[[str, str], Awaitable[None]]
"""Called with ``error`` or ``output``, and a text for whoever called."""
NOT_STARTED = 127
"""The status of a command that can't be started, as in a shell."""


class Caller(Protocol):
    """Whoever wants the command run."""

    @property
    def descriptors(self) -> Sequence[int]:
        """What its standard input and outputs are to be."""

    async def conduct(self, command: Command) -> None:
        """Pass on to the command what signals tell the caller; it is cancelled when the command has ended."""

    def raw(self) -> AbstractContextManager[None] | None:
        """The terminal that is the input, in raw mode; None if the input is no terminal."""

    def give_up(self) -> None:
        """What ``~.`` asks for at a terminal."""

    def say(self, kind: str, text: str, /) -> Awaitable[None]:
        """Tell the caller something: it is an ``error``, or ``output``."""


async def run_for(caller: Caller, session: chanlink.Session, options: Options) -> int:
    """Run the command that the options name, or start it detached; returns its status, ``-n`` for signal n.

    Raises as `client.run`, except that a `StartError` is told to the caller.
    """
    return await told(caller.say, session, options, partial(_run_here, caller, session, options))


async def told(
    say: Say, session: chanlink.Session, options: Options, run_it: Callable[[], Awaitable[Completed]]
) -> int:
    """As `run_for`, for a caller of whom there is only what tells it something; ``run_it`` is not for detached ones."""
    try:
        if options.detach:
            name = await detach(session, words_of(options), options.name or "", **settings_of(options))
            await say("output", name)
            return 0
        done = await run_it()
    except StartError as exc:
        await say("error", f"{exc.code}: {exc.text}")
        return NOT_STARTED
    if done.note:
        await say("error", done.note)
    return done.status


async def _run_here(caller: Caller, session: chanlink.Session, options: Options) -> Completed:
    """With the descriptors of the caller as its standard input and outputs."""
    async with (
        open_standard_input(caller.descriptors[0]) as own_input,
        open_standard_output(caller.descriptors[1]) as own_output,
        open_standard_output(caller.descriptors[2]) as stderr,
    ):
        with ExitStack() as modes:
            stdin: ByteReceiveStream = own_input
            stdout: ByteSendStream = own_output
            terminal = None
            if options.progress:
                from .progress import counted

                stdin, stdout = modes.enter_context(counted(stdin, stdout))
            if options.terminal:
                from .terminal import Keyboard, size

                terminal = size(caller.descriptors)
                if (raw := caller.raw()) is not None:
                    modes.enter_context(raw)
                    stdin = Keyboard(stdin, caller.give_up)
            return await run(
                session,
                words_of(options),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                terminal=terminal,
                beside=caller.conduct,
                **settings_of(options),
            )


def words_of(options: Options) -> list[bytes]:
    """The command as the bytes that it was called with: a `str` would be what the locale here makes of them."""
    words = [os.fsencode(word) for word in options.words]
    return [b"/bin/sh", b"-c", b" ".join(words)] if options.shell else words


def settings_of(options: Options) -> Settings:
    """What the options say of the command besides its words."""
    environment: dict[Word, Word] = {os.fsencode(name): os.fsencode(value) for name, value in options.environment}
    if options.terminal and b"TERM" in os.environb:
        environment.setdefault(b"TERM", os.environb[b"TERM"])
    return {
        "directory": None if options.directory is None else os.fsencode(options.directory),
        "environment": environment,
        "user": options.user,
        "limits": dict(options.limits),
    }
