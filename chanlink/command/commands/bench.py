"""``chanlink bench``: how fast is it between two machines?"""

import argparse
from typing import TYPE_CHECKING, Any

from chanlink.command.options import SERVER, add_command, add_expectations, add_inspection, add_trust, positive
from chanlink.command.output import add_json, milliseconds, print_json, size
from chanlink.command.problems import Usage
from chanlink.command.sessions import connected, in_event_loop, serve_until_stopped

if TYPE_CHECKING:
    from chanlink.command.actions.benchmark import Client

NOTES = """\
One side listens, the other one measures, some seconds each: the round trip of the session and that of a message (the
one in the middle), small messages a second one way, and bytes a second in each direction. Only what the other
side's application has taken counts. CHANLINK_EVENT_LOOP=uvloop on both sides is faster.

examples:
  chanlink bench --listen tcp://0.0.0.0:9323
  chanlink bench tcp://build:9323
  chanlink bench --seconds 10 --json tcp://build:9323
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "bench", "Measure a connection.", NOTES)
    parser.add_argument("address", metavar="ADDRESS", nargs="?", help=SERVER)
    parser.add_argument("--listen", metavar="ADDRESS", help="be the side that is measured against")
    parser.add_argument("--seconds", metavar="N", type=positive, default=2.0, help="for each figure (default: 2)")
    parser.add_argument("--size", metavar="BYTES", type=_size, default=64, help="of a message (default: 64)")
    add_expectations(parser)
    add_trust(parser)
    add_inspection(parser)
    add_json(parser, "the figures")
    parser.set_defaults(action=_bench)


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8 and 0 <= int(text) <= 1024 * 1024):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes up to 1048576")
    return int(text)


def _bench(options: argparse.Namespace) -> int:
    if (options.address is None) == (options.listen is None):
        raise Usage("give the ADDRESS of a server, or --listen ADDRESS")
    return in_event_loop(_measure if options.listen is None else _serve)(options)


async def _serve(options: argparse.Namespace) -> int:
    from chanlink.command.actions.benchmark import SERVICE, serve

    await serve_until_stopped(options.listen, options, {SERVICE: serve})
    return 0


async def _measure(options: argparse.Namespace) -> int:
    from chanlink.command.actions.benchmark import SERVICE, Client

    options.service = SERVICE  # for problems.py
    async with connected(options) as session, await session.open(SERVICE) as requests:
        client = Client(requests, session, options.seconds)
        if options.json:
            figures = {name: round(factor * await measure(), 6) for name, _, factor, measure in _rows(client, options)}
            print_json({"address": options.address, "suite": session.suite, "message_bytes": options.size, **figures})
            return 0
        print(f"{options.address}, suite {session.suite}, {options.seconds:g} s each", flush=True)
        for name, show, _, measure in _rows(client, options):
            print(f"  {name.rpartition('_')[0].removesuffix('_bytes').replace('_', ' '):18} ", end="", flush=True)
            print(show(await measure()), flush=True)
    return 0


def _rows(client: "Client", options: argparse.Namespace) -> list[tuple[str, Any, float, Any]]:
    """Name, how a person reads it, the factor to the unit in the name, and what measures it."""

    def duration(seconds: float) -> str:
        return f"{milliseconds(seconds)} ms"

    def rate(bytes_a_second: float) -> str:
        return f"{size(bytes_a_second)}/s"

    def count(messages: float) -> str:
        return f"{messages:,.0f}/s of {options.size} bytes"

    return [
        ("round_trip_ms", duration, 1000.0, client.pings),
        ("message_and_echo_ms", duration, 1000.0, lambda: client.round_trips(options.size)),
        ("messages_s", count, 1.0, lambda: client.messages(options.size)),
        ("sent_bytes_s", rate, 1.0, client.bytes_there),
        ("received_bytes_s", rate, 1.0, client.bytes_back),
    ]
