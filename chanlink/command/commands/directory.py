"""``chanlink directory``: where servers are, by names; a directory as a process, and what stands in one."""

import argparse
from typing import Any

from chanlink.command.options import (
    add_action,
    add_command,
    add_expectations,
    add_identity,
    add_inspection,
    add_psk,
    add_trust,
    life,
)
from chanlink.command.output import add_json
from chanlink.command.sessions import in_event_loop

NOTES = """\
Servers register their addresses in a directory, and whoever connects to chanlink://NAME is told them. serve is one; the
other actions ask the one that --directory or $CHANLINK_DIRECTORY names: tcp://HOST:PORT and the directory's public key,
or, without a key, one that chanlink peers knows. Several, with commas between, are servers of one directory.

A name belongs to the key that has registered it first, until it is removed. A directory says where servers are; that
they have the right key, chanlink peers says: chanlink peers add chanlink://NAME KEY.

examples:
  chanlink directory serve tcp://0.0.0.0:9323 --store names.db
  export CHANLINK_DIRECTORY='tcp://dir:9323 ssh-ed25519 AAAA...'
  chanlink directory list 'web*'
  chanlink ping chanlink://web1
"""
SERVE_NOTES = """\
FILE is made when it is missing, and belongs to one process. Any number of processes share what is in etcd, and each
can be asked. Without --store, names are free again when this process ends.

Two services: whose line of the trust file has services="directory" may look up, and with "directory.register" servers
register themselves and remove their names. names="web1,web2" on a line gives a key these names and no others; keys on
whose lines the same name stands share it.

examples:
  chanlink directory serve tcp://0.0.0.0:9323 --store names.db
  chanlink directory serve tcp://0.0.0.0:9323 --store etcd://etcd1:2379,etcd2:2379,etcd3:2379
  chanlink peers add --trust ~/.config/chanlink/authorized_peers --services directory laptop.pub
"""
LIST_NOTES = """\
Each line has a name, its addresses, for how long that holds, and the fingerprint of the key. PATTERN has * and ? as in
a shell: put it into quotes. The status is 1 when a pattern matches no name.

examples:
  chanlink directory list
  chanlink directory list 'web*' 'db?'
  chanlink directory list --json | jq -r '.[].name'
"""
LOOKUP_NOTES = """\
Prints what list prints of this name; the status is 1 when no server has it now.

examples:
  chanlink directory lookup web1
  chanlink directory lookup --json web1 | jq -r '.[].addresses[]'
"""
WATCH_NOTES = """\
A line with + for each server that is there, and is there anew or renewed; with - for each that is gone; an empty line
when all that there was has been printed. Until interrupted.

examples:
  chanlink directory watch web
  chanlink directory watch --json | jq --unbuffered -r .gone.name
"""
REGISTER_NOTES = """\
Says that our key is found at these addresses, which lead to another machine (tcp://HOST:PORT), for --life seconds. With
--keep it says so again and again until interrupted, and then takes it back. A server of chanlink's does this itself:
serve(..., register=Registration(directory, "web1")).

examples:
  chanlink directory register web1 tcp://web1.example:9323
  chanlink directory register --keep --identity host_key web1 tcp://web1.example:9323
"""
REMOVE_NOTES = """\
Frees a name, for whoever registers it next. It has to be ours, or stand in names="..." on our line of the directory's
trust file. Clients go on to use what they were told for as long as that holds, an hour at most.

examples:
  chanlink directory remove web1
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "directory", "Find servers by names.", NOTES)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_serve(actions)
    _add_list(actions)
    _add_lookup(actions)
    _add_watch(actions)
    _add_register(actions)
    _add_remove(actions)


def _add_serve(actions: Any) -> None:
    parser = add_action(actions, "directory", "serve", "Be a directory, and listen.", SERVE_NOTES)
    parser.add_argument("listen", metavar="ADDRESS", help="where to listen: tcp://HOST:PORT or unix:/PATH")
    parser.add_argument(
        "--store",
        metavar="FILE",
        help="what keeps names and entries: a file, or etcd://HOST:2379,... (default: memory does)",
    )
    add_identity(parser)
    add_trust(parser)
    add_psk(parser)
    add_inspection(parser)
    parser.set_defaults(action=in_event_loop(_serve), announces=True)


def _add_list(actions: Any) -> None:
    parser = add_action(actions, "directory", "list", "List names, and where their servers are.", LIST_NOTES)
    parser.add_argument("patterns", metavar="PATTERN", nargs="*", help="only names that match (default: all)")
    _add_directory(parser)
    add_json(parser, "them")
    parser.set_defaults(action=in_event_loop(_list))


def _add_lookup(actions: Any) -> None:
    parser = add_action(actions, "directory", "lookup", "Show where the servers of a name are.", LOOKUP_NOTES)
    parser.add_argument("name", metavar="NAME", help="letters, digits, and _ . -")
    _add_directory(parser)
    add_json(parser, "them")
    parser.set_defaults(action=in_event_loop(_lookup))


def _add_watch(actions: Any) -> None:
    parser = add_action(actions, "directory", "watch", "Show who comes, and who goes.", WATCH_NOTES)
    parser.add_argument("prefix", metavar="PREFIX", nargs="?", default="", help="only names that begin so")
    _add_directory(parser)
    add_json(parser, "each change, one a line,")
    parser.set_defaults(action=in_event_loop(_watch))


def _add_register(actions: Any) -> None:
    parser = add_action(actions, "directory", "register", "Say where the server with our key is.", REGISTER_NOTES)
    parser.add_argument("name", metavar="NAME", help="letters, digits, and _ . -")
    parser.add_argument("addresses", metavar="ADDRESS", nargs="+", help="tcp://HOST:PORT")
    parser.add_argument(
        "--service", metavar="NAME", action="append", default=[], help="what it serves; may be given several times"
    )
    parser.add_argument(
        "--life", metavar="SECONDS", type=life, default=900, help="for how long it holds, 3600 at most (default: 900)"
    )
    parser.add_argument("--keep", action="store_true", help="say it again and again, until interrupted")
    _add_directory(parser)
    parser.set_defaults(action=in_event_loop(_register))


def _add_remove(actions: Any) -> None:
    parser = add_action(actions, "directory", "remove", "Free a name.", REMOVE_NOTES)
    parser.add_argument("name", metavar="NAME", help="letters, digits, and _ . -")
    _add_directory(parser)
    parser.set_defaults(action=in_event_loop(_remove))


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--directory", metavar="TEXT", help="'ADDRESS KEY' of the directory (default: $CHANLINK_DIRECTORY)"
    )
    add_expectations(parser)


async def _serve(options: argparse.Namespace) -> int:
    from chanlink.command.actions.directory_process import serve_directory

    await serve_directory(options)
    return 0


async def _list(options: argparse.Namespace) -> int:
    from chanlink.command.actions.directory_entries import show_list

    return await show_list(options)


async def _lookup(options: argparse.Namespace) -> int:
    from chanlink.command.actions.directory_entries import show_name

    return await show_name(options)


async def _watch(options: argparse.Namespace) -> int:
    from chanlink.command.actions.directory_entries import show_changes

    return await show_changes(options)


async def _register(options: argparse.Namespace) -> int:
    from chanlink.command.actions.directory_changes import register

    return await register(options)


async def _remove(options: argparse.Namespace) -> int:
    from chanlink.command.actions.directory_changes import remove

    return await remove(options)
