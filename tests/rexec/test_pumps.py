"""Between file descriptors and byte streams."""

import io
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

import chanlink
from examples.rexec.pumps import (
    PIECE,
    FileSink,
    FileSource,
    copy_in,
    copy_out,
    open_standard_input,
    open_standard_output,
)
from tests.patience import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]
DATA = os.urandom(3 * PIECE)


@contextmanager
def pipe() -> Iterator[tuple[io.FileIO, io.FileIO]]:
    """Both ends as files that do not block."""
    reading, writing = os.pipe()
    for descriptor in (reading, writing):
        os.set_blocking(descriptor, False)
    with io.FileIO(reading, "r") as source, io.FileIO(writing, "w") as sink:
        yield source, sink


async def test_what_is_more_than_a_pipe_holds_goes_through_it() -> None:
    with pipe() as (reading, writing):
        source, sink = FileSource(reading), FileSink(writing)
        got = bytearray()

        async def read() -> None:
            while len(got) < len(DATA):
                got.extend(await source.receive())

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await sink.send(DATA)
        assert got == DATA
        await sink.aclose()
        with pytest.raises(anyio.EndOfStream):
            await source.receive()


async def test_a_sink_that_nobody_reads_is_broken() -> None:
    with pipe() as (reading, writing):
        reading.close()
        with pytest.raises(anyio.BrokenResourceError):
            await FileSink(writing).send(b"x")


async def test_a_file_goes_into_a_byte_stream_and_out_of_it() -> None:
    ours, theirs = chanlink.byte_pipe()
    out = io.BytesIO()
    async with ours, theirs, anyio.create_task_group() as tasks:
        tasks.start_soon(copy_out, theirs, FileSink(out))
        assert await copy_in(FileSource(io.BytesIO(DATA)), ours) is None
    assert out.getvalue() == DATA


async def test_that_the_other_side_reads_no_more_is_the_result_and_no_error() -> None:
    ours, theirs = chanlink.byte_pipe()
    async with ours, theirs:
        theirs.refuse("closed", "nobody reads this any more")
        refusal = await copy_in(FileSource(io.BytesIO(DATA)), ours)
    assert isinstance(refusal, chanlink.ChannelRefused)
    assert refusal.code == "closed"


class Failing(FileSource):
    def __init__(self) -> None:
        super().__init__(io.BytesIO())

    async def receive(self, max_bytes: int = PIECE) -> bytes:
        raise OSError("a disk can't be read")


class Full(FileSink):
    def __init__(self) -> None:
        super().__init__(io.BytesIO())

    async def send(self, item: bytes) -> None:
        raise OSError("a disk is full")


async def test_an_error_of_a_file_is_raised_here_and_told_to_the_other_side() -> None:
    ours, theirs = chanlink.byte_pipe()
    async with ours, theirs:
        with pytest.raises(OSError, match="can't be read"):
            await copy_in(Failing(), ours)
        with pytest.raises(chanlink.ChannelFailed) as failed:
            await theirs.receive()
        assert failed.value.code == "read-failed"
    ours, theirs = chanlink.byte_pipe()
    async with ours, theirs:
        await ours.send(b"x")
        with pytest.raises(OSError, match="is full"):
            await copy_out(theirs, Full())
        with pytest.raises(chanlink.ChannelRefused) as refused:
            await ours.send(DATA)
        assert refused.value.code == "write-failed"


async def test_a_descriptor_that_others_have_stays_blocking() -> None:
    reading, writing = os.pipe()
    try:
        async with open_standard_output(writing) as sink, open_standard_input(reading) as source:
            await sink.send(b"data")
            assert await source.receive() == b"data"
        assert os.get_blocking(reading)
        assert os.get_blocking(writing)
    finally:
        os.close(reading)
        os.close(writing)


async def test_a_socket_that_others_have_stays_blocking() -> None:
    left, right = socket.socketpair()
    with left, right:
        async with open_standard_output(left.fileno()) as sink, open_standard_input(right.fileno()) as source:
            await sink.send(b"data")
            assert await source.receive() == b"data"
        assert left.getblocking()
        assert right.getblocking()


async def test_a_file_keeps_its_position_for_others(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    with (tmp_path / "file").open("rb", buffering=0) as file:
        assert file.read(2) == b"12"
        async with open_standard_input(file.fileno()) as source:
            assert await source.receive(2) == b"34"
        assert file.read() == b"5"
