"""``chanlink peers``: whom we know, and who may connect."""

import argparse
from typing import TYPE_CHECKING, Any

from chanlink import printable
from chanlink.command.keys import public_key
from chanlink.command.options import KNOWN_PEERS, add_action, add_command
from chanlink.command.output import add_json, note, print_json, table
from chanlink.command.problems import Usage

if TYPE_CHECKING:
    from chanlink.command.actions.peer_files import Entry, PeerFile

NOTES = """\
Without --trust it is about the servers that we connect to, and their keys (known_hosts syntax); with --trust about
those who may connect to a server of ours (authorized_keys syntax). A file is replaced as a whole, with its comments,
order and mode, and whoever changes it at the same time waits. A file with a line that is not understood is left alone.

A running server looks at its trust file every second: whoever was removed or revoked loses open sessions, too.

examples:
  chanlink peers add tcp://build:9323 build.pub
  chanlink peers list
  chanlink peers remove tcp://build:9323
  chanlink peers revoke stolen.pub                         never to be trusted again, at any address
  chanlink peers add --trust authorized_peers --services ping,upload alice.pub
  chanlink peers add --trust authorized_peers --issuer example --principals alice,bob --services ping ca.pub
  chanlink peers list --trust authorized_peers --json
  chanlink peers revoke --trust authorized_peers alice@laptop
"""
WHOM = """\
WHOM is a public key, a .pub file, a fingerprint (SHA256:...), a name (the comment of the key), or the address of a
server, or, in a trust file, what an authority is called there. A name must be that of one key only; if it is also a
file with another key, write ./FILE for that.

examples:
"""
ADD_NOTES = """\
KEY is a public key, a .pub file, or - for standard input. With --trust there is no ADDRESS.

examples:
  chanlink peers add tcp://build:9323 build.pub
  chanlink peers add --trust authorized_peers --name alice --services ping alice.pub
  chanlink peers add --trust authorized_peers --services directory,directory.register --names web1 web1.pub
  chanlink peers add --trust authorized_peers --issuer example --principals alice,bob ca.pub
  chanlink peers add --hosts '*.example.com,build' host_ca.pub
  ssh build chanlink id | chanlink peers add tcp://build:9323 -
"""
OF_TRUST = ("services", "names", "issuer", "principals", "revoked")
"""Options for lines of a trust file."""
EXAMPLES = {
    "remove": """\
  chanlink peers remove tcp://build:9323
  chanlink peers remove --trust authorized_peers alice@laptop
""",
    "revoke": """\
  chanlink peers revoke stolen.pub
  chanlink peers revoke --trust authorized_peers SHA256:...
""",
}


def add(commands: Any) -> None:
    parser = add_command(commands, "peers", "List and change whom we know, and who may connect.", NOTES)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_list(actions)
    _add_add(actions)
    for name, description, action in (
        ("remove", "Forget keys.", _remove),
        ("revoke", "Forget keys, and refuse to add them again.", _revoke),
    ):
        one = _add_action(actions, name, description, WHOM + EXAMPLES[name])
        one.add_argument("whom", metavar="WHOM", nargs="+", help="which keys")
        one.set_defaults(action=action)


def _add_action(actions: Any, name: str, description: str, notes: str) -> argparse.ArgumentParser:
    parser = add_action(actions, "peers", name, description, notes)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--trust", metavar="FILE", help="who may connect to a server that has this trust file")
    where.add_argument(
        "--known", metavar="FILE", default=KNOWN_PEERS, help=f"servers that we connect to (default: {KNOWN_PEERS})"
    )
    return parser


def _add_list(actions: Any) -> None:
    notes = "examples:\n  chanlink peers list\n  chanlink peers list --trust authorized_peers --json\n"
    parser = _add_action(actions, "list", "List the keys in a file.", notes)
    add_json(parser, "them")
    parser.set_defaults(action=_list)


