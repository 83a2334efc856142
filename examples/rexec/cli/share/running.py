"""Runs a command for another process, which has passed its standard descriptors; see `sharing`."""

import os
import termios
import tty
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress

import anyio
from anyio.abc import ByteReceiveStream

import chanlink

from ...client import BadMessage, Command, StartError, detach, run
from ...messages import shell_status
from ...pumps import open_standard_input, open_standard_output
from ..arguments import Options
from ..commands.run import NOT_STARTED, settings_of, words_of
from ..descriptors import empty
from ..terminal import Keyboard, size

Say = Callable[[str, str], Awaitable[None]]
"""Called with ``error`` or ``output``, and a text for the one who called."""


async def run_shared(
    session: chanlink.Session,
    options: Options,
    descriptors: Sequence[int],
    signals: chanlink.Receiver[str],
    say: Say,
) -> int:
    """Run the command with these descriptors as its standard input and outputs; returns the exit status for the other.

    ``signals`` are those that the other has got, by name. Raises as `client.run`, but a `StartError` is said.
    """
    try:
        if options.detach:
            name = await detach(session, words_of(options), options.name or "", **settings_of(options))
            await say("output", name)
            return 0
        return await _run_here(session, options, descriptors, signals, say)
    except StartError as exc:
        await say("error", f"{exc.code}: {exc.text}")
        return NOT_STARTED


async def _run_here(
    session: chanlink.Session,
    options: Options,
    descriptors: Sequence[int],
    signals: chanlink.Receiver[str],
    say: Say,
) -> int:
    async def conduct(command: Command) -> None:
        async for name in signals:
            if name == "SIGWINCH":
                await command.resize(size(descriptors))
            else:
                with suppress(BadMessage):
                    await command.signal(name.removeprefix("SIG"))

    if options.no_stdin:
        empty(descriptors[0])
    async with (
        open_standard_input(descriptors[0]) as stdin,
        open_standard_output(descriptors[1]) as stdout,
        open_standard_output(descriptors[2]) as stderr,
    ):
        with anyio.CancelScope() as life:
            is_terminal = options.terminal and os.isatty(descriptors[0])
            source: ByteReceiveStream = Keyboard(stdin, life.cancel) if is_terminal else stdin
            with raw(descriptors[0]) if is_terminal else nullcontext():
                done = await run(
                    session,
                    words_of(options),
                    stdin=source,
                    stdout=stdout,
                    stderr=stderr,
                    terminal=size(descriptors) if options.terminal else None,
                    beside=conduct,
                    **settings_of(options),
                )
        if life.cancelled_caught:
            return 130
    if done.note:
        await say("error", done.note)
    return shell_status(done.status)


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """A terminal of another process, in raw mode within a block.  If we are killed, that process puts it back."""
    saved = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSADRAIN)
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSANOW, saved)
