"""``chanlink id``: the public half of a key."""

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import chanlink
from chanlink.command.keys import default_identity, default_path, load_identity
from chanlink.command.options import DEFAULT_IDENTITY, add_command
from chanlink.command.output import add_json, note, print_json
from chanlink.command.problems import Problem, Usage
from chanlink.command.sessions import in_event_loop

if TYPE_CHECKING:
    from chanlink.command.actions.vouching import Said

NOTES = f"""\
Prints the public key on standard output, as a trust file takes it, and its fingerprint on standard error. There stands
also what lies beside the key: a credential of an authority (FILE-cert.pub), and whose place it takes (FILE-successor).

examples:
  chanlink id                              of our own key, {DEFAULT_IDENTITY}
  chanlink id ~/.ssh/id_ed25519            of a private key, or of a .pub file
  chanlink id alice-cert.pub               of a credential, as ssh-keygen -s makes it
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
        help="a private or public key, a credential, or - for standard input (default: our own key, made when it is "
        "missing)",
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
    _show([_read(options.file)], options)
    return 0


async def _agent(options: argparse.Namespace) -> int:
    from chanlink.command.actions.key_files import agent_keys
    from chanlink.command.actions.vouching import Said

    keys = await agent_keys()
    if not keys:
        raise Problem("the ssh-agent holds no Ed25519 key; add one with: ssh-add FILE")
    _show([_Shown(key, "ssh-agent", Said(tuple(credentials))) for key, credentials in keys], options)
    return 0


class _Shown(NamedTuple):
    """A key that is printed."""

    key: "chanlink.PublicKey"
    source: str
    said: "Said"


def _read(file: str | None) -> _Shown:
    from chanlink.command.actions.key_files import holds_private_key
    from chanlink.command.actions.vouching import Said, beside, credential_in

    if file == "-":
        return _Shown(chanlink.PublicKey.parse(sys.stdin.readline(16_384)), file, Said())
    if file is not None and (credential := credential_in(file)) is not None:
        return _Shown(credential.key, file, Said((credential,)))
    if file is None:
        key, file = default_identity().public_key, default_path()
    else:
        key = load_identity(file).public_key if holds_private_key(file) else chanlink.PublicKey.load(file)
    return _Shown(key, file, beside(file, key))


def _show(keys: list[_Shown], options: argparse.Namespace) -> None:
    now = int(time.time())
    if options.json:
        print_json([_map_of(one, now) for one in keys])
        return
    for key, source, said in keys:
        if options.fingerprint:
            print(key.fingerprint)
        else:
            print(key, flush=True)
            note(f"{key.fingerprint}  {source}")
            for line in said.lines(now):
                note(line)


def _map_of(one: _Shown, now: int) -> dict[str, Any]:
    key = one.key
    about = {"public_key": str(key), "fingerprint": key.fingerprint, "comment": key.comment, "from": one.source}
    return {**about, **one.said.to_map(now)}
