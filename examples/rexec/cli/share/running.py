"""Runs a command for another process, which has passed its standard descriptors; see `messages`."""

import os
import signal
import termios
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress

import anyio

import chanlink

from ...client import BadMessage, Command
from ...messages import shell_status
from ..arguments import Options
from ..descriptors import empty
from ..running import Say, run_for
from ..terminal import raw, size


async def run_shared(
    session: chanlink.Session,
    options: Options,
    descriptors: Sequence[int],
    signals: chanlink.Receiver[str],
    say: Say,
) -> int:
    """Run the command with these descriptors as its standard input and outputs; returns the exit status for the other.

    ``signals`` are those that the other has got, by name. Raises as `running.run_for`.
    """
    if options.no_stdin:
        empty(descriptors[0])
    with anyio.CancelScope() as life:
        return shell_status(await run_for(_Other(descriptors, signals, say, life.cancel), session, options))
    return shell_status(-signal.SIGINT)  # it was given up


class _Other:
    """A `running.Caller`: the process that has passed its descriptors."""

    def __init__(
        self,
        descriptors: Sequence[int],
        signals: chanlink.Receiver[str],
        say: Say,
        give_up: Callable[[], None],
    ) -> None:
        self.descriptors = descriptors
        self.say = say
        self.give_up = give_up
        self._signals = signals

    async def conduct(self, command: Command) -> None:
        async for name in self._signals:
            if name == "SIGWINCH":
                await command.resize(size(self.descriptors))
            else:
                with suppress(BadMessage):
                    await command.signal(name.removeprefix("SIG"))

    def raw(self) -> AbstractContextManager[None] | None:
        """If we are killed, the other process puts it back."""
        terminal = self.descriptors[0]
        return raw(terminal, termios.tcgetattr(terminal)) if os.isatty(terminal) else None
