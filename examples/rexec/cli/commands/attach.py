"""``rexec attach``: see what a detached command writes."""

from typing import Any

from ..arguments import Options, add_command
from ..broken import explain_client
from ..connecting import SERVER, add_connection, add_local, connected
from ..descriptors import FAILED

NOTES = """\
Prints what the command has written, as far as the server has kept it (a mebibyte), and what it writes until it ends.
The exit status is that of the command, and 255 if there is none of this name. Ctrl-C leaves it alone. A command waits
while somebody is attached who does not read.

examples:
  rexec attach tcp://build nightly
"""


def add(commands: Any) -> None:
    attach = add_command(
        commands,
        "attach",
        action,
        explain_client,
        help="see what a detached command writes",
        description="See what a detached command has written and still writes.",
        epilog=NOTES,
    )
    attach.add_argument("address", metavar="ADDRESS", help=SERVER)
    attach.add_argument("name", metavar="NAME", help="of the command, as rexec run --detach has printed it")
    add_connection(attach)
    add_local(attach)


def action(options: Options) -> int:
    from ..loop import run_quick

    return run_quick(_attach, options)


async def _attach(options: Options) -> int:
    from ...client import attach
    from ...messages import StartError, shell_status
    from ...pumps import open_standard_output
    from ..explaining import complain

    async with connected(options) as session, open_standard_output(1) as stdout, open_standard_output(2) as stderr:
        try:
            done = await attach(session, options.name, stdout=stdout, stderr=stderr)
        except StartError as exc:
            complain(f"{exc.code}: {exc.text}")
            return FAILED
    if done.note:
        complain(done.note)
    return shell_status(done.status)
