"""``chanlink stdio``: standard input and output carry a session, for whoever has started this elsewhere."""

import argparse
from typing import Any

import chanlink
from chanlink.command.options import add_command
from chanlink.command.problems import Usage
from chanlink.command.sessions import in_event_loop

NOTES = """\
It is run by a client, on the machine that it wants to reach: by ssh (the address ssh://HOST), or by kubectl exec and
the like (chanlink.Exec). With an ADDRESS of that machine it carries the bytes of a session with the server there, whose
own key counts. Without one it is a server itself, for the one client that has logged in by ssh, and may be pinged. For
commands there is rexec stdio.

examples:
  chanlink ping ssh://web1                                      runs it on web1
  kubectl exec -i pod -- chanlink stdio unix:/run/app/chanlink  what a program may run: chanlink.Exec([...])
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "stdio", "Carry a session by standard input and output.", NOTES)
    parser.add_argument(
        "target", metavar="ADDRESS", nargs="?", help="of a server on this machine: unix:/PATH or tcp://HOST:PORT"
    )
    parser.add_argument("--token", metavar="HEX", default="", help="what the first line repeats, so that it is found")
    parser.add_argument("--key", metavar="BASE64", help="the public key of the client, who has logged in")
    parser.set_defaults(action=_stdio)


def _stdio(options: argparse.Namespace) -> int:
    if options.target is None and not (options.token and options.key):
        raise Usage("give the ADDRESS of a server on this machine; without one, it is run for an address ssh://HOST")
    return in_event_loop(_serve if options.target is None else _carry)(options)


async def _serve(options: argparse.Namespace) -> int:
    client = chanlink.PublicKey.parse(f"ssh-ed25519 {options.key}")
    identity = chanlink.Identity.generate()
    stream = chanlink.take_stdio(options.token, str(identity.public_key))
    async with chanlink.accept(stream, identity=identity, trust=chanlink.Trust.of(client), services={}) as session:
        await session.wait_closed()
    return 0


async def _carry(options: argparse.Namespace) -> int:
    from chanlink.command.actions.carrying import carry

    await carry(options.target, options.token)
    return 0
