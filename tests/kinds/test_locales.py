"""Command lines in other letters than UTF-8: bytes stay what they are, and nothing is a traceback."""

import argparse
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from chanlink.command import main as chanlink_main
from chanlink.command.cli import make_parser
from examples.rexec.cli.arguments import Parser
from examples.rexec.cli.main import COMMANDS as REXEC_COMMANDS
from examples.rexec.cli.main import main as rexec_main

from .programs import COMMANDS, PATIENCE, Command, Place

LATIN, ROUND = b"f\xfcr", "f\udcfcr"
"""A word in ISO 8859-1, and what Python makes of it where the locale says UTF-8."""


@pytest.fixture(scope="module")
def latin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables for a locale with ISO 8859-1."""
    folder = tmp_path_factory.mktemp("locales")
    words = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(folder / "de_DE.ISO-8859-1")]
    try:
        subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no localedef, or nothing for it to read")
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE.ISO-8859-1"}


def _rexec(place: Place, line: str, words: list[bytes], more: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    environment = place.environment(**more)
    argv = [*place.argv(Command(f"rexec {line}")), *words]
    return subprocess.run(
        argv, cwd=place.home, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE
    )


@pytest.mark.parametrize("share", ["", "--share"])
def test_words_folders_and_variables_arrive_as_the_bytes_that_they_were(
    share: str, place: Place, latin: dict[str, str]
) -> None:
    (place.home / "folder").mkdir(exist_ok=True)
    with suppress(FileExistsError):
        Path.mkdir(Path(str(place.home) + "/" + ROUND))
    script = b'printf "%s %s " "$1" "$V\xe4R"; pwd; : \xfc'
    for more in ({}, latin, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        options = [b"-e", b"VR=" + LATIN, b"-C", bytes(place.home) + b"/" + LATIN, place.rexec.encode()]
        done = _rexec(
            place,
            f"run {share} {{ours}}",
            [*options, b"--", b"sh", b"-c", script.replace(b"\xe4", b""), b"sh", LATIN],
            more,
        )
        assert (done.stdout, done.stderr, done.returncode) == (
            LATIN + b" " + LATIN + b" " + bytes(place.home) + b"/" + LATIN + b"\n", b"", 0
        ), more  # fmt: skip
        done = _rexec(
            place, f"run {share} {{ours}} --shell", [place.rexec.encode(), b"--", b"printf", b"%s", LATIN], more
        )
        assert (done.stdout, done.returncode) == (LATIN, 0), more


def test_files_are_copied_under_the_bytes_of_their_names(place: Place, latin: dict[str, str]) -> None:
    source, there = place.home / ROUND.replace("r", "s"), place.home / "into"
    source.write_bytes(b"x")
    there.mkdir()
    done = _rexec(place, "cp {ours}", [bytes(source), place.rexec.encode() + b":" + bytes(there)], latin)
    assert (done.stderr, done.returncode) == (b"", 0)
    assert [bytes(path) for path in there.iterdir()] == [bytes(there) + b"/" + bytes(source).rpartition(b"/")[2]]


def test_what_the_locale_has_no_letters_for_is_printed_all_the_same(place: Place) -> None:
    """A comment of a key that is not ASCII, and a name that came back from the server."""
    more = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    (place.home / "ü.pub").write_text((place.home / "stranger.pub").read_text().replace("stranger", "\u0141ü"))
    for line in (
        "chanlink id {home}/ü.pub",
        "chanlink keygen {home}/\u0141",
        "chanlink peers list --trust {home}/ü.pub",
    ):
        with place.start(Command(line), stdout=subprocess.PIPE, stderr=subprocess.PIPE, more=more) as process:
            out, err = process.communicate(timeout=PATIENCE)
            assert (process.returncode, b"Traceback" in err) == (0, False), err.decode()
            assert out


def _parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield from _below(make_parser(), "chanlink")
    parser = Parser("rexec")
    commands = parser.add_subparsers()
    for name in REXEC_COMMANDS:
        __import__(f"examples.rexec.cli.commands.{name}", fromlist=["add"]).add(commands)
    yield from _below(parser, "rexec")


def _below(parser: argparse.ArgumentParser, words: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from _below(child, f"{words} {name}")


def _mistakes(place: Place, command: Command, parser: argparse.ArgumentParser) -> Iterator[list[str]]:
    """The command with a word that is no text in each place that takes one."""
    words = place.words(command)
    end = words.index("--") if "--" in words else len(words)
    for number in range(len(command.line.split("{")[0].split()) - 1, len(words)):
        if not words[number].startswith("-"):
            yield [*words[:number], ROUND, *words[number + 1 :]]
    for action in parser._actions:
        if action.option_strings and action.nargs != 0:
            for value in (ROUND, f"{ROUND}={ROUND}"):
                yield [*words[:end], action.option_strings[-1], value, *words[end:]]


MAIN = {"chanlink": chanlink_main, "rexec": rexec_main}
APART = ("chanlink cat", "rexec run --share", "chanlink graph")
"""They end standard output for this process, or need another one, or look twice, with a while in between."""


def test_an_argument_that_is_no_text_is_never_a_traceback(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place.home)
    monkeypatch.setenv("HOME", str(place.home))
    parsers = dict(_parsers())
    tried = 0
    for command in COMMANDS:
        if command.serves or command.line.startswith(APART):
            continue
        name = next(
            " ".join(command.line.split()[:n]) for n in (3, 2, 1) if " ".join(command.line.split()[:n]) in parsers
        )
        for words in _mistakes(place, command, parsers[name]):
            status: object = None
            if (place.home / ROUND).is_file():  # rexec cp makes it, and then it is a key of the server's
                (place.home / ROUND).unlink()
            try:
                status = MAIN[command.program](words)
            except SystemExit as exc:
                status = exc.code
            err = capfd.readouterr().err
            assert "Traceback" not in err, (words, err)
            assert status in (0, 1, 2, 127, 255), (words, err)
            assert status == 0 or err.count("\n") >= 1, words
            tried += 1
    assert tried > 100
