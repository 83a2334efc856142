"""The table of commands has all of them."""

import argparse

from chanlink.command.cli import make_parser
from examples.rexec.cli.main import COMMANDS as REXEC_COMMANDS

from .programs import COMMANDS


def _subcommands(parser: argparse.ArgumentParser, words: str) -> set[str]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not actions:
        return {words}
    return {
        name
        for action in actions
        for word, child in action.choices.items()
        for name in _subcommands(child, f"{words} {word}")
    }


def test_the_table_has_every_command_of_both_programs() -> None:
    wanted = _subcommands(make_parser(), "chanlink") | {f"rexec {name}" for name in REXEC_COMMANDS}
    lines = [command.line for command in COMMANDS]
    assert [name for name in wanted if not [line for line in lines if f"{line} ".startswith(f"{name} ")]] == []
