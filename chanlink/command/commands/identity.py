"""``chanlink id``: the public half of a key."""

import argparse
import sys
from typing import Any

import chanlink
from chanlink.command.keys import default_identity, default_path, load_identity
from chanlink.command.options import DEFAULT_IDENTITY, add_command
from chanlink.command.output import add_json, note, print_json
from chanlink.command.problems import Problem, Usage
from chanlink.command.sessions import in_event_loop

NOTES = f"""\
Prints the public key on standard output, as a trust file takes it, and its fingerprint on standard error.

examples:
  chanlink id                              of our own key, {DEFAULT_IDENTITY}
  chanlink id ~/.ssh/id_ed25519            of a private key, or of a .pub file
  chanlink id --agent                      of the keys in the ssh-agent
  chanlink id --fingerprint build.pub      to compare over the telephone
  chanlink id | ssh build 'cat >> ~/.config/chanlink/authorized_peers'
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "id", "Print a public key, and its fingerprint.", NOTES)
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="a private or public key, - for standard input (default: our own key, made when it is missing)",
    )
    parser.add_argument("--agent", action="store_true", help="the Ed25519 keys that the ssh-agent holds")
    parser.add_argument("--fingerprint", action="store_true", help="print the fingerprint on standard output instead")
    add_json(parser, "a list of keys")
    parser.set_defaults(action=_id)


def _id(options: argparse.Namespace) -> int:
    if options.agent:
        if options.file is not None:
            raise Usage("give a FILE or --agent, not both")
        return in_event_loop(_agent)(options)
    key = _read(options.file) if options.file is not None else default_identity().public_key
    _show([(key, options.file or default_path())], options)
    return 0


async def _agent(options: argparse.Namespace) -> int:
    from chanlink.command.actions.key_files import agent_keys

    keys = await agent_keys()
    if not keys:
        raise Problem("the ssh-agent holds no Ed25519 key; add one with: ssh-add FILE")
    _show([(key, "ssh-agent") for key in keys], options)
    return 0


def _read(file: str) -> chanlink.PublicKey:
    from chanlink.command.actions.key_files import holds_private_key

    if file == "-":
        return chanlink.PublicKey.parse(sys.stdin.readline(16_384))
    if holds_private_key(file):
        return load_identity(file).public_key
    return chanlink.PublicKey.load(file)


def _show(keys: list[tuple[chanlink.PublicKey, str]], options: argparse.Namespace) -> None:
    if options.json:
        print_json(
            [
                {"public_key": str(key), "fingerprint": key.fingerprint, "comment": key.comment, "from": source}
                for key, source in keys
            ]
        )
        return
    for key, source in keys:
        if options.fingerprint:
            print(key.fingerprint)
        else:
            print(key, flush=True)
            note(f"{key.fingerprint}  {source}")
