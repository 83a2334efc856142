"""A daemon's folder: making it, what is added to it, and what a daemon that runs writes there."""

import argparse
import datetime
import pwd
import socket
from pathlib import Path

import chanlink
from chanlink.command.output import note, print_json, table
from chanlink.command.problems import Problem
from chanlink.daemon import settings
from chanlink.daemon.accounts import IMPORT, IPC, group_of
from chanlink.daemon.folder import Folder
from chanlink.daemon.journal import Row, read_rows
from chanlink.daemon.running import locked

STOPPED = 1
"""The exit status of `status` where no daemon runs."""


def make_folder(options: argparse.Namespace) -> int:
    """Make the folder, and print the public key of the host."""
    comment = options.comment if options.comment is not None else socket.gethostname()
    folder = Folder.made(options.folder, settings.fresh(groups=not options.own), comment)
    note(f"made {folder.path}; next: chanlink daemon service add NAME, and chanlink daemon user add NAME")
    print(folder.host().public_key)
    return 0


def add_service(options: argparse.Namespace) -> int:
    """Add a service, and say which groups are missing, and whether its trust file is."""
    if options.trust is not None and not options.incoming:
        raise Problem("--trust says who may come from the network, and nobody may without --incoming")
    folder = Folder.opened(options.folder)
    trust = None if options.trust is None else Path(options.trust).expanduser().absolute()
    service = settings.Service(options.name, options.incoming, trust)
    settings.add_service(folder.settings, service)
    if settings.load(folder.settings).groups:
        for direction in (IPC, IMPORT) if service.incoming else (IPC,):
            try:
                group_of(direction, service.name)
            except chanlink.ConfigError as exc:
                note(f"{exc}")
    if trust is not None and not trust.exists():
        note(f"there is no file {trust}; until there is, nobody may come from the network for {service.name}")
    return 0


def remove_service(options: argparse.Namespace) -> int:
    """Take a service away."""
    settings.remove_service(Folder.opened(options.folder).settings, options.name)
    return 0


def remove_user(options: argparse.Namespace) -> int:
    """Take the key of a user away, and print its public half."""
    print(Folder.opened(options.folder).remove_user(options.name))
    return 0


def add_user(options: argparse.Namespace) -> int:
    """Make a key for a user, and print its public half."""
    folder = Folder.opened(options.folder)
    try:
        pwd.getpwnam(options.name)
    except KeyError as exc:
        raise Problem(f"there is no user {options.name!r} on this machine") from exc
    comment = options.comment if options.comment is not None else f"{options.name}@{socket.gethostname()}"
    print(folder.add_user(options.name, comment))
    return 0


def show_status(options: argparse.Namespace) -> int:
    """Print the sessions that were handed over."""
    folder = Folder.opened(options.folder)
    rows = sorted(read_rows(folder.journal), key=lambda row: row.since)
    if options.json:
        for row in rows:
            print_json(row._asdict())
    elif rows:
        print("\n".join(table([_cells(row) for row in rows])))
    try:
        with locked(folder.path):
            note(f"no daemon runs with {folder.path}; these sessions wait for one, if they are not over")
        return STOPPED
    except chanlink.ConfigError:
        return 0


def _cells(row: Row) -> list[str]:
    since = datetime.datetime.fromtimestamp(row.since).astimezone().isoformat(timespec="seconds")
    who = f"{row.user} -> {row.host}" if row.way == "outgoing" else f"{row.user} <- {row.host}"
    return [chanlink.printable(cell) for cell in (who, row.service, row.name, since, row.id)]
