"""What a broken rule is called."""

import h2.exceptions
import pytest
from h2.errors import ErrorCodes

from chanlink.wire.h2 import frames
from chanlink.wire.h2.rules import NAMES, BrokenRule, broken_by


def test_every_frame_of_the_protocol_has_a_name() -> None:
    assert {NAMES[kind] for kind in (frames.DATA, frames.HEADERS, *frames.EXTENSIONS)} == {
        "DATA",
        "HEADERS",
        "TAKEN",
        "DRAIN",
        "STOP",
    }
    assert frames.KNOWN.keys() <= NAMES.keys()


@pytest.mark.parametrize(
    ("exc", "frame", "text"),
    [
        (BrokenRule("no preface"), None, "no preface"),
        (BrokenRule("too long"), (0x0, 0, 5, b""), "DATA on stream 5: too long"),
        (BrokenRule("too often"), (0x6, 0, 0, b""), "PING: too often"),
        (BrokenRule("unknown"), (0x42, 0, 1, b""), "a frame of type 0x42 on stream 1: unknown"),
        (h2.exceptions.FlowControlError(), (0x0, 0, 5, b""), "DATA on stream 5: it goes beyond the window"),
        (h2.exceptions.FlowControlError(), (0x8, 0, 0, b""), "WINDOW_UPDATE: it opens a window beyond 2^31-1"),
        (h2.exceptions.StreamIDTooLowError(3, 5), (0x1, 0, 3, b""), "HEADERS on stream 3: that stream is over, or "),
        (h2.exceptions.StreamClosedError(3), (0x0, 0, 3, b""), "DATA on stream 3: that stream, or this half of it"),
        (h2.exceptions.NoSuchStreamError(3), (0x3, 0, 3, b""), "RST_STREAM on stream 3: that stream was never opened"),
        (h2.exceptions.ProtocolError(), (0x4, 0, 0, b""), "SETTINGS: not allowed in this state"),
    ],
)
def test_it_names_the_frame_and_the_rule_and_nothing_of_h2(
    exc: h2.exceptions.H2Error, frame: tuple[int, int, int, bytes] | None, text: str
) -> None:
    assert str(broken_by(exc, frame)).startswith(text)


def test_its_code_is_that_of_what_was_raised() -> None:
    assert broken_by(BrokenRule("x", ErrorCodes.FRAME_SIZE_ERROR), None).error_code == ErrorCodes.FRAME_SIZE_ERROR
    assert broken_by(h2.exceptions.FlowControlError(), None).error_code == ErrorCodes.FLOW_CONTROL_ERROR
    assert broken_by(h2.exceptions.ProtocolError(), None).error_code == ErrorCodes.PROTOCOL_ERROR
