"""``rexec run``: run a command on a server."""

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ..arguments import Options
from ..connecting import connected_to, destination
from ..descriptors import empty
from ..run_options import add_run, check

if TYPE_CHECKING:
    from ...client import Command
    from ..terminal import Restorer


def add(commands: Any) -> None:
    add_run(commands, action)


def action(options: Options) -> int:
    from ..loop import run_quick

    check(options)
    if options.no_stdin:
        empty(0)
    if not options.terminal:
        return run_quick(_run, options, None)

    from ..terminal import keeping_terminal

    with keeping_terminal() as restorer:
        return run_quick(_run, options, restorer)


async def _run(options: Options, restorer: "Restorer | None") -> int:
    import anyio

    from ...messages import shell_status
    from ..running import run_for

    with anyio.CancelScope() as given_up:
        where = destination(options, options.address)
        options.user = options.user or where.user
        caller = _Ourselves(given_up.cancel, restorer)
        async with connected_to(where, options) as session:
            status = await run_for(caller, session, options)
        if caller.interrupts and status == -signal.SIGINT:  # as if it had run here: a script that runs us ends, too
            raise KeyboardInterrupt
        return shell_status(status)
    raise KeyboardInterrupt


class _Ourselves:
    """A `running.Caller`."""

    descriptors = (0, 1, 2)

    def __init__(self, give_up: Callable[[], None], restorer: "Restorer | None") -> None:
        self.give_up = give_up
        self.interrupts = 0
        self._restorer = restorer

    async def conduct(self, command: "Command") -> None:
        import anyio

        from ..signals import heeding
        from ..terminal import size

        with heeding(signal.SIGINT, signal.SIGWINCH, signal.SIGCONT) as signals:
            # The connection may hang: the next signal counts all the same.
            async with anyio.create_task_group() as telling:
                async for number in signals:
                    if number == signal.SIGCONT and self._restorer is not None:
                        self._restorer.continued()
                    if number in (signal.SIGWINCH, signal.SIGCONT):
                        telling.start_soon(command.resize, size())
                        continue
                    self.interrupts += 1
                    if self.interrupts > 1:
                        self.give_up()
                    telling.start_soon(command.signal, "INT")

    def raw(self) -> AbstractContextManager[None] | None:
        return None if self._restorer is None else self._restorer.raw()

    async def say(self, kind: str, text: str) -> None:
        from ..explaining import complain

        if kind == "error":
            complain(text)
        else:
            print(text)
