"""Our ends of what a command reads and writes, without a command."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest

from examples.rexec.messages import Size
from examples.rexec.server import streams
from examples.rexec.server.streams import CommandStreams, NoInput, Pipes, Terminal
from tests.patience import PATIENCE
from tests.rexec.surroundings import crowded

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


@contextmanager
def closing(ours: CommandStreams) -> Iterator[list[int]]:
    """The ends of the command, which the test may close."""
    theirs = list(dict.fromkeys(ours.theirs))
    try:
        yield theirs
    finally:
        for descriptor in theirs:
            os.close(descriptor)
        ours.close()


async def test_what_goes_into_a_pipe_comes_out_of_it_and_its_end_too() -> None:
    pipes = Pipes()
    with closing(pipes) as theirs, anyio.fail_after(PATIENCE):
        await pipes.stdin.send(b"data")
        assert os.read(theirs[0], 10) == b"data"
        pipes.end_input()
        assert os.read(theirs[0], 10) == b""
        os.write(theirs[1], b"out")
        os.write(theirs[2], b"err")
        assert [await output.receive() for output in pipes.outputs] == [b"out", b"err"]
        os.close(theirs.pop())
        with pytest.raises(anyio.EndOfStream):
            await pipes.outputs[1].receive()


async def test_without_input_there_is_its_end() -> None:
    with closing(NoInput()) as theirs:
        assert os.read(theirs[0], 10) == b""


async def test_a_terminal_has_a_size_one_output_and_an_end_that_is_a_character() -> None:
    terminal = Terminal(Size(91, 23))
    with closing(terminal) as theirs, anyio.fail_after(PATIENCE):
        assert os.get_terminal_size(theirs[0]) == (91, 23)
        terminal.resize(Size(40, 10))
        assert os.get_terminal_size(theirs[0]) == (40, 10)
        os.write(theirs[0], b"out")
        (output,) = terminal.outputs
        assert await output.receive() == b"out"
        await terminal.stdin.send(b"line\nbegun")
        terminal.end_input()
        assert [os.read(theirs[0], 20) for _ in range(3)] == [b"line\n", b"begun", b""]
    terminal.resize(Size(1, 1))  # it was closed: nothing happens


async def test_silence_after_the_end_of_a_command_is_the_end_of_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LINGER", 0.01)
    pipes = Pipes()
    with closing(pipes) as theirs, anyio.fail_after(PATIENCE):
        os.write(theirs[1], b"written before")
        pipes.outputs[0].linger()
        assert await pipes.outputs[0].receive() == b"written before"
        with pytest.raises(anyio.EndOfStream):
            await pipes.outputs[0].receive()


@pytest.mark.parametrize("make", [Pipes, lambda: Terminal(Size(80, 24))])
async def test_without_descriptors_nothing_stays_open(make: type[CommandStreams]) -> None:
    with crowded(100, 99):
        for _ in range(3):
            with pytest.raises(OSError, match=r"Too many open files|out of pty devices"):
                make()
        os.close(os.dup(0))  # the last one is still there
