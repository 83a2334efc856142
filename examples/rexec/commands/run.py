"""``rexec run``: run a command on a server."""

import argparse
from typing import TYPE_CHECKING, Any

from examples.rexec.arguments import Options, add_command
from examples.rexec.connecting import SERVER, add_connection, connected, explain_client
from examples.rexec.share_options import add_sharing

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
    run.add_argument("--shell", action="store_true", help="join the words and give them to /bin/sh -c")


def action(options: Options) -> int:
    import anyio

    return anyio.run(_run, options)


async def _run(options: Options) -> int:
    from examples.rexec.explaining import complain
    from examples.rexec.messages import StartError, shell_status

    async with connected(options) as session:
        try:
            return shell_status(await _run_here(session, options))
        except StartError as exc:
            complain(f"{exc.code}: {exc.text}")
            return NOT_STARTED


async def _run_here(session: "chanlink.Session", options: Options) -> int:
    """Run the command with our own standard input and outputs."""
    from examples.rexec.client import run
    from examples.rexec.pumps import open_standard_input, open_standard_output

    words = ["/bin/sh", "-c", " ".join(options.words)] if options.shell else options.words
    async with (
        open_standard_input() as stdin,
        open_standard_output(1) as stdout,
        open_standard_output(2) as stderr,
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
