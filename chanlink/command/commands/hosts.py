"""``chanlink hosts``: the names that servers have here."""

import argparse
from typing import Any

import chanlink
from chanlink.command.options import HOSTS, add_command
from chanlink.command.output import add_json, note, print_json, table

NOTES = f"""\
The file {HOSTS} gives names to servers. Commands that connect take such a name in place of
an address, and so does rexec. It is TOML, with a table for each server:

  [build]
  address = "tcp://build.example:9323"
  key = "ssh-ed25519 AAAA..."           the server's; without it, the file of known peers decides
  identity = "~/.ssh/id_ed25519"        ours; without it, the default one
  user = "deploy"                       whom rexec runs commands as, where the server lets it choose

Options of a command (--peer, --identity, --agent) go before what stands there.

examples:
  chanlink hosts                        what is in it, or in which line it is wrong
  chanlink hosts --json | jq -r '.[].name'
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "hosts", "List the names that servers have here.", NOTES)
    add_json(parser, "them")
    parser.set_defaults(action=_hosts)


def _hosts(options: argparse.Namespace) -> int:
    hosts = [host for _, host in sorted(chanlink.Host.load_all().items())]
    if options.json:
        print_json([_to_map(host) for host in hosts])
    elif hosts:
        rows = [[host.name, host.address, host.key.fingerprint if host.key else ""] for host in hosts]
        print("\n".join(table(rows)))
    else:
        note(f"{HOSTS}: no names")
    return 0


def _to_map(host: "chanlink.Host") -> dict[str, str | None]:
    key = None if host.key is None else str(host.key)
    return {"name": host.name, "address": host.address, "key": key, "identity": host.identity, "user": host.user}
