"""The arguments that subcommands have in common: who we are, whom we expect, who may connect."""

import argparse
from typing import Any

AUTHORIZED_PEERS = "~/.config/chanlink/authorized_peers"
KNOWN_PEERS = "~/.config/chanlink/known_peers"
DEFAULT_IDENTITY = "~/.config/chanlink/id_ed25519"
HOSTS = "~/.config/chanlink/hosts.toml"
JOBS = "jobs"
LONGEST_LIFE = 3_600
"""Seconds for which an entry in a directory holds."""
LONGEST_ID = 200
"""Characters of the id of a job."""
SERVER = f"the server: tcp://HOST:PORT, unix:/PATH, chanlink://NAME, or a name in {HOSTS}"
"""The help of an argument that is one."""


def add_command(commands: Any, name: str, description: str, notes: str, **kwargs: Any) -> argparse.ArgumentParser:
    """A subcommand; the first sentence of the description is its line in the list of commands."""
    first = description.partition(".")[0]
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=first[0].lower() + first[1:],
        description=description,
        epilog=notes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **kwargs,
    )
    parser.set_defaults(command=name, announces=False)
    return parser


def add_action(actions: Any, command: str, name: str, description: str, notes: str) -> argparse.ArgumentParser:
    """An action of a subcommand that has several."""
    parser = add_command(actions, name, description, notes)
    parser.set_defaults(command=f"{command} {name}")
    return parser


def add_identity(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--identity",
        metavar="FILE",
        help=f"our private key (default: $CHANLINK_IDENTITY or {DEFAULT_IDENTITY}, made when it is missing)",
    )
    parser.add_argument(
        "--agent",
        action="store_true",
        help="use the key in the ssh-agent; if it has several, the one of which --identity is the .pub file",
    )


def add_psk(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--psk", metavar="FILE", help="a pre-shared key, the same on both sides (chanlink keygen --psk)"
    )


def add_expectations(parser: argparse.ArgumentParser) -> None:
    """For a command that connects: who we are, and which server we expect."""
    add_identity(parser)
    parser.add_argument("--peer", metavar="KEY|FILE", help="the server's public key, or a .pub file with it")
    parser.add_argument(
        "--known",
        metavar="FILE",
        default=KNOWN_PEERS,
        help=f"without --peer, the file that says which key the server has (default: {KNOWN_PEERS})",
    )
    parser.add_argument(
        "--first-use",
        action="store_true",
        help="trust whoever answers if that file does not know the server, and remember its key there",
    )
    parser.add_argument(
        "--trust-directory",
        action="store_true",
        help="of chanlink://NAME: believe the directory ($CHANLINK_DIRECTORY) which key it has, if that file does not "
        "know it",
    )
    add_psk(parser)
    parser.add_argument(
        "--proxy",
        metavar="ADDRESS",
        help="connect by way of socks5://[USER:PASSWORD@]HOST:PORT or http://[USER:PASSWORD@]HOST:PORT",
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=not_negative,
        default=0.0,
        help="while nobody listens there, try again for so long (default: not at all)",
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=positive, default=10.0, help="for connecting (default: %(default)g)"
    )


def add_queue(parser: argparse.ArgumentParser) -> None:
    """For a command that is about a queue of jobs: what that is called on its server."""
    parser.add_argument("--service", metavar="NAME", default=JOBS, help="the queue's (default: %(default)s)")


def add_queue_server(parser: argparse.ArgumentParser) -> None:
    """For a command that connects to such a queue."""
    parser.add_argument("address", metavar="ADDRESS", help=SERVER)
    add_queue(parser)
    add_expectations(parser)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """For a command that listens: who may connect."""
    parser.add_argument(
        "--trust",
        metavar="FILE",
        default=AUTHORIZED_PEERS,
        help=f"listening: public keys of those who may connect, one a line (default: {AUTHORIZED_PEERS})",
    )
    parser.add_argument(
        "--revoked",
        metavar="FILE",
        help="listening: what is revoked, whoever vouches for it: public keys, one a line, or a list of ssh-keygen -k",
    )


def add_inspection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--inspect",
        action="store_true",
        help="listening: let chanlink top and chanlink graph look, for those whose line in the trust file allows "
        "chanlink.top",
    )


def positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def not_negative(text: str) -> float:
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def natural(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return int(text)


def from_one(text: str) -> int:
    value = natural(text)
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return value


def life(text: str) -> int:
    value = from_one(text)
    if value > LONGEST_LIFE:
        raise argparse.ArgumentTypeError(f"at most {LONGEST_LIFE} s: so long clients go by what they were told")
    return value


def job_id(text: str) -> str:
    if not 1 <= len(text) <= LONGEST_ID:
        raise argparse.ArgumentTypeError(f"the id of a job has 1 to {LONGEST_ID} characters")
    return text
