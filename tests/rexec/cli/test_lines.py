"""Outputs of many, line by line."""

import io
import os
import subprocess
import sys
from typing import Any

import anyio
import pytest

from examples.rexec.cli.lines import LONGEST, Lines, Shared, shared_outputs
from examples.rexec.pumps import FileSink
from tests.rexec.servers import PATIENCE, ROOT

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("cut", range(1, 12))
async def test_each_line_has_the_name_in_front_wherever_it_is_cut(cut: int) -> None:
    sink = io.BytesIO()
    async with Lines("web1", FileSink(sink)) as lines:
        data = b"one\n\ntwo\r\nthr\xffee"
        for start in range(0, len(data), cut):
            await lines.send(data[start : start + cut])
        await lines.finish()
        await lines.finish()
        assert sink.getvalue() == b"web1: one\nweb1: \nweb1: two\r\nweb1: thr\xffee\n"


async def test_a_line_without_an_end_is_not_kept_beyond_a_bound() -> None:
    sink = io.BytesIO()
    lines = Lines("w", FileSink(sink))
    await lines.send(b"a" * LONGEST)
    assert sink.getvalue() == b""
    await lines.send(b"bb")
    assert sink.getvalue() == b"w: " + b"a" * LONGEST + b"bb\n"
    await lines.send(b"c\n")
    assert sink.getvalue().endswith(b"bb\nw: c\n")


class SlowSink(FileSink):
    """Takes a byte at a time, and lets others in between."""

    async def send(self, item: bytes) -> None:
        for number in range(len(item)):
            await super().send(item[number : number + 1])
            await anyio.lowlevel.checkpoint()


async def test_lines_of_several_are_never_within_one_another() -> None:
    sink: Any = io.BytesIO()
    shared = Shared(SlowSink(sink), anyio.Lock())

    async def write(name: str) -> None:
        lines = Lines(name, shared)
        for _ in range(20):
            await lines.send(name.encode() * 9 + b"\n")

    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(write, name)
    written = sink.getvalue().split(b"\n")
    assert sorted(written) == sorted([b""] + [b"%c: " % ord(name) + name.encode() * 9 for name in "abc"] * 20 + [])[:61]


TAKES_TURNS = """
import anyio
from examples.rexec.cli.lines import shared_outputs

async def main():
    async with shared_outputs() as outputs, anyio.create_task_group() as tasks:
        for sink, letter in ((outputs.stdout, b"o"), (outputs.stderr, b"e")):
            for _ in range(20):
                tasks.start_soon(sink.send, letter * 20_000 + b"\\n")

anyio.run(main)
"""


async def test_where_both_outputs_are_one_pipe_they_take_turns() -> None:
    """A pipe has room for a part of this, so that each waits within its lines."""
    command = [sys.executable, "-c", TAKES_TURNS]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE)
    lines = done.stdout.split(b"\n")
    assert sorted(lines) == [b""] + [b"e" * 20_000] * 20 + [b"o" * 20_000] * 20


async def test_outputs_that_are_two_do_not_wait_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "wb") as out:
        saved = os.dup(1)
        try:
            os.dup2(out.fileno(), 1)
            async with shared_outputs() as outputs, anyio.create_task_group() as tasks:
                tasks.start_soon(outputs.stdout.send, b"o" * 4 * 1024 * 1024)  # nobody reads it
                await anyio.wait_all_tasks_blocked()
                with anyio.fail_after(PATIENCE):
                    await outputs.stderr.send(b"\n")
                tasks.cancel_scope.cancel()
        finally:
            os.dup2(saved, 1)
            os.close(saved)
