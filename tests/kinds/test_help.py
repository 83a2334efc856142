"""All that ``--help`` says, of every command of both programs."""

import argparse
import re
from collections.abc import Iterator
from importlib import import_module

import pytest

import chanlink
import examples.rexec
from chanlink.command.cli import make_parser
from examples.rexec.cli.main import COMMANDS
from examples.rexec.cli.parsing import parse

ADDERS = [import_module(f"examples.rexec.cli.commands.{name}").add for name in COMMANDS]


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


PARSERS = [*parsers(make_parser()), *parsers(parse(["key"], ADDERS).whole)]
PROGRAMS = [parser for parser in PARSERS if " " not in parser.prog]

every_command = pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)


@every_command
def test_it_points_nowhere_an_installed_user_has_not(parser: argparse.ArgumentParser) -> None:
    """No page and no source of the repository, and no program but the two, as they are installed."""
    text = parser.format_help()
    assert not re.findall(r"\bdocs/|\bexamples/|\.md\b|\bsee docs|python -m|\.venv", text)


@every_command
def test_it_has_examples_of_this_command(parser: argparse.ArgumentParser) -> None:
    if parser.prog == "chanlink peers":
        return  # of its actions, each of which has its own
    _, _, examples = parser.format_help().partition("\nexamples:\n")
    assert parser.prog in examples


@every_command
def test_every_argument_says_what_it_is(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, action


@pytest.mark.parametrize("parser", PROGRAMS, ids=lambda parser: parser.prog)
def test_the_program_says_its_exit_status_and_lists_its_commands(parser: argparse.ArgumentParser) -> None:
    text = " ".join(parser.format_help().split())
    assert "exit status" in text
    for child in PARSERS:
        program, _, command = child.prog.partition(" ")
        assert program != parser.prog or command.partition(" ")[0] in text


def test_both_programs_have_one_version() -> None:
    assert examples.rexec.__version__ == chanlink.__version__
