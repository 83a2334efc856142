"""``rexec kill``: stop a detached command, or send it a signal."""

from typing import Any

from ..arguments import Options, add_command
from ..broken import explain_client
from ..connecting import SERVER, add_connection, add_local, connected
from ..descriptors import FAILED

NOTES = """\
Without -s the command and its children get TERM, and KILL after five seconds (rexec serve --grace); rexec waits for
their end.

examples:
  rexec kill tcp://build nightly
  rexec kill -s HUP tcp://build web
"""


def add(commands: Any) -> None:
    kill = add_command(
        commands,
        "kill",
        action,
        explain_client,
        help="stop a detached command",
        description="Stop a detached command, or send it a signal.",
        epilog=NOTES,
    )
    kill.add_argument("address", metavar="ADDRESS", help=SERVER)
    kill.add_argument("name", metavar="NAME", help="of the command, as rexec run --detach has printed it")
    kill.add_argument("-s", "--signal", metavar="SIGNAL", help="send only this signal: INT, HUP, USR1, ...")
    add_connection(kill)
    add_local(kill)


def action(options: Options) -> int:
    from ..loop import run_quick

    return run_quick(_kill, options)


async def _kill(options: Options) -> int:
    from ...client import kill
    from ...messages import BadMessage, StartError, signal_number
    from ..explaining import complain

    if options.signal is not None:
        try:
            signal_number(options.signal)
        except BadMessage as exc:
            options.parser.error(f"{options.signal}: {exc}")
    async with connected(options) as session:
        try:
            await kill(session, options.name, options.signal)
        except StartError as exc:
            complain(f"{exc.code}: {exc.text}")
            return FAILED
    return 0
