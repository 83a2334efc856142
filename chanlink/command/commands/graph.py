"""``chanlink graph``: who waits for whom, across several servers, as a picture."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from chanlink.command.keys import load_ours
from chanlink.command.options import add_command, add_expectations, natural, positive
from chanlink.command.output import complain, note, print_json
from chanlink.command.problems import Problem, Usage
from chanlink.command.sessions import in_event_loop, look_up, until_stopped

if TYPE_CHECKING:
    from chanlink.observing.graph.picture import Picture

DEADLOCK, UNREACHABLE = 1, 2
NOTES = """\
Asks each server twice, a third of a second apart, and joins what they tell: tasks, the channels that they wait for,
relays, and who could end each wait. Tasks that wait for each other for ever are red. What is slow, or waits for
something else, is no deadlock, and neither is what may be ended by somebody who was not asked.

The servers have to offer that as for chanlink top: chanlink forward, bench and cat with --inspect, a program of yours
with chanlink.Inspection. A picture (-o, --html, --serve) needs graphviz; --dot and --json need nothing.

exit status: 0; 1 if there is a deadlock, or something went wrong; 2 if a server could not be asked, or for wrong
arguments.

examples:
  chanlink graph tcp://a:9323 tcp://b:9323 tcp://c:9323            in words
  chanlink graph -o waits.svg tcp://a:9323 tcp://b:9323
  chanlink graph --serve 8000 tcp://a:9323 tcp://b:9323            a page that refreshes, on loopback
  chanlink graph --json tcp://a:9323 | jq '.circles'
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "graph", "Show who waits for whom across servers.", NOTES)
    parser.add_argument(
        "addresses", metavar="ADDRESS", nargs="+", help="of servers: tcp://HOST:PORT, unix:/PATH, or a name"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", metavar="FILE", help="write a picture, as SVG")
    where.add_argument("--html", metavar="FILE", help="write a page with the picture")
    where.add_argument(
        "--serve", metavar="PORT", type=natural, help="serve a page that refreshes, on 127.0.0.1 (0: a free port)"
    )
    where.add_argument("--dot", action="store_true", help="print the graph in the language of graphviz")
    where.add_argument("--json", action="store_true", help="print the graph as JSON")
    parser.add_argument(
        "-i", "--interval", metavar="SECONDS", type=positive, default=2.0, help="of --serve, between looks (default: 2)"
    )
    parser.add_argument("--all", action="store_true", help="also tasks and channels for which nobody waits")
    add_expectations(parser)
    parser.set_defaults(action=_graph)


def _graph(options: argparse.Namespace) -> int:
    if options.serve is not None and options.serve > 65_535:
        raise Usage("a port is a number up to 65535")
    ours = {name: value for name, value in vars(options).items() if name != "identity"}  # each server has its own
    found = argparse.Namespace(**ours, servers=_servers(options))
    return in_event_loop(_serve if options.serve is not None else _once)(found)


def _servers(options: argparse.Namespace) -> list[argparse.Namespace]:
    """For each server the options with which it is asked; each key is read once."""
    loaded: dict[str | None, Any] = {}
    servers = []
    for address in dict.fromkeys(options.addresses):
        one = argparse.Namespace(**{**vars(options), "address": address, "service": "chanlink.top"})
        look_up(one)
        if one.identity not in loaded:
            loaded[one.identity] = load_ours(one)
        servers.append(argparse.Namespace(**{**vars(one), "loaded": loaded[one.identity]}))
    return servers


async def _once(options: argparse.Namespace) -> int:
    from chanlink.command.actions.drawing import drawn, look
    from chanlink.observing.graph.dot import dot
    from chanlink.observing.graph.page import page, standalone, summary

    picture = await look(options)
    if options.json:
        print_json(picture.to_map())
    elif options.dot:
        print(dot(picture), end="")
    elif options.output is not None:
        _write(options.output, standalone(await drawn(dot(picture))))
    elif options.html is not None:
        _write(options.html, page(picture, await drawn(dot(picture)), when=_now()))
    else:
        print("\n".join(summary(picture)))
        return _status(picture)
    for one in picture.asked:  # the summary has it, too
        if one.problem:
            complain(f"{one.address}: {one.problem}")
    return _status(picture)


def _status(picture: "Picture") -> int:
    if picture.circles:
        return DEADLOCK
    return UNREACHABLE if any(one.problem for one in picture.asked) else 0


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as exc:
        raise Problem(f"{path}: {exc.strerror}") from exc


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


async def _serve(options: argparse.Namespace) -> int:
    from chanlink.command.actions.drawing import drawn, look
    from chanlink.command.actions.pages import serving
    from chanlink.observing.graph.dot import dot
    from chanlink.observing.graph.page import page

    async def make() -> str:
        picture = await look(options)
        return page(picture, await drawn(dot(picture)), when=_now(), refresh=options.interval)

    async def serve() -> None:
        async with serving(options.serve, make) as address:
            note(f"serving {address}")
            await anyio.sleep_forever()

    await until_stopped(serve)
    return 0
