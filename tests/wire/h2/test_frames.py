"""Frames: where they are cut, and what is made of what was cut."""

from typing import Any

import hypothesis
import pytest
from hyperframe import frame as hf
from hypothesis import given
from hypothesis import strategies as st

from chanlink.wire.h2 import frames
from chanlink.wire.h2.frames import MAX_FRAME_SIZE, FrameCutter
from chanlink.wire.h2.rules import BrokenRule

TRANSCRIPT = [
    hf.SettingsFrame(0, settings={4: 65_536}),
    hf.DataFrame(1, b"abc"),
    hf.DataFrame(1, b"", flags=["END_STREAM"]),
    hf.PingFrame(0, b"12345678"),
    hf.WindowUpdateFrame(1, window_increment=5),
    hf.RstStreamFrame(1, error_code=8),
    hf.DataFrame(3, bytes(3_000)),
    hf.GoAwayFrame(0, last_stream_id=1, additional_data=b"bye"),
]


def cut_all(cutter: FrameCutter) -> list[Any]:
    got = []
    while (frame := cutter.cut()) is not None:
        got.append(frames.parse(*frame))
    return got


@given(st.lists(st.integers(1, 200), min_size=1))
@hypothesis.settings(deadline=None)
def test_frames_come_whole_wherever_the_bytes_are_cut(sizes: list[int]) -> None:
    cutter = FrameCutter(preface=frames.PREFACE)
    data, got, at = frames.PREFACE + b"".join(frame.serialize() for frame in TRANSCRIPT), [], 0
    while at < len(data):
        size = sizes[at % len(sizes)]
        cutter.add_data(data[at : at + size])
        got += cut_all(cutter)
        at += size
    assert [frame.serialize() for frame in got] == [frame.serialize() for frame in TRANSCRIPT]
    assert [frame.body_len for frame in got] == [len(frame.serialize()) - 9 for frame in TRANSCRIPT]


def test_frames_of_every_kind_come_byte_by_byte() -> None:
    cutter, got = FrameCutter(preface=b""), []
    for byte in b"".join(frame.serialize() for frame in TRANSCRIPT):
        cutter.add_data(bytes([byte]))
        got += cut_all(cutter)
    assert [frame.serialize() for frame in got] == [frame.serialize() for frame in TRANSCRIPT]


def test_an_over_long_frame_is_refused_at_its_header() -> None:
    cutter = FrameCutter(preface=b"")
    cutter.add_data((MAX_FRAME_SIZE + 1).to_bytes(3, "big") + b"\0\0\0\0\0")
    assert cutter.cut() is None
    cutter.add_data(b"\1")
    with pytest.raises(BrokenRule):
        cutter.cut()


def test_the_longest_frame_fills_one_record() -> None:
    cutter = FrameCutter(preface=b"")
    frame = hf.DataFrame(1, bytes(MAX_FRAME_SIZE)).serialize()
    assert 1 + len(frame) + 16 == 65_535
    cutter.add_data(frame)
    assert len(frames.parse(*cutter.cut()).data) == MAX_FRAME_SIZE


@pytest.mark.parametrize("at", range(len(frames.PREFACE)))
def test_a_preface_with_another_byte_is_refused_at_that_byte(at: int) -> None:
    cutter = FrameCutter(preface=frames.PREFACE)
    cutter.add_data(frames.PREFACE[:at])
    with pytest.raises(BrokenRule):
        cutter.add_data(b"\xff")


def test_the_reserved_bit_of_a_stream_id_is_ignored() -> None:
    cutter = FrameCutter(preface=b"")
    cutter.add_data(frames.FRAME_HEADER.pack(0, 1, 0, 0, 0x80000001) + b"x")
    assert cutter.cut()[2] == 1


def test_a_repr_does_not_show_the_payload() -> None:
    cutter = FrameCutter(preface=b"")
    for frame in TRANSCRIPT:
        cutter.add_data(frame.serialize())
        assert repr(frames.parse(*cutter.cut())) == "a frame"


# --- what is cut --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [0x2, 0x5, 0x9, 0x1F, 0xFF])
def test_a_frame_of_another_protocol_is_refused(kind: int) -> None:
    with pytest.raises(BrokenRule, match="no frame of this protocol"):
        frames.parse(kind, 0, 1, b"")


def test_padding_is_refused() -> None:
    with pytest.raises(BrokenRule, match="padding"):
        frames.parse(frames.DATA, frames.PADDED, 1, b"\0x")
    with pytest.raises(BrokenRule, match="padding"):
        frames.check_headers(frames.PADDED | frames.END_HEADERS, 1)


@pytest.mark.parametrize(("frame", "stream_id"), [(hf.PingFrame, 1), (hf.SettingsFrame, 1), (hf.DataFrame, 0)])
def test_a_frame_on_a_stream_that_it_can_not_be_on_is_malformed(frame: type[hf.Frame], stream_id: int) -> None:
    with pytest.raises(BrokenRule, match="malformed"):
        frames.parse(frame.type, 0, stream_id, b"")


def test_a_header_block_is_one_frame_of_at_most_4096_bytes() -> None:
    frames.check_headers(frames.END_HEADERS, 4_096)
    for flags, size in [(0, 1), (frames.END_HEADERS, 4_097)]:
        with pytest.raises(BrokenRule, match="one frame"):
            frames.check_headers(flags, size)
