"""``chanlink cat``: a byte stream of a service, from and to standard input and output."""

import argparse
from typing import Any

import chanlink
from chanlink.command.options import SERVER, add_command, add_expectations, add_inspection, add_trust
from chanlink.command.problems import Usage
from chanlink.command.sessions import connected, in_event_loop, listening

SERVICE = "cat"

NOTES = """\
What comes on standard input goes to the service, and what comes from it to standard output; either direction may end
alone. With --listen it is the service: for one byte stream of one peer, and then it ends. Standard error says
where it listens. The exit status is 1 if anything was lost on the way. In the background of a shell, where reading the
terminal would stop it, give it < /dev/null.

examples:
  chanlink cat --listen tcp://0.0.0.0:9323 > copy.tar           on one machine
  tar c src | chanlink cat tcp://build:9323                     on another one
  chanlink cat --peer build.pub tcp://build:9323 log > today.log
  chanlink cat --listen unix:/run/me/cat --service talk         two terminals, to talk
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "cat", "Copy bytes to and from a service.", NOTES)
    parser.add_argument("address", metavar="ADDRESS", nargs="?", help=SERVER)
    parser.add_argument(
        "service", metavar="SERVICE", nargs="?", help=f"a service that takes byte streams (default: {SERVICE})"
    )
    parser.add_argument("--listen", metavar="ADDRESS", help="be the service instead, at this address")
    parser.add_argument("--service", metavar="NAME", dest="name", help="the same as SERVICE, also with --listen")
    add_expectations(parser)
    add_trust(parser)
    add_inspection(parser)
    parser.set_defaults(action=_cat)


def _cat(options: argparse.Namespace) -> int:
    if (options.address is None) == (options.listen is None):
        raise Usage("give the ADDRESS of a server, or --listen ADDRESS")
    names = [name for name in (options.service, options.name) if name is not None]
    if len(names) > 1:
        raise Usage("the service is named twice")
    options.service = names[0] if names else SERVICE
    if not 0 < len(options.service.encode(errors="replace")) <= 255:
        raise Usage("the name of a service has 1 to 255 bytes")
    return in_event_loop(_connect if options.listen is None else _listen)(options)


async def _connect(options: argparse.Namespace) -> int:
    from chanlink.command.actions.stdio import Input, Output, exchange

    async with connected(options) as session, await session.open_stream(options.service) as stream:
        await exchange(stream, Input(), Output())
    return 0


async def _listen(options: argparse.Namespace) -> int:
    from chanlink.command.actions.stdio import Input, Output, exchange

    first, received = chanlink.pipe()

    async def cat(stream: "chanlink.ByteStream", peer: "chanlink.Peer") -> None:
        """Hand the first one over: what has arrived of it outlives the session, and this task does not."""
        try:
            await first.send(stream)
        except chanlink.ChannelClosed:
            stream.fail("busy")
            stream.refuse("busy", "somebody else is served")
        first.close()

    async with listening(options.listen, options, {options.service: chanlink.streams(cat)}):
        async with received:
            stream = await received.receive()
        async with stream:
            await exchange(stream, Input(), Output())
    return 0
