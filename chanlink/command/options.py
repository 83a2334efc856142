"""The arguments that subcommands have in common: who we are, whom we expect, who may connect."""

import argparse
from typing import Any

AUTHORIZED_PEERS = "~/.config/chanlink/authorized_peers"
KNOWN_PEERS = "~/.config/chanlink/known_peers"
DEFAULT_IDENTITY = "~/.config/chanlink/id_ed25519"


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
    add_psk(parser)
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


def add_trust(parser: argparse.ArgumentParser) -> None:
    """For a command that listens: who may connect."""
    parser.add_argument(
        "--trust",
        metavar="FILE",
        default=AUTHORIZED_PEERS,
        help=f"listening: public keys of those who may connect, one a line (default: {AUTHORIZED_PEERS})",
    )


def add_inspection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--inspect",
        action="store_true",
        help="listening: let chanlink top look, for those whose line in the trust file allows chanlink.top",
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
