"""``chanlink top``: what the sessions of a server are doing."""

import argparse
import sys
import time
from typing import Any

import anyio

import chanlink
from chanlink.command.options import add_command, add_expectations, positive
from chanlink.command.output import add_json, print_json
from chanlink.command.problems import Problem
from chanlink.command.sessions import asking, connected, in_event_loop

LONGEST = 64 * 1024 * 1024
"""Bytes of a report: some two hundred sessions with a thousand channels each."""

NOTES = """\
Shows the sessions of a server and their channels: messages or bytes sent and taken, what lies in queues, the credit
that is left, and who waits for whom. On a terminal it goes on until q or Ctrl-C.

The server has to offer that: chanlink forward --serve, chanlink bench --listen and chanlink cat --listen do with
--inspect, a program of yours with chanlink.Inspection. It is a service, so that the server's trust file says who may
look: services="chanlink.top", or a line without services.

examples:
  chanlink top tcp://build:9323
  chanlink top --once tcp://build:9323
  chanlink top --json tcp://build:9323 | jq '.sessions[].channels[] | select(.waits != [])'
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "top", "Show what the sessions of a server are doing.", NOTES)
    parser.add_argument("address", metavar="ADDRESS", help="of the server: tcp://HOST:PORT or unix:/PATH")
    parser.add_argument("--once", action="store_true", help="one report; the default if the output is no terminal")
    parser.add_argument(
        "-i", "--interval", metavar="SECONDS", type=positive, default=1.0, help="between reports (default: 1)"
    )
    parser.add_argument("--all", action="store_true", help="also channels on which nobody waits and nothing lies")
    add_expectations(parser)
    add_json(parser, "each report, one a line,")
    parser.set_defaults(action=in_event_loop(_top), service="chanlink.top")


async def _top(options: argparse.Namespace) -> int:
    async with connected(options) as session, asking(session, options.service) as requests:
        if options.json:
            await _print_reports(session, requests, options)
        elif options.once or not (sys.stdout.isatty() and sys.stdin.isatty()):
            from chanlink.command.actions.screen import report

            print("\n".join(report(await _ask(session, requests), {}, 0, width=None, everything=options.all)))
        else:
            await _show(session, requests, options)
    return 0


async def _ask(session: chanlink.Session, requests: chanlink.Sender[Any]) -> list[dict[str, Any]]:
    """What every session of the server is doing now."""
    sender, receiver = chanlink.pipe()
    found: list[dict[str, Any]] = []
    before = session.statistics().volume
    async with receiver:
        await requests.send(sender)
        with anyio.move_on_after(10.0) as patience:
            async for state in receiver:
                if not isinstance(state, dict) or not isinstance(state.get("channels"), list):
                    raise Problem("the server's report is not one that this version knows")
                if session.statistics().volume - before > LONGEST:
                    raise Problem("the server's report is too long")
                found.append(state)
    if patience.cancelled_caught:
        raise Problem("the server did not answer within 10 s")
    return found


async def _print_reports(
    session: chanlink.Session, requests: chanlink.Sender[Any], options: argparse.Namespace
) -> None:
    while True:
        print_json({"time": time.time(), "sessions": await _ask(session, requests)})
        if options.once:
            return
        await anyio.sleep(options.interval)


async def _show(session: chanlink.Session, requests: chanlink.Sender[Any], options: argparse.Namespace) -> None:
    """Until q is pressed; the terminal is as it was afterwards, whatever happens."""
    from chanlink.command.actions.screen import Screen

    problems: list[BaseException] = []
    with Screen() as screen:
        async with anyio.create_task_group() as tasks:

            async def refresh() -> None:
                try:
                    while True:
                        screen.draw(await _ask(session, requests), options.address, everything=options.all)
                        await anyio.sleep(options.interval)
                except Exception as exc:
                    problems.append(exc)
                    tasks.cancel_scope.cancel()

            tasks.start_soon(refresh)
            await screen.until_quit()
            tasks.cancel_scope.cancel()
    if problems:
        raise problems[0]
