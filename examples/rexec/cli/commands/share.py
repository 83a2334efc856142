"""``rexec share``: what ``rexec run --share`` keeps open."""

from typing import Any

from ..arguments import Options, add_command

NOTES = """\
"rexec run --share" runs a command over a session that a process in the background keeps open, and starts that process
if there is none. A session that nobody has used for ten minutes is closed; --share-for says another time.

Of each session, --list prints the server as it was called, its address, what it does, and the process that keeps it,
with tabs between.

examples:
  rexec run --share web1 -- uptime
  rexec share --list
  rexec share --stop                          close all of them; commands that run are stopped
"""


def add(commands: Any) -> None:
    share = add_command(
        commands,
        "share",
        action,
        explain,
        help="list or close the sessions that rexec run --share keeps",
        description="List or close the sessions that rexec run --share keeps.",
        epilog=NOTES,
    )
    what = share.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="list them (this is what happens without an option)")
    what.add_argument("--stop", action="store_true", help="close them")


def action(options: Options) -> int:
    import os

    from ..share.client import converse, try_to_connect
    from ..share.messages import control_folder

    folder = control_folder()
    statuses = [0]
    for name in sorted(os.listdir(folder)):
        if name.endswith(".lock"):
            continue
        connection = try_to_connect(os.path.join(folder, name))
        if connection is not None:
            statuses.append(converse(connection, "stop" if options.stop else "list"))
    return max(statuses)


def explain(error: Exception, options: Options) -> str | None:
    from ..explaining import explain
    from ..share.messages import ShareError

    return str(error) if isinstance(error, ShareError) else explain(error)
