"""``chanlink daemon``: the keys of a machine and of its users, in a process of its own."""

import argparse
from typing import Any

from chanlink.command.options import add_action, add_command
from chanlink.command.output import add_json
from chanlink.command.sessions import in_event_loop

FOLDER = "/var/lib/chanlink"
LISTEN = "tcp://0.0.0.0:9323"

NOTES = """\
Applications that use a daemon have no keys. It authenticates this machine and the user who runs the application, and
hands the finished connection over; of what goes over it, it can read nothing. Who may use a service, groups say:
ipc-SERVICE connects to it on other machines, import-SERVICE serves it here. Programs say
connect(chanlink.Local("web1", service="ping")) and listen(chanlink.Advertised("ping")). For a machine, it is root that
makes all of this.

examples:
  chanlink daemon init                              a folder with the key of this machine
  groupadd --system ipc-ping
  groupadd --system import-ping
  chanlink daemon service add ping --incoming
  chanlink daemon user add alice                    print the key by which other machines know her
  chanlink daemon run
"""
INIT_NOTES = """\
DIR is for the user that runs the daemon, and for nobody else. In it are daemon.toml, which has the services; host, the
key of this machine; trust, who may come from the network; known_peers and hosts.toml, which hosts there are, and their
keys.

examples:
  chanlink daemon init
  chanlink daemon init --own --folder ~/.local/share/chanlink/daemon    for programs of this user alone, without groups
"""
RUN_NOTES = """\
Sockets for applications are in --run: ipc/SERVICE and import/SERVICE. What daemon.toml, the trust files and known_peers
say is read again when it changes; whose key is not allowed any more, has no session within three seconds. It may be
stopped and started again at any time: that ends no session.

examples:
  chanlink daemon run
  chanlink daemon run --listen tcp://0.0.0.0:9323 --listen 'tcp://[::]:9323'
  chanlink daemon run --folder ~/.local/share/chanlink/daemon --run ~/.local/share/chanlink/run --no-listen
"""
SERVICE_NOTES = """\
NAME is 1 to 25 of a-z, 0-9, _ and -. A daemon that runs knows it a second later. Clients of the network come only with
--incoming, and only those that the trust file lets in; without --trust that is the file trust in the daemon's folder,
whose lines say with services="..." which services they are for.

examples:
  chanlink daemon service add backup
  chanlink daemon service add ping --incoming
  chanlink daemon service add ping --incoming --trust /etc/chanlink/ping
"""
SERVICE_REMOVE_NOTES = """\
A daemon that runs ends all sessions of the service within three seconds, and has no sockets for it. Its groups and its
trust file stay.

examples:
  chanlink daemon service remove ping
"""
USER_NOTES = """\
Prints the public key, for the trust files of other machines: by it they know this user, whatever program it runs.

examples:
  chanlink daemon user add alice
  chanlink daemon user add alice | ssh web1 chanlink peers add --trust /etc/chanlink/ping -
"""
USER_REMOVE_NOTES = """\
The key is removed, with what vouches for it, and nobody can bring it back. The sessions with other machines that a
daemon has made with it end within three seconds. The public key is printed, for the trust files of those machines.

examples:
  chanlink daemon user remove alice
  chanlink daemon user remove alice | ssh web1 chanlink peers revoke --trust /etc/chanlink/ping -
"""
STATUS_NOTES = """\
Each line is a session that was handed over: who has it, with whom, for which service, since when. The status is 1 when
no daemon runs.

examples:
  chanlink daemon status
  chanlink daemon status --json | jq -r 'select(.user == "alice") | .host'
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "daemon", "Keep keys for applications that have none.", NOTES)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_init(actions)
    _add_run(actions)
    _add_service(actions)
    _add_user(actions)
    _add_status(actions)


def _add_init(actions: Any) -> None:
    parser = add_action(actions, "daemon", "init", "Make a daemon's folder, and the key of this machine.", INIT_NOTES)
    _add_folder(parser)
    parser.add_argument("--own", action="store_true", help="the sockets are for this user alone, without groups")
    parser.add_argument("--comment", metavar="TEXT", help="whose key it is (default: the name of this machine)")
    parser.set_defaults(action=_init)


def _add_run(actions: Any) -> None:
    parser = add_action(actions, "daemon", "run", "Be the daemon, until stopped.", RUN_NOTES)
    _add_folder(parser)
    parser.add_argument(
        "--run", metavar="DIR", help="where the sockets for applications are (default: $CHANLINK_RUN or /run/chanlink)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--listen",
        metavar="ADDRESS",
        action="append",
        help=f"where clients of the network may come; may be given several times (default: {LISTEN}, or the sockets "
        "that systemd has given)",
    )
    where.add_argument("--no-listen", action="store_true", help="nobody may come from the network")
    parser.add_argument(
        "--audit", metavar="FILE", help="where each connection is written down (default: audit in the daemon's folder)"
    )
    parser.set_defaults(action=in_event_loop(_run), announces=True)


def _add_service(actions: Any) -> None:
    parser = add_command(actions, "service", "Say which services there are.", SERVICE_NOTES)
    inner = parser.add_subparsers(metavar="ACTION", required=True)
    parser = add_action(inner, "daemon service", "add", "Add a service.", SERVICE_NOTES)
    parser.add_argument("name", metavar="NAME", help="the service")
    parser.add_argument("--incoming", action="store_true", help="clients of the network may use it here")
    parser.add_argument("--trust", metavar="FILE", help="which of them, in authorized_keys syntax")
    _add_folder(parser)
    parser.set_defaults(action=_add_one_service)
    parser = add_action(inner, "daemon service", "remove", "Take a service away.", SERVICE_REMOVE_NOTES)
    parser.add_argument("name", metavar="NAME", help="the service")
    _add_folder(parser)
    parser.set_defaults(action=_remove_service)


def _add_user(actions: Any) -> None:
    parser = add_command(actions, "user", "Say which users there are.", USER_NOTES)
    inner = parser.add_subparsers(metavar="ACTION", required=True)
    parser = add_action(inner, "daemon user", "add", "Make a key for a user, and print its public half.", USER_NOTES)
    parser.add_argument("name", metavar="NAME", help="a user of this machine")
    parser.add_argument("--comment", metavar="TEXT", help="whose key it is (default: USER@HOST)")
    _add_folder(parser)
    parser.set_defaults(action=_add_one_user)
    parser = add_action(inner, "daemon user", "remove", "Take the key of a user away, for good.", USER_REMOVE_NOTES)
    parser.add_argument("name", metavar="NAME", help="the user; it need not be on this machine any more")
    _add_folder(parser)
    parser.set_defaults(action=_remove_user)


def _add_status(actions: Any) -> None:
    parser = add_action(actions, "daemon", "status", "List the sessions that were handed over.", STATUS_NOTES)
    _add_folder(parser)
    add_json(parser, "each, one a line,")
    parser.set_defaults(action=_status)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", metavar="DIR", default=FOLDER, help="the daemon's folder (default: %(default)s)")


def _init(options: argparse.Namespace) -> int:
    from chanlink.command.actions.daemon_files import make_folder

    return make_folder(options)


async def _run(options: argparse.Namespace) -> int:
    from chanlink.command.actions.daemon_process import run_daemon

    await run_daemon(options)
    return 0


def _add_one_service(options: argparse.Namespace) -> int:
    from chanlink.command.actions.daemon_files import add_service

    return add_service(options)


def _add_one_user(options: argparse.Namespace) -> int:
    from chanlink.command.actions.daemon_files import add_user

    return add_user(options)


def _remove_service(options: argparse.Namespace) -> int:
    from chanlink.command.actions.daemon_files import remove_service

    return remove_service(options)


def _remove_user(options: argparse.Namespace) -> int:
    from chanlink.command.actions.daemon_files import remove_user

    return remove_user(options)


def _status(options: argparse.Namespace) -> int:
    from chanlink.command.actions.daemon_files import show_status

    return show_status(options)
