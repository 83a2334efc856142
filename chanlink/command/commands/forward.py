"""``chanlink forward``: a local port that leads to one at the far side."""

import argparse
import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskStatus

import chanlink
from chanlink.command.options import SERVER, add_command, add_expectations, add_inspection, add_trust
from chanlink.command.output import complain, note
from chanlink.command.problems import Usage
from chanlink.command.sessions import connected, in_event_loop, serve_until_stopped, until_stopped

if TYPE_CHECKING:
    from chanlink.command.actions.forwarding import Forwarder

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before connecting again."""

NOTES = """\
The far side says what may be reached, and by whom: --allow names each address, and serves it as the service
forward:ADDRESS, to every key in the trust file whose line has no services="..." or names this one. A connection that
ends on one side ends on the other one in the same way: in order, half, or by a reset. When the session is lost, its
connections are reset and it is made again; connections that come meanwhile wait for ten seconds.

LOCAL and TARGET are tcp://HOST:PORT or unix:/PATH.

examples:
  on the far side, for everybody in its trust file:
    chanlink forward --serve tcp://0.0.0.0:9323 --allow tcp://127.0.0.1:80 --allow unix:/run/postgresql/.s.PGSQL.5432
  here:
    chanlink forward --listen tcp://127.0.0.1:8080 --to tcp://127.0.0.1:80 tcp://build:9323
    chanlink forward --listen unix:/tmp/.s.PGSQL.5432 --to unix:/run/postgresql/.s.PGSQL.5432 tcp://build:9323
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "forward", "Forward local ports to the far side.", NOTES)
    parser.add_argument("address", metavar="ADDRESS", nargs="?", help=SERVER)
    parser.add_argument(
        "--listen", metavar="LOCAL", action="append", default=[], help="where local programs connect; port 0: any"
    )
    parser.add_argument(
        "--to", metavar="TARGET", action="append", default=[], help="where that leads; one for each --listen"
    )
    parser.add_argument("--serve", metavar="ADDRESS", help="be the far side, and listen for clients here")
    parser.add_argument(
        "--allow", metavar="TARGET", action="append", default=[], help="with --serve: clients may connect there"
    )
    add_expectations(parser)
    add_trust(parser)
    add_inspection(parser)
    parser.set_defaults(action=_forward, announces=True)


def _forward(options: argparse.Namespace) -> int:
    from chanlink.command.actions.forwarding import parse_target

    if options.serve is not None:
        if options.address or options.listen or options.to:
            raise Usage("--serve goes with --allow, and without ADDRESS, --listen and --to")
        if not options.allow:
            raise Usage("say with --allow where clients may connect")
        options.targets = [parse_target(text) for text in options.allow]
        return in_event_loop(_serve)(options)
    if options.address is None or options.allow:
        raise Usage("give the ADDRESS of a server, --listen and --to; or --serve and --allow")
    if not options.listen or len(options.listen) != len(options.to):
        raise Usage("give one --to for each --listen, and at least one of both")
    options.targets = [parse_target(text) for text in options.to]
    return in_event_loop(_connect)(options)


async def _serve(options: argparse.Namespace) -> int:
    from chanlink.command.actions.forwarding import forwarder, service_of

    services = {service_of(target): forwarder(target) for target in options.targets}
    await serve_until_stopped(options.serve, options, services)
    return 0


async def _connect(options: argparse.Namespace) -> int:
    os.umask(0o077)  # a Unix socket is for this user, as the port at the far side may be
    await until_stopped(partial(_listen, options))
    return 0


async def _listen(options: argparse.Namespace) -> None:
    """Take local connections, as long as there can be a session for them."""
    from chanlink.command.actions.forwarding import Forwarder, local_sockets

    forwarder = Forwarder(complain)
    with ExitStack() as stack:
        async with anyio.create_task_group() as tasks:
            await tasks.start(_keep_connected, options, forwarder)
            for local, target in zip(options.listen, options.targets, strict=True):
                sockets = await local_sockets(local)
                stack.callback(sockets.close)
                for sock in sockets.sockets:
                    tasks.start_soon(forwarder.accept_loop, sock, target)
                print(f"{' '.join(sockets.addresses)} leads to {target} by {options.address}", flush=True)


async def _keep_connected(
    options: argparse.Namespace, forwarder: "Forwarder", *, task_status: TaskStatus[None]
) -> None:
    """Connect, and again when the session was lost. Raises what goes wrong the first time, or will each time."""
    pause, connected_before = FIRST_PAUSE, False
    while True:
        try:
            async with connected(options) as session:
                forwarder.use(session)
                if connected_before:
                    note(f"connected to {options.address} again")
                else:
                    task_status.started()
                pause, connected_before = FIRST_PAUSE, True
                problem = await session.wait_closed()
        except (chanlink.UntrustedPeer, chanlink.WrongPeer, chanlink.ConfigError):
            raise
        except chanlink.SessionError as exc:
            if not connected_before:
                raise
            problem = exc
        forwarder.use(None)
        says_where = isinstance(problem, chanlink.ConnectFailed | chanlink.HandshakeTimeout)
        where = "" if says_where else f"{options.address}: "
        complain(f"{where}{problem}; connecting again in {pause:g} s")
        await anyio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
