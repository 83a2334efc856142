"""``rexec run``: run a command on a server, or on many."""

import signal
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from ..arguments import Options
from ..connecting import Destination, connected_to, destination
from ..descriptors import complain, empty
from ..interrupts import Signalled
from ..names import means_many
from ..run_options import add_run, check

ENDS = signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT
"""What ends us, and the command with us."""

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    import chanlink

    from ...client import Command
    from ..terminal import Restorer


def add(commands: Any) -> None:
    add_run(commands, action)


def action(options: Options) -> int:
    from ..loop import run_loop, run_quick

    check(options)
    if means_many(options.address):
        from ..many import run_on_many

        return run_loop(run_on_many, options)
    if options.no_stdin:
        empty(0)
    if not options.terminal:
        return run_quick(_run, options, None)

    from ..terminal import keeping_terminal

    with keeping_terminal() as restorer:
        return run_quick(_run, options, restorer)


async def _run(options: Options, restorer: "Restorer | None") -> int:
    import anyio

    from ...attempts import Attempt
    from ...messages import shell_status

    where = destination(options, options.address)
    options.user = options.user or where.user
    caller = _Ourselves(where.name, restorer, resumes=options.resume > 0)
    running = Attempt(_run_over_session, where, options, caller)
    async with anyio.create_task_group() as caller.leaving:
        with caller.life:
            await running()
        caller.leaving.cancel_scope.cancel()
    if caller.ended_by is not None:
        raise Signalled(caller.ended_by)
    if caller.life.cancel_called:
        raise KeyboardInterrupt
    status = running.result()
    if caller.interrupts and status == -signal.SIGINT:  # as if it had run here: a script that runs us ends, too
        raise KeyboardInterrupt
    return shell_status(status)


async def _run_over_session(where: Destination, options: Options, caller: "_Ourselves") -> int:
    from ..running import run_for

    async with connected_to(where, options) as caller.session:
        return await run_for(caller, caller.session, options)


class _Ourselves:
    """A `running.Caller`."""

    descriptors = (0, 1, 2)

    leaving: "TaskGroup"
    """Goes on for a moment when `life` is over."""
    session: "chanlink.Session"

    def __init__(self, name: str, restorer: "Restorer | None", *, resumes: bool) -> None:
        import anyio

        self.life = anyio.CancelScope()
        self.interrupts = 0
        self.ended_by: signal.Signals | None = None
        """The signal that has ended us, if it was another one."""
        self._name = name
        self._restorer = restorer
        self._resumes = resumes

    def give_up(self) -> None:
        from ..away import abort_soon

        self.life.cancel()
        self.leaving.start_soon(abort_soon, self.session)

    async def conduct(self, command: "Command") -> None:
        import anyio

        from ..signals import heeding

        heeded = [signal.SIGINT, signal.SIGWINCH, signal.SIGCONT]
        if self._resumes:  # else they end us without a word, and the end of the connection says it
            heeded += ENDS
        with heeding(*heeded) as signals:
            # The connection may hang: the next signal counts all the same.
            async with anyio.create_task_group() as telling:
                if self._resumes:
                    telling.start_soon(self._tell_breaks)
                async for number in signals:
                    self._heed(number, command, telling)

    def _heed(self, number: signal.Signals, command: "Command", telling: "TaskGroup") -> None:
        from ..terminal import size

        if number in ENDS:
            self.ended_by = number
            self.give_up()
            return
        if number == signal.SIGCONT:
            self.session.check()  # the network may be another one than when we were stopped
            if self._restorer is not None:
                self._restorer.continued()
        if number in (signal.SIGWINCH, signal.SIGCONT):
            telling.start_soon(command.resize, size())
            return
        self.interrupts += 1
        if self.interrupts > 1:
            self.give_up()
        telling.start_soon(command.signal, "INT")

    async def _tell_breaks(self) -> None:
        from ..away import tell_breaks

        raw = self._restorer is not None
        way_out = "~. at the beginning of a line" if raw else "Ctrl-C twice"
        await tell_breaks(self.session, self._name, way_out, partial(complain, raw=raw))

    def raw(self) -> AbstractContextManager[None] | None:
        return None if self._restorer is None else self._restorer.raw()

    async def say(self, kind: str, text: str) -> None:
        from ..explaining import complain

        if kind == "error":
            complain(text)
        else:
            print(text)
