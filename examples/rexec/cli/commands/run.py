"""``rexec run``: run a command on a server."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from ..arguments import Options, add_command
from ..connecting import SERVER, add_connection, connected_to, destination, explain_client
from ..descriptors import empty
from ..share.options import add_sharing

if TYPE_CHECKING:
    import chanlink

    from ...client import Command, Settings
    from ...messages import Word
    from ..terminal import Restorer

NOT_STARTED = 127
"""The exit status of a command that can't be started, as in a shell."""

NOTES = """\
The words after -- reach the command exactly as they are; there is no shell unless --shell is given. stdin, stdout and
stderr are the command's. The exit status is that of the command; 128 + n if signal n ended it, 127 if it can't be
started, 255 for errors of rexec and of the connection. It comes when both outputs have ended; a process that the
command has left behind and that says nothing is waited for ten seconds.

Standard input is read as it comes, also what a loop around rexec wanted to read: -n leaves it alone.

Ctrl-C is passed on to the command; a second one gives it up. A command that is given up, or whose connection is lost,
gets TERM with all its children, and KILL after five seconds (rexec serve --grace).

With -t the command has a terminal, and what you type goes to it as it is. "~." at the beginning of a line gives up.

examples:
  rexec run --peer server.pub tcp://build:9323 -- make -j8
  rexec run --peer "$(cat server.pub)" unix:/run/rexec.sock -- sha256sum < big.iso
  rexec run -C /var/log -e LC_ALL=C --shell tcp://build -- 'ls *.log | wc -l'
  rexec run -t tcp://build -- bash
  rexec run --limit memory=2G --limit time=10m tcp://build -- ./test
  rexec run --detach --name nightly tcp://build -- make world     (see rexec ps, rexec attach, rexec kill)
"""


def add(commands: Any) -> None:
    run = add_command(
        commands,
        "run",
        action,
        explain_client,
        help="run a command",
        description="Run a command on a server.",
        epilog=NOTES,
        takes_words=True,
        usage="rexec run [OPTION]... ADDRESS -- COMMAND [ARGUMENT]...",
    )
    run.add_argument("address", metavar="ADDRESS", help=SERVER)
    add_connection(run)
    add_sharing(run)
    run.add_argument("-C", "--directory", metavar="FOLDER", help="run the command there")
    run.add_argument(
        "-e",
        "--environment",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        type=_variable,
        help="set a variable for the command; may be given several times",
    )
    run.add_argument("--user", metavar="NAME", help="run the command as this user, if the server may do that")
    run.add_argument(
        "--limit",
        metavar="NAME=MOST",
        action="append",
        default=[],
        type=_limit,
        dest="limits",
        help="what it may use: processor=10m, memory=2G, files=100, processes=50, time=1h; may be given several times",
    )
    run.add_argument("--shell", action="store_true", help="join the words and give them to /bin/sh -c")
    run.add_argument("--progress", action="store_true", help="show how much goes in and out, if that is no terminal")
    run.add_argument(
        "-n", "--no-stdin", action="store_true", help="let the command's input be empty, and leave ours to others"
    )
    run.add_argument("-t", "--terminal", action="store_true", help="give the command a terminal")
    run.add_argument("--detach", action="store_true", help="leave it running, and print the name that it runs under")
    run.add_argument("--name", metavar="NAME", help="the name, with --detach")


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


def check(options: Options) -> None:
    """Options that exclude each other are a mistake, which ends the program."""
    if options.name is not None and not options.detach:
        options.parser.error("--name is for --detach")
    if options.progress and options.share:
        options.parser.error("a shared session shows no progress: --progress and --share exclude each other")
    if options.terminal and options.no_stdin:
        options.parser.error("a terminal is for input: -t and -n exclude each other")
    if options.terminal and options.detach:
        options.parser.error("a command that runs detached has no terminal: -t and --detach exclude each other")


async def _run(options: Options, restorer: "Restorer | None") -> int:
    import anyio

    from ...messages import StartError
    from ..explaining import complain

    with anyio.CancelScope() as given_up:
        where = destination(options, options.address)
        options.user = options.user or where.user
        async with connected_to(where, options) as session:
            try:
                if options.detach:
                    return await _detach(session, options)
                return await _run_here(session, options, restorer, given_up)
            except StartError as exc:
                complain(f"{exc.code}: {exc.text}")
                return NOT_STARTED
    raise KeyboardInterrupt


async def _detach(session: "chanlink.Session", options: Options) -> int:
    from ...client import detach

    print(await detach(session, words_of(options), options.name or "", **settings_of(options)))
    return 0


async def _run_here(session: "chanlink.Session", options: Options, restorer: "Restorer | None", given_up: Any) -> int:
    """Run the command with our own standard input and outputs."""
    from contextlib import ExitStack

    from ...client import run
    from ...messages import shell_status
    from ...pumps import open_standard_input, open_standard_output
    from ..explaining import complain

    conductor = _Conductor(given_up.cancel, restorer)
    async with (
        open_standard_input() as stdin,
        open_standard_output(1) as stdout,
        open_standard_output(2) as stderr,
    ):
        with ExitStack() as modes:
            terminal = None
            if options.progress:
                from ..progress import counted

                stdin, stdout = modes.enter_context(counted(stdin, stdout))  # type: ignore[assignment]
            if options.terminal:
                from ..terminal import Keyboard, size

                terminal = size()
                if restorer is not None:
                    modes.enter_context(restorer.raw())
                    stdin = Keyboard(stdin, given_up.cancel)  # type: ignore[assignment]
            done = await run(
                session,
                words_of(options),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                terminal=terminal,
                beside=conductor.conduct,
                **settings_of(options),
            )
    if done.note:
        complain(done.note)
    if conductor.interrupts and done.status == -2:  # as if it had run here: a script that runs us ends, too
        raise KeyboardInterrupt
    return shell_status(done.status)


class _Conductor:
    """Passes on what is said to us by signals."""

    def __init__(self, give_up: Any, restorer: "Restorer | None") -> None:
        self._give_up = give_up
        self._restorer = restorer
        self.interrupts = 0

    async def conduct(self, command: "Command") -> None:
        import signal

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
                        self._give_up()
                    telling.start_soon(command.signal, "INT")


def words_of(options: Options) -> list[bytes]:
    """The command as the bytes that it was called with: a `str` would be what the locale here makes of them."""
    words = [os.fsencode(word) for word in options.words]
    return [b"/bin/sh", b"-c", b" ".join(words)] if options.shell else words


def settings_of(options: Options) -> "Settings":
    environment: dict[Word, Word] = {os.fsencode(name): os.fsencode(value) for name, value in options.environment}
    if options.terminal and b"TERM" in os.environb:
        environment.setdefault(b"TERM", os.environb[b"TERM"])
    return {
        "directory": None if options.directory is None else os.fsencode(options.directory),
        "environment": environment,
        "user": options.user,
        "limits": dict(options.limits),
    }


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _limit(text: str) -> tuple[str, int]:
    from ...limits import read_limit

    name, _, most = text.partition("=")
    try:
        return name, read_limit(name, most)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
