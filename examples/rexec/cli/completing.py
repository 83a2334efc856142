"""What may stand where somebody types: for shells that complete commands of rexec. Imports next to nothing."""

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .connecting import SERVER

HOSTS = "~/.config/chanlink/hosts.toml"
_NAME = re.compile(r"^\[([A-Za-z0-9_.-]+)\]", re.MULTILINE)
FILES = ("FILE", "FOLDER", "KEY|FILE")
"""What arguments that are files are called."""
SIDES = ("SRC", "DST")
"""Arguments that are a file here, or one on a server."""


class Candidates(NamedTuple):
    words: list[str]
    files: bool = False
    """Whether it may be the name of a file as well."""


def candidates(parser: argparse.ArgumentParser, words: Sequence[str]) -> Candidates:
    """What the last of these words may become. They are those after ``rexec``; the last one may be empty."""
    *before, typed = words
    if "--" in before:  # what follows is the remote command's
        return Candidates([], files=True)
    for word in before:
        parser = _commands(parser).get(word, parser)
    option = _option(parser, before[-1]) if before else None
    if option is not None and option.nargs != 0:
        return Candidates(_starting(typed, option.choices or ()), option.metavar in FILES)
    if typed.startswith("-"):
        return Candidates(_starting(typed, _options(parser)))
    places = [action for action in parser._actions if not action.option_strings]
    return Candidates(
        _starting(typed, (word for place in places for word in _words(place))),
        any(place.metavar in (*FILES, *SIDES) for place in places),
    )


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of its subcommands, by their names."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def _option(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    return next((action for action in parser._actions if word in action.option_strings), None)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.help != argparse.SUPPRESS:
            yield from action.option_strings


def _words(place: argparse.Action) -> Iterator[str]:
    yield from place.choices or ()
    if place.help == SERVER:
        yield from host_names()
    elif place.metavar in SIDES:
        yield from (f"{name}:" for name in host_names())


def _starting(typed: str, words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(word for word in words if word.startswith(typed)))


def host_names() -> list[str]:
    """The names of servers in the user's file, as far as they stand in lines like ``[build]``.

    Quicker than to read the file as it is read for a connection, which imports chanlink, and never an error.
    """
    try:
        with open(os.path.expanduser(HOSTS), encoding="utf-8", errors="replace") as file:
            return _NAME.findall(file.read(1024 * 1024))
    except OSError:
        return []
