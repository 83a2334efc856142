"""What the parsers of all commands share."""

import argparse
from pathlib import Path

import pytest

import chanlink
from examples.rexec.cli.arguments import Options, Parser, duration, identity, seconds


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("1.5", 1.5), ("1e3", 1000.0)])
def test_seconds_are_a_number(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["-1", "inf", "nan", "x", ""])
def test_seconds_that_are_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - argparse has its own words
        seconds(text)


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0.0), ("90", 90.0), ("2m", 120.0), ("1h", 3600.0), ("30d", 2592000.0)]
)
def test_a_duration_is_a_number_with_a_unit(text: str, value: float) -> None:
    assert duration(text) == value


@pytest.mark.parametrize("text", ["", "m", "-1", "1.5", "5x", "5mm", "31d", "1" * 5000])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no time up to 30 days"):
        duration(text)


def test_a_mistake_is_one_line_and_the_status_of_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        Parser("rexec").error("that is wrong")
    assert caught.value.code == 255
    assert capsys.readouterr().err == "rexec: that is wrong; see rexec --help\n"


def test_our_key_is_the_one_that_is_named_or_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = chanlink.Identity.generate("ours"), chanlink.Identity.generate("other")
    ours.save(tmp_path / "ours")
    other.save(tmp_path / "other")
    monkeypatch.setenv("CHANLINK_IDENTITY", str(tmp_path / "other"))
    assert identity(Options(identity=str(tmp_path / "ours"))).public_key == ours.public_key
    assert identity(Options(identity=None)).public_key == other.public_key
