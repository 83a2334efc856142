"""Byte streams as file objects."""

import io
import shutil
import tarfile

import pytest

from chanlink import ChannelFailed, ChannelRefused, blocking


def test_lines_are_read_to_the_end(session: blocking.Session) -> None:
    with session.open_stream("upper") as stream, stream.reader() as reader:
        with stream.writer() as writer:
            writer.write(b"one\ntwo\n")
            writer.write(b"three")
        assert reader.readline() == b"ONE\n"
        assert reader.readlines() == [b"TWO\n", b"THREE"]
        assert reader.read() == b""


def test_text_and_copies(session: blocking.Session) -> None:
    body = b"0123456789abcdef" * 500  # nobody reads while it is written: it fits into the windows of both directions
    with session.open_stream("upper") as stream:
        with stream.writer() as writer:
            shutil.copyfileobj(io.BytesIO(body), writer)
        with io.TextIOWrapper(stream.reader(), "ascii") as text:
            assert text.read().encode() == body.upper()


def test_an_archive_is_written_into_a_stream_and_read_out_of_it(loop: blocking.Loop) -> None:
    left, right = loop.byte_pipe()
    with left, right:
        with left.writer() as writer, tarfile.open(fileobj=writer, mode="w|") as archive:
            info = tarfile.TarInfo("name")
            info.size = 5
            archive.addfile(info, io.BytesIO(b"hello"))
        with right.reader() as reader, tarfile.open(fileobj=reader, mode="r|") as archive:
            assert [member.name for member in archive] == ["name"]


def test_a_stream_that_was_cut_short_is_no_end(loop: blocking.Loop) -> None:
    left, right = loop.byte_pipe()
    left.send(b"half")
    left.fail("broken")
    with right, right.reader() as reader:
        assert reader.read1() == b"half"
        with pytest.raises(ChannelFailed):
            reader.read()
    left.close()


def test_a_reader_that_is_closed_early_refuses(loop: blocking.Loop) -> None:
    left, right = loop.byte_pipe()
    right.reader().close()
    with pytest.raises(ChannelRefused):
        left.send(b"more")
    left.close(), right.close()
