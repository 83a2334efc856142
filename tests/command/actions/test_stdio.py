"""Standard input and output for an event loop.

With other programs at their ends they are tried in ``tests/command/commands/test_cat.py``.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

import chanlink
from chanlink import ChannelRefused
from chanlink.command.actions.stdio import Input, Output, Watch, exchange
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A reader and a writer."""
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        os.close(descriptor)


async def test_a_pipe_is_read_as_it_comes_and_stays_blocking_for_others(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    source = Input(reader)
    received: list[bytes] = []

    async def receive() -> None:
        received.append(await source.receive())

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            os.write(writer, b"hello")
    assert received == [b"hello"]
    assert os.get_blocking(reader)


async def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    with open(tmp_path / "file", "rb") as file:
        source, found = Input(file.fileno()), b""
        while data := await source.receive():
            found += data
    assert found == b"x" * 100_000


async def test_what_is_written_waits_for_its_reader(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink, data = Output(writer), os.urandom(500_000)
    found = bytearray()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sink.send, data)
            source = Input(reader)
            while len(found) < len(data):
                found += await source.receive()
    assert found == data
    assert os.get_blocking(writer)


async def test_nobody_who_reads_is_an_error(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = Output(writer)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, reader)
    os.close(null)
    with pytest.raises(BrokenPipeError):
        await sink.send(b"x")


async def test_the_end_of_an_output_is_seen_though_we_go_on(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = Output(writer)
    await sink.send(b"all")
    sink.end()
    assert os.read(reader, 100) == b"all"
    assert os.read(reader, 100) == b""


async def test_what_is_always_ready_is_not_waited_for(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        await Watch(file.fileno()).ready()


async def test_input_and_output_are_joined_to_a_stream_until_both_ways_have_ended(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"question")
    here, there = chanlink.byte_pipe()
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as sink, anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exchange, here, Input(source.fileno()), Output(sink.fileno()))
            assert await there.receive() == b"question"
            await there.send(b"answer")
            await there.send_eof()
            with pytest.raises(chanlink.EndOfChannel):
                await there.receive()
            there.close()
    assert (tmp_path / "out").read_bytes() == b"answer"


async def test_a_full_disk_is_told_to_the_other_side(tmp_path: Path) -> None:
    here, there = chanlink.byte_pipe()
    await there.send(b"too much")
    with open("/dev/null", "rb") as source, open("/dev/full", "wb", buffering=0) as sink:
        with pytest.raises(OSError, match="No space left"):
            await exchange(here, Input(source.fileno()), Output(sink.fileno()))
        reason = await there.wait_closed()
    assert isinstance(reason, ChannelRefused)
    assert reason.code == "write-failed"
