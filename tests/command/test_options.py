"""The arguments that subcommands have in common."""

import argparse

import pytest

from chanlink.command.options import (
    AUTHORIZED_PEERS,
    KNOWN_PEERS,
    add_command,
    add_expectations,
    add_trust,
    from_one,
    job_id,
    natural,
    not_negative,
    positive,
)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "-inf", "", "x", "1e999"])
def test_a_number_above_zero_is_finite_and_above_zero(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number above 0"):
        positive(text)


def test_numbers_are_read_as_people_write_them() -> None:
    assert (positive("0.5"), positive("1e3"), not_negative("0"), natural("007")) == (0.5, 1000.0, 0.0, 7)
    with pytest.raises(argparse.ArgumentTypeError):
        not_negative("-0.1")


@pytest.mark.parametrize("text", ["-1", "1.5", "", "x", "1" * 10, "\u0661"])
def test_a_count_has_a_few_digits_and_nothing_else(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        natural(text)


def test_what_there_has_to_be_one_of_is_counted_from_one() -> None:
    assert from_one("1") == 1
    with pytest.raises(argparse.ArgumentTypeError, match="'0' is not a number from 1"):
        from_one("0")


def test_the_id_of_a_job_is_as_long_as_a_queue_takes_it() -> None:
    assert job_id("x" * 200) == "x" * 200
    for wrong in ("", "x" * 201):
        with pytest.raises(argparse.ArgumentTypeError, match="has 1 to 200 characters"):
            job_id(wrong)


def test_a_subcommand_is_listed_by_the_first_sentence_of_its_description() -> None:
    parser = argparse.ArgumentParser("chanlink")
    commands = parser.add_subparsers()
    one = add_command(commands, "greet", "Say hello. And more of it.", "examples:")
    add_expectations(one)
    add_trust(one)
    assert "say hello\n" in parser.format_help()
    assert "And more" not in parser.format_help()
    options = parser.parse_args(["greet"])
    assert (options.command, options.announces) == ("greet", False)
    assert (options.known, options.trust, options.identity, options.peer) == (KNOWN_PEERS, AUTHORIZED_PEERS, None, None)
