"""``rexec run``: run a command on a server."""

import argparse
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from examples.rexec.arguments import Options, add_command
from examples.rexec.connecting import SERVER, add_connection, connected, explain_client

if TYPE_CHECKING:
    import chanlink

NOT_STARTED = 127
"""The exit status of a command that can't be started, as in a shell."""

NOTES = """\
The words after -- reach the command exactly as they are; there is no shell unless --shell is given. stdin, stdout and
stderr are the command's. The exit status is that of the command; 128 + n if signal n ended it, 127 if it can't be
started, 255 for errors of rexec and of the connection. Interrupted, rexec stops the command.

examples:
  rexec run --peer server.pub tcp://build:9323 -- make -j8
  rexec run --peer "$(cat server.pub)" unix:/run/rexec.sock -- sha256sum < big.iso
  rexec run -C /var/log -e LC_ALL=C --shell tcp://build -- 'ls *.log | wc -l'
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
    run.add_argument(
        "--share",
        action="store_true",
        help="run the command over a session that is kept open, and leave it open for the next call (see: rexec share)",
    )
    run.add_argument(
        "--share-for",
        metavar="SECONDS",
        type=_seconds,
        default=600.0,
        help="how long a shared session is kept when nobody uses it (default: 600)",
    )
    run.add_argument("--shell", action="store_true", help="join the words and give them to /bin/sh -c")


def action(options: Options) -> int:
    import anyio

    return anyio.run(_run, options)


async def _run(options: Options) -> int:
    from examples.rexec.explaining import complain
    from examples.rexec.messages import StartError, shell_status

    async with connected(options) as session:
        try:
            return shell_status(await run_here(session, options))
        except StartError as exc:
            complain(f"{exc.code}: {exc.text}")
            return NOT_STARTED


async def run_shared(
    session: "chanlink.Session",
    options: Options,
    descriptors: Sequence[int],
    signals: "chanlink.Receiver[str]",
    complain: "Callable[[str], Awaitable[None]]",
) -> int:
    """Run the command for another process, which has these descriptors; returns the exit status for it."""
    import anyio

    from examples.rexec.messages import StartError, shell_status

    status = NOT_STARTED
    async with anyio.create_task_group() as tasks:

        async def stop() -> None:
            nonlocal status
            status = 128 + getattr(signal, await signals.receive())
            tasks.cancel_scope.cancel()

        tasks.start_soon(stop)
        ...
    return status


async def run_here(session: "chanlink.Session", options: Options, descriptors: Sequence[int] = (0, 1, 2)) -> int:
    """Run the command with these as its standard input and outputs; returns its status."""
    from examples.rexec.client import run
    from examples.rexec.pumps import open_standard_input, open_standard_output

    words = ["/bin/sh", "-c", " ".join(options.words)] if options.shell else options.words
    async with (
        open_standard_input(descriptors[0]) as stdin,
        open_standard_output(descriptors[1]) as stdout,
        open_standard_output(descriptors[2]) as stderr,
    ):
        done = await run(
            session,
            words,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            directory=options.directory,
            environment=dict(options.environment),
        )
    return done.status


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise ValueError
    return seconds
