"""``rexec stdio``: let who has logged in by ssh run commands here; ``rexec run ssh://HOST`` starts it."""

import argparse
from typing import Any

from ..arguments import Options, add_command

NOTES = """\
It is run on the other machine by the ssh of a client whose address is ssh://HOST, and it has that client alone, who may
do what the user may whom sshd has let in. When the client goes, its commands are stopped.

examples:
  rexec run ssh://web1 -- uptime          runs it on web1
  ssh web1 rexec stdio --help             is it installed there?
"""


def add(commands: Any) -> None:
    stdio = add_command(
        commands,
        "stdio",
        action,
        explain,
        help="let who has logged in by ssh run commands here (run by ssh:// addresses)",
        description="Let who has logged in by ssh run commands here.",
        epilog=NOTES,
        announces=True,
    )
    stdio.add_argument("--token", metavar="HEX", required=True, help="what the first line repeats, so that it is found")
    stdio.add_argument("--key", metavar="BASE64", required=True, help="the public key of the client, who has logged in")
    stdio.set_defaults(grace=5.0)


def action(options: Options) -> int:
    from ..loop import run_loop

    return run_loop(_serve, options)


async def _serve(options: argparse.Namespace) -> int:
    import signal

    import anyio

    import chanlink

    from ...copy.messages import SERVICE as COPIES
    from ...copy.rules import may_copy
    from ...copy.service import copy_service
    from ...logs import log_problems_only
    from ...messages import LIMITS
    from ...room import make_room
    from ...server.audit import Audit
    from ...server.service import ENFORCES, SERVICE, service
    from ..signals import heeding

    log_problems_only()  # it is the client's terminal
    client = chanlink.PublicKey.parse(f"ssh-ed25519 {options.key}")
    identity, audit = chanlink.Identity.generate(), Audit()
    stream = chanlink.take_stdio(options.token, str(identity.public_key))
    with heeding(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with (
            anyio.create_task_group() as tasks,
            service(None, audit, options.grace) as rexec,
            chanlink.accept(
                stream,
                identity=identity,
                trust=chanlink.Trust.of(client),
                limits=LIMITS,
                services={
                    SERVICE: chanlink.service(rexec, enforces=ENFORCES),
                    COPIES: copy_service(None, may_copy(None), audit.write),
                },
            ) as session,
        ):
            make_room()

            async def stop() -> None:
                await anext(signals)
                await session.aclose()

            tasks.start_soon(stop)
            await session.wait_closed()
            await rexec.stop()
            tasks.cancel_scope.cancel()
    return 0


def explain(error: Exception, options: Options) -> str | None:
    from ..explaining import explain

    return explain(error)