def _add_add(actions: Any) -> None:
    parser = _add_action(actions, "add", "Add a key.", ADD_NOTES)
    parser.add_argument("what", metavar="[ADDRESS] KEY", nargs="+", help="of which server, and its key")
    parser.add_argument("--name", metavar="TEXT", help="whose key it is, in place of the comment in it")
    parser.add_argument(
        "--hosts",
        metavar="NAME,...",
        help="without ADDRESS: the key is one of a certification authority, which vouches for these hosts; * and ? are "
        "wildcards",
    )
    parser.add_argument(
        "--services", metavar="NAME,...", help="with --trust: the services that it may use (default: all of them)"
    )
    parser.add_argument(
        "--names",
        metavar="NAME,...",
        help="with --trust: what it may be called in a directory that has this file (default: any name that is free)",
    )
    parser.add_argument(
        "--issuer",
        metavar="NAME",
        help="with --trust: the key is one of a certification authority, which is called so; those whom it vouches for "
        "are PRINCIPAL@NAME",
    )
    parser.add_argument("--principals", metavar="NAME,...", help="with --issuer: for whom it may speak")
    parser.add_argument(
        "--revoked", metavar="FILE", help="with --issuer: a file with what it has revoked (ssh-keygen -k), from / on"
    )
    parser.set_defaults(action=_add)


def _file(options: argparse.Namespace) -> "PeerFile":
    from chanlink.command.actions.peer_files import KnownFile
    from chanlink.command.actions.trust_file import TrustFile

    return TrustFile(options.trust) if options.trust is not None else KnownFile(options.known)


def _list(options: argparse.Namespace) -> int:
    entries = _file(options).read()
    if options.json:
        print_json([entry.to_map() for entry in entries])
    elif entries:
        rows = [[printable(entry.subject), entry.key.fingerprint, entry.key.comment] for entry in entries]
        print("\n".join(table(rows)))
    else:
        note(f"{options.trust or options.known}: no keys")
    return 0


def _add(options: argparse.Namespace) -> int:
    from chanlink.command.actions.peer_files import KnownFile
    from chanlink.command.actions.trust_file import Rights, TrustFile

    *address, key_text = options.what
    _check_add(options, address)
    key = public_key(key_text)
    if options.name is not None:
        key = type(key)(key.raw, options.name)
    file: PeerFile
    if options.trust is not None:
        file = trusted = TrustFile(options.trust)
        rights = Rights(options.services, options.names, options.issuer, options.principals, options.revoked)
        is_new = trusted.add(key, rights)
    else:
        file = known = KnownFile(options.known)
        is_new = known.add(key, *address) if address else known.add_authority(key, options.hosts)
    if is_new:
        note(f"added {key.fingerprint} {key.comment}".rstrip() + f" to {file.path}")
    else:
        note(f"{file.path} has {key.fingerprint} already")
    return 0


def _check_add(options: argparse.Namespace, address: list[str]) -> None:
    """Raise `Usage` for what does not go together."""
    if options.trust is None:
        if len(address) != (options.hosts is None):
            raise Usage("give the address of the server, and its key; or --hosts and the key of an authority")
        for name in OF_TRUST:
            if getattr(options, name) is not None:
                raise Usage(f"--{name} is for trust files; give --trust, too")
        return
    if address or options.hosts is not None:
        raise Usage("a trust file has no addresses: give the key alone")
    if (options.issuer is None) != (options.principals is None):
        raise Usage("of an authority give both, what it is called and for whom it speaks: --issuer and --principals")
    if options.issuer is None and options.revoked is not None:
        raise Usage("--revoked is for the line of an authority; give --issuer and --principals, too")


def _remove(options: argparse.Namespace) -> int:
    return _tell("removed", _file(options).remove(options.whom), options)


def _revoke(options: argparse.Namespace) -> int:
    return _tell("revoked", _file(options).revoke(options.whom), options)


def _tell(done: str, entries: "list[Entry]", options: argparse.Namespace) -> int:
    for entry in entries:
        note(f"{done} {entry.key.fingerprint} {entry.subject} {entry.key.comment}".rstrip())
    if options.trust is not None:
        note("a server that runs with this file ends their sessions within a second or two")
    return 0
