"""What the parsers of all commands share. It imports next to nothing."""

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from .descriptors import FAILED, complain

if TYPE_CHECKING:
    import chanlink

LONGEST = 30 * 86_400
"""Seconds that a `duration` is at most."""
RAW = argparse.RawDescriptionHelpFormatter

Options = argparse.Namespace


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        complain(f"{message}; see {self.prog} --help")
        raise SystemExit(FAILED)


def add_command(
    commands: Any,
    name: str,
    action: Callable[[Options], int] | None,
    explain: Callable[[Exception, Options], str | None],
    *,
    description: str,
    takes_words: bool = False,
    announces: bool = False,
    **parser_options: Any,
) -> Parser:
    """Add the parser of a subcommand: ``action`` does the work, ``explain`` says in one line what went wrong.

    ``announces``: nobody needs what it prints, so standard output may be closed.
    """
    parser: Parser = commands.add_parser(name, description=description, formatter_class=RAW, **parser_options)
    parser.set_defaults(action=action, explain=explain, takes_words=takes_words, announces=announces, parser=parser)
    return parser


def add_identity(parser: argparse.ArgumentParser) -> None:
    """The option ``--identity``; see `identity`."""
    parser.add_argument(
        "--identity",
        metavar="FILE",
        help="our private key (default: ~/.config/chanlink/id_ed25519, which is made when it is missing)",
    )


def seconds(text: str) -> float:
    """A number of seconds, for `argparse`."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError
    return value


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def duration(text: str) -> float:
    """A time as people write it (``90``, ``2m``, ``1h``), up to 30 days, in seconds; for `argparse`."""
    number, unit = text.rstrip("smhd"), text[len(text.rstrip("smhd")) :]
    if not number.isdecimal() or unit not in _UNITS or (value := int(number[:9]) * _UNITS[unit]) > LONGEST:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no time up to 30 days: write it as 90, 2m or 1h")
    return float(value)


def identity(options: Options) -> "chanlink.Identity":
    """Our private key, as the options say."""
    import chanlink

    return chanlink.Identity.load(options.identity) if options.identity else chanlink.Identity.default()
