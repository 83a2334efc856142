"""A run of a command for a caller, whoever that is."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import anyio
import pytest

from examples.rexec.cli.arguments import Options
from examples.rexec.cli.parsing import parse
from examples.rexec.cli.run_options import add_run
from examples.rexec.cli.running import NOT_STARTED, run_for, settings_of, words_of
from examples.rexec.client import Command
from tests.rexec.sessions import sessions

pytestmark = pytest.mark.anyio


class Caller:
    """Somebody who notes what is said."""

    def __init__(self, *descriptors: int) -> None:
        self.descriptors = descriptors
        self.said: list[tuple[str, str]] = []

    async def conduct(self, command: Command) -> None:
        await anyio.sleep_forever()

    def raw(self) -> AbstractContextManager[None] | None:
        return None

    def give_up(self) -> None:
        raise AssertionError

    async def say(self, kind: str, text: str) -> None:
        self.said.append((kind, text))


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    with open(os.devnull) as nothing, (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        yield Caller(nothing.fileno(), out.fileno(), err.fileno())


def options_of(*words: str) -> Options:
    return parse(["run", *words], [add_run])


async def test_the_command_has_the_descriptors_of_the_caller(caller: Caller, tmp_path: Path) -> None:
    options = options_of("-e", "A=b", "--shell", "tcp://x", "--", "cat; echo $A; echo err >&2; kill -9 $$")
    async with sessions() as session:
        assert await run_for(caller, session, options) == -9
    assert (tmp_path / "out").read_text() == "b\n"
    assert (tmp_path / "err").read_text() == "err\n"
    assert caller.said == []


async def test_why_it_was_not_started_is_said_and_a_note_too(caller: Caller) -> None:
    async with sessions() as session:
        assert await run_for(caller, session, options_of("tcp://x", "--", "no-such-command")) == NOT_STARTED
        assert await run_for(caller, session, options_of("--limit", "time=1", "tcp://x", "--", "sleep", "9")) == -15
    (first, second) = caller.said
    assert first[0] == second[0] == "error"
    assert first[1].startswith("not-found: no-such-command")
    assert second[1] == "the command was stopped: its time of 1 s was up"


async def test_of_one_that_is_detached_the_name_is_said(caller: Caller) -> None:
    async with sessions() as session:
        assert await run_for(caller, session, options_of("--detach", "--name", "mine", "tcp://x", "--", "true")) == 0
    assert caller.said == [("output", "mine")]


def test_words_are_the_bytes_of_the_command_line() -> None:
    options = options_of("tcp://x", "--", "a b", "\udcff")
    assert words_of(options) == [b"a b", b"\xff"]
    options.shell = True
    assert words_of(options) == [b"/bin/sh", b"-c", b"a b \xff"]


def test_a_terminal_is_of_the_kind_that_is_said_or_else_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "vt100")
    assert settings_of(options_of("tcp://x", "--", "true"))["environment"] == {}
    assert settings_of(options_of("-t", "tcp://x", "--", "true"))["environment"] == {b"TERM": b"vt100"}
    other = options_of("-t", "-e", "TERM=xterm", "tcp://x", "--", "true")
    assert settings_of(other)["environment"] == {b"TERM": b"xterm"}
