"""``rexec ps``: our detached commands."""

from typing import TYPE_CHECKING, Any

from ..arguments import Options, add_command
from ..broken import explain_client
from ..connecting import SERVER, add_connection, add_local, connected

if TYPE_CHECKING:
    from ...client import Listed

NOTES = """\
Shows the commands of our key that run, and the last that have ended, with their status ("signal 9" for one that was
killed) and the seconds since their start, or from start to end.

examples:
  rexec ps tcp://build
  rexec ps --json tcp://build
"""


def add(commands: Any) -> None:
    ps = add_command(
        commands,
        "ps",
        action,
        explain_client,
        help="list our detached commands",
        description="List our detached commands.",
        epilog=NOTES,
    )
    ps.add_argument("address", metavar="ADDRESS", help=SERVER)
    ps.add_argument("--json", action="store_true", help="one line of JSON for each command")
    add_connection(ps)
    add_local(ps)


def action(options: Options) -> int:
    from ..loop import run_quick

    return run_quick(_ps, options)


async def _ps(options: Options) -> int:
    import json

    from ...client import listing
    from ...words import one_line

    async with connected(options) as session:
        commands = await listing(session)
    if options.json:
        for command in commands:
            print(json.dumps(command._asdict()))
        return 0
    rows = [("NAME", "STATUS", "SECONDS", "COMMAND")]
    rows += [(command.name, _status(command), f"{command.seconds:.0f}", command.command) for command in commands]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, status, seconds, line in rows:
        print(one_line(f"{name:{widths[0]}}  {status:{widths[1]}}  {seconds:>{widths[2]}}  {line}"))
    return 0


def _status(command: "Listed") -> str:
    match command.status:
        case None:
            return "running" if command.pid else "unknown"
        case status if status < 0:
            return f"signal {-status}"
        case status:
            return f"exit {status}"
