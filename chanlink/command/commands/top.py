"""``chanlink top``: what the sessions of a server are doing."""

import argparse
import time
from typing import Any

import anyio

import chanlink
from chanlink.command.options import SERVER, add_command, add_expectations, positive
from chanlink.command.output import add_json, print_json
from chanlink.command.sessions import connected, in_event_loop

NOTES = """\
Shows the sessions of a server and their channels: messages or bytes sent and taken, what lies in queues, the credit
that is left, and who waits for whom; also for how long nothing has gone on there, and with --tasks which task holds
the channel, and where in the program it is. On a terminal it goes on until q or Ctrl-C; t shows tasks.

The server has to offer that: chanlink forward --serve, chanlink bench --listen and chanlink cat --listen do with
--inspect, a program of yours with chanlink.Inspection. It is a service, so that the server's trust file says who may
look: services="chanlink.top", or a line without services.

examples:
  chanlink top tcp://build:9323
  chanlink top --once tcp://build:9323
  chanlink top --once --all --tasks tcp://build:9323
  chanlink top --json tcp://build:9323 | jq '.sessions[].channels[] | select(.waits != [])'
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "top", "Show what the sessions of a server are doing.", NOTES)
    parser.add_argument("address", metavar="ADDRESS", help=SERVER)
    parser.add_argument("--once", action="store_true", help="one report; the default if the output is no terminal")
    parser.add_argument(
        "-i", "--interval", metavar="SECONDS", type=positive, default=1.0, help="between reports (default: 1)"
    )
    parser.add_argument(
        "--tasks", action="store_true", help="also which tasks hold the channels, and where they are; or the key t"
    )
    parser.add_argument("--all", action="store_true", help="also channels on which nobody waits and nothing lies")
    add_expectations(parser)
    add_json(parser, "each report, one a line,")
    parser.set_defaults(action=in_event_loop(_top), service="chanlink.top")


async def _top(options: argparse.Namespace) -> int:
    async with connected(options) as session, await session.open(options.service) as requests:
        if options.json:
            await _print_reports(session, requests, options)
        else:
            await _show_reports(session, requests, options)
    return 0


async def _print_reports(
    session: "chanlink.Session", requests: "chanlink.Sender[Any]", options: argparse.Namespace
) -> None:
    from chanlink.command.actions.asking import ask

    while True:
        told = await ask(session, requests, tasks=options.tasks)
        head = next((one for one in told if "channels" not in one), {})
        print_json({"time": time.time(), "sessions": [one for one in told if one is not head], **head})
        if options.once:
            return
        await anyio.sleep(options.interval)


async def _show_reports(
    session: "chanlink.Session", requests: "chanlink.Sender[Any]", options: argparse.Namespace
) -> None:
    from chanlink.command.actions.asking import ask
    from chanlink.command.actions.screen import report
    from chanlink.command.actions.terminal import is_terminal

    if not options.once and is_terminal():
        await _show(session, requests, options)
    else:
        told = await ask(session, requests, tasks=options.tasks)
        print("\n".join(report(told, {}, 0, width=None, everything=options.all)))


async def _show(session: "chanlink.Session", requests: "chanlink.Sender[Any]", options: argparse.Namespace) -> None:
    from chanlink.command.actions.asking import ask
    from chanlink.command.actions.screen import Looks
    from chanlink.command.actions.terminal import Terminal, renew

    looks = Looks(tasks=options.tasks, everything=options.all)

    async def draw(terminal: Terminal) -> None:
        told = await ask(session, requests, tasks=looks.tasks)
        lines = looks.lines(told, width=terminal.width)
        terminal.show(options.address, "q: quit  t: tasks", lines, more="--once")

    await renew(draw, options.interval, {b"t": looks.switch_tasks})
