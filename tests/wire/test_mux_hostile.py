"""Peers that break the rules, as transcripts of frames: the connection or the stream is over, and that is all."""

import random
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hyperframe import frame as hf
from hypothesis import given
from hypothesis import strategies as st

from chanlink.errors import END, LocalProtocolError, Reason, RemoteProtocolError, SessionClosed
from chanlink.limits import Limits
from chanlink.wire.h2 import frames
from chanlink.wire.h2.connection import LATE
from chanlink.wire.opening import Opening
from chanlink.wire.stream import Stream

from .muxes import KINDS, Pair, Transcript, check_words, message, overdue_at, read_all, send, take, take_all

WINDOW = Limits().stream_window
LONGEST = frames.MAX_FRAME_SIZE


def opened(kind: str = "receiver", **limits: int) -> tuple[Transcript, Stream]:
    """A stream that the peer has opened."""
    script = Transcript(Limits(**limits))  # type: ignore[arg-type]
    script.say(script.opening(1, kind))
    return script, script.side.opened[0]


def opening(kind: Any = "receiver") -> tuple[Transcript, Stream]:
    """A stream that we have opened to the peer."""
    script = Transcript(client_side=True)
    stream = script.mux.open(Opening(kind, service="service"))
    script.answers()
    return script, stream


# --- openings -----------------------------------------------------------------------------------

MALFORMED: list[dict[str, Any]] = [
    {},
    {"kind": "receiver"},
    {"service": "service"},
    {"kind": "", "service": "service"},
    {"kind": "Receiver", "service": "service"},
    {"kind": "receivers", "service": "service"},
    {"kind": "receiver", "service": "service", "parent": "3"},
    {"kind": "receiver", "service": "x" * 256},
    {"kind": "receiver", "service": "service", "capacity": ""},
    {"kind": "receiver", "service": "service", "capacity": "-1"},
    {"kind": "receiver", "service": "service", "capacity": "1.0"},
    {"kind": "receiver", "service": "service", "capacity": "9" * 20},
    {"kind": "receiver", "service": "service", "capacity": "\u0661"},
    {"kind": "bytes", "service": "service", "capacity": "1"},
    {"kind": "receiver", "parent": "x"},
    {"kind": "receiver", "parent": "1"},  # itself
    {"kind": "receiver", "parent": "9" * 3_000},
    {"kind": "receiver", "service": "service", "type": "x" * 65},
]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("fields", MALFORMED)
def test_a_malformed_opening_ends_the_connection(fields: dict[str, Any], plain: bool) -> None:
    script = Transcript()
    script.refused(script.headers(1, fields, plain=plain))
    assert script.side.opened == []


def test_a_service_that_is_no_utf_8_ends_the_connection() -> None:
    script = Transcript()
    block = script._encoder.encode([(b"kind", b"receiver"), (b"service", b"\xff")])
    script.refused(hf.HeadersFrame(1, block, flags=["END_HEADERS"]).serialize())


UNKNOWN = {"later": "on", ":status": "100", "content-length": "x"}
"""Names that mean something in HTTP mean nothing here."""


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("plain", [False, True])
def test_fields_that_nobody_knows_are_ignored(name: str, plain: bool) -> None:
    script = Transcript()
    fields = {"service": "x" * 255, "capacity": 2**60, "type": "t" * 64, name: UNKNOWN[name]}
    script.say(script.headers(1, {"kind": "receiver"} | fields, plain=plain))
    (stream,) = script.side.opened
    assert (stream.opening.service, stream.capacity) == ("x" * 255, 2**60)


def test_an_opening_that_is_the_end_as_well_ends_the_connection() -> None:
    script = Transcript()
    script.refused(script.headers(1, {"kind": "receiver", "service": "service"}, end=True))


@pytest.mark.parametrize("stream_id", [2, 4, 2**31 - 2])
def test_an_id_of_our_own_parity_ends_the_connection(stream_id: int) -> None:
    script = Transcript()
    script.refused(script.opening(stream_id))


def test_an_id_below_an_earlier_one_ends_the_connection() -> None:
    script = Transcript()
    script.say(script.opening(5))
    script.refused(script.opening(3))


def test_more_open_channels_than_allowed_end_the_connection() -> None:
    script = Transcript(Limits(open_channels=3))
    script.say(*(script.opening(stream_id) for stream_id in (1, 3, 5)))
    script.refused(script.opening(7))


def test_nested_streams_count_as_well() -> None:
    script = Transcript(Limits(open_channels=3))
    script.say(script.opening(1), script.opening(3, parent=1), script.opening(5, parent=1))
    script.refused(script.opening(7, parent=1))


# --- frames that are not in the protocol --------------------------------------------------------

FOREIGN = {
    "PRIORITY": hf.PriorityFrame(1).serialize(),
    "PUSH_PROMISE": hf.PushPromiseFrame(1, promised_stream_id=2, flags=["END_HEADERS"]).serialize(),
    "CONTINUATION": hf.ContinuationFrame(1, flags=["END_HEADERS"]).serialize(),
    "ALTSVC": hf.AltSvcFrame(0, origin=b"x", field=b"y").serialize(),
    "unknown": frames.FRAME_HEADER.pack(0, 3, 0xF4, 0, 1) + b"abc",
    "padded DATA": hf.DataFrame(1, b"abc", flags=["PADDED"], pad_length=3).serialize(),
    "badly padded DATA": frames.FRAME_HEADER.pack(0, 1, 0, 8, 1) + b"\xff",
    "padded HEADERS": hf.HeadersFrame(1, b"", flags=["PADDED", "END_HEADERS"], pad_length=3).serialize(),
    "HEADERS with a priority": hf.HeadersFrame(3, b"", flags=["PRIORITY", "END_HEADERS"]).serialize(),
    "HEADERS without END_HEADERS": hf.HeadersFrame(3, b"").serialize(),
    "long HEADERS": hf.HeadersFrame(3, b"\x3f\xe1\x1f" * 1_400, flags=["END_HEADERS"]).serialize(),
    "DATA on stream 0": frames.FRAME_HEADER.pack(0, 1, 0, 0, 0) + b"a",
    "HEADERS on stream 0": frames.FRAME_HEADER.pack(0, 0, 1, 4, 0),
    "RST_STREAM on stream 0": frames.FRAME_HEADER.pack(0, 4, 3, 0, 0) + bytes(4),
    "SETTINGS on a stream": frames.FRAME_HEADER.pack(0, 0, 4, 0, 1),
    "PING on a stream": frames.FRAME_HEADER.pack(0, 8, 6, 0, 1) + bytes(8),
    "GOAWAY on a stream": frames.FRAME_HEADER.pack(0, 8, 7, 0, 1) + bytes(8),
    "short PING": frames.FRAME_HEADER.pack(0, 7, 6, 0, 0) + bytes(7),
    "short GOAWAY": frames.FRAME_HEADER.pack(0, 7, 7, 0, 0) + bytes(7),
    "short RST_STREAM": frames.FRAME_HEADER.pack(0, 3, 3, 0, 1) + bytes(3),
    "short WINDOW_UPDATE": frames.FRAME_HEADER.pack(0, 3, 8, 0, 1) + bytes(3),
    "WINDOW_UPDATE of nothing": frames.FRAME_HEADER.pack(0, 4, 8, 0, 1) + bytes(4),
    "SETTINGS cut short": frames.FRAME_HEADER.pack(0, 5, 4, 0, 0) + bytes(5),
    "SETTINGS ACK with settings": frames.FRAME_HEADER.pack(0, 6, 4, 1, 0) + bytes(6),
    "DATA on an idle stream": hf.DataFrame(9, b"abc").serialize(),
    "WINDOW_UPDATE on an idle stream": hf.WindowUpdateFrame(9, window_increment=1).serialize(),
    "HPACK that is none": hf.HeadersFrame(3, b"\xff\xff\xff\xff", flags=["END_HEADERS"]).serialize(),
    "an HPACK bomb": hf.HeadersFrame(3, b"\x40\x01a\x7f\xe1\x1e" + b"b" * 3_936 + b"\xbe" * 100).serialize(),
    "short TAKEN": Transcript.extension(frames.TAKEN, 1, bytes(7)),
    "TAKEN of a channel on which we only receive": Transcript.extension(frames.TAKEN, 1, bytes(8)),
    "DRAIN on a stream": Transcript.extension(frames.DRAIN, 1, bytes(4)),
    "long DRAIN": Transcript.extension(frames.DRAIN, 0, bytes(5)),
    "empty STOP": Transcript.extension(frames.STOP, 3, b""),
    "STOP with a code that is cut": Transcript.extension(frames.STOP, 3, b"\4abc"),
    "STOP of a channel": Transcript.extension(frames.STOP, 1, b"\3abc"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_frame_that_is_not_in_the_protocol_ends_the_connection(name: str) -> None:
    script, stream = opened()
    script.refused(FOREIGN[name])
    assert stream.in_reason is not None
    assert stream.in_reason.kind == "lost"


@pytest.mark.parametrize(
    ("error_code", "said", "text"),
    [
        (0, b"", "GOAWAY with code 0"),
        (77, b"bye\x1b[2J\n\xff", "bye\\x1b[2J\\n\ufffd"),
        (1, b"a" * 5_000, "a" * 256),
    ],
)
def test_goaway_ends_the_session_with_the_words_of_the_peer(error_code: int, said: bytes, text: str) -> None:
    script, stream = opened()
    with pytest.raises(SessionClosed) as caught:
        script.say(hf.GoAwayFrame(0, error_code=error_code, additional_data=said).serialize())
    assert (caught.value.code, caught.value.text) == ("protocol-error", text)
    script.mux.lose(caught.value)
    assert stream.in_reason is not None
    assert stream.in_reason.kind == "lost"


@pytest.mark.parametrize("kind", range(9))
def test_an_over_long_frame_is_refused_when_only_its_header_is_there(kind: int) -> None:
    script, _ = opened()
    header = frames.FRAME_HEADER.pack((LONGEST + 1) >> 8, (LONGEST + 1) & 0xFF, kind, 0, 1)
    script.say(header[:8])
    script.refused(header[8:])


def test_the_longest_frame_is_none_too_long() -> None:
    script, stream = opened("bytes", stream_window=LONGEST)
    script.say(script.data(1, bytes(LONGEST)))
    assert stream.incoming.size == LONGEST


@pytest.mark.parametrize(
    "greeting", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", b"\0"]
)
def test_another_greeting_ends_the_connection(greeting: bytes) -> None:
    script = Transcript(greet=False)
    script.refused(greeting)


@pytest.mark.parametrize(
    "settings",
    [
        {7: 0},
        {8: 0},
        {0: 1},
        {0xFF: 1},
        {4: 16_385},
        {4: 2**31},
        {3: 5_000},
        {5: 16_384},
        {5: 2**24},
        {1: 65_536},
        {1: 4_096},  # what h2 has by default
        {2: 1},
    ],
    ids=str,
)
def test_settings_that_were_not_agreed_end_the_connection(settings: dict[int, int]) -> None:
    script = Transcript()
    script.refused(hf.SettingsFrame(0, settings=settings).serialize())


def test_windows_that_overflow_end_the_connection() -> None:
    for stream_id in (0, 1):
        script, _ = opened("sender")
        script.refused(script.window(stream_id, 2**31 - 1))


# --- halves -------------------------------------------------------------------------------------


def test_data_on_the_half_towards_the_sender_ends_the_connection() -> None:
    for parts in ([b"abc", False], [b"abc", True], [b"", True]):
        script, _ = opening("receiver")
        script.refused(script.headers(1, {"accepted": ""}), script.data(1, parts[0], end=parts[1]))  # type: ignore[arg-type]
        script, _ = opened("sender")
        script.refused(script.data(1, parts[0], end=parts[1]))  # type: ignore[arg-type]


def test_an_acceptor_that_accepts_what_it_only_receives_ends_the_connection() -> None:
    script, _ = opening("receiver")
    script.refused(script.headers(1, {"accepted": ""}))


def test_data_before_the_headers_of_the_acceptor_ends_the_connection() -> None:
    script, _ = opening("bytes")
    script.refused(script.data(1, b"abc"))


@pytest.mark.parametrize("taken", ["", "-1", "x", "1" * 20, None])
def test_malformed_last_words_of_a_receiver_end_the_connection(taken: str | None) -> None:
    script, _ = opening()
    script.refused(script.headers(1, {"code": "closed"} | ({} if taken is None else {"taken": taken}), end=True))


def test_a_receiver_that_claims_more_than_was_sent_is_not_believed() -> None:
    script, sender = opening()
    send(sender, b"1")
    sender.finish(END)
    script.answers()
    script.say(script.headers(1, {"taken": 2}, end=True))
    assert sender.outgoing.peer_taken == 0
    assert sender.out_reason == Reason("refused", "closed")


def test_last_words_without_a_code_still_say_that_it_failed() -> None:
    script, receiver = opened()
    script.say(script.headers(1, {"text": "x"}, end=True))
    assert receiver.exhausted() == Reason("failed", "unknown", "x")


def test_the_words_of_a_peer_are_cut_and_never_an_error() -> None:
    script, stream = opened("bytes")
    script.say(script.extension(frames.STOP, 1, b"\xff" + b"\xc3" * 255 + b"\xff" * 5_000))
    reason = stream.out_reason
    assert reason is not None
    assert (len(reason.code), len(reason.text)) == (64, 1_024)


def test_anything_after_the_end_of_a_half_ends_the_connection() -> None:
    for late in (
        lambda s: s.data(1, b"x"),
        lambda s: s.data(1, end=True),
        lambda s: s.headers(1, {"code": "x"}, end=True),
    ):
        script, _ = opened("bytes")
        script.say(script.data(1, b"abc", end=True))
        script.refused(late(script))


def test_anything_on_a_stream_that_is_over_ends_the_connection() -> None:
    for many in (0, 300):  # also one that h2 has forgotten
        for late in (
            lambda s: s.data(1, b"x"),
            lambda s: s.data(1, end=True),
            lambda s: s.headers(1, {"code": "x"}, end=True),
            lambda s: s.opening(1),
        ):
            script, _ = opened()
            script.say(script.data(1, end=True))
            for stream_id in range(3, 3 + 2 * many, 2):
                script.say(script.opening(stream_id), script.data(stream_id, end=True))
                script.answers()
            script.answers()
            script.side.check_empty()
            script.refused(late(script))


def test_anything_on_a_stream_that_the_peer_has_reset_ends_the_connection() -> None:
    for late in (lambda s: s.data(1, b"x"), lambda s: s.headers(1, {"code": "x"}, end=True), lambda s: s.opening(1)):
        script, _ = opened("bytes")
        script.say(script.reset(1))
        script.refused(late(script))


def test_a_header_block_over_the_limit_ends_the_connection() -> None:
    for size, passes in ((4_000, True), (4_096, False)):
        script = Transcript()
        block = b"\x3f\xe1\x1f" * (size // 3) + script._encoder.encode([(b"kind", b"bytes"), (b"service", b"x")])
        frame = hf.HeadersFrame(1, block, flags=["END_HEADERS"]).serialize()
        if passes:
            script.say(frame)
            assert len(script.side.opened) == 1
        else:
            script.refused(frame)


def test_late_credit_taken_counts_and_stops_are_no_error() -> None:
    """They may cross the end."""
    script, _ = opened("bytes")
    (stream,) = script.side.opened
    stream.finish(END)
    script.say(script.data(1, end=True))
    script.answers()
    script.side.check_empty()
    script.say(script.window(1, 8_192), script.extension(frames.STOP, 1, b"\6closed"), script.reset(1))
    assert script.heard() == []


# --- RST_STREAM ---------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["new", "data", "partial", "they ended", "we ended"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ours", [False, True])
def test_a_reset_stream_is_over_on_both_halves(kind: str, ours: bool, state: str) -> None:
    script, stream = opening(kind) if ours else opened(kind)
    if stream.carries_in:
        if ours:
            script.say(script.headers(1, {"accepted": ""}))
        if state in ("data", "partial"):
            script.say(script.data(1, message(b"whole") + (message(b"part")[:-1] if state == "partial" else b"")))
        if state == "they ended":
            script.say(script.data(1, end=True))
    if stream.carries_out and state != "they ended":
        send(stream, bytes(2 * WINDOW))
    if stream.carries_out and state == "we ended":
        stream.finish(END)
    script.answers()
    settled = stream.in_reason
    script.say(script.reset(1))
    script.side.check_empty()
    if stream.carries_out:
        assert stream.out_reason == Reason("refused", "reset")
        assert not stream.outgoing.can_write() or stream.outgoing.queued == 0
    if stream.carries_in:  # what was not taken is dropped: the stream has no place among the open ones any more
        assert stream.incoming.size == 0
        assert stream.exhausted() == (settled or Reason("failed", "reset"))
    # And what the application does with it now goes nowhere.
    stream.refuse(Reason("refused", "closed"))
    stream.finish(END)
    assert script.heard() == []
    script.side.check_empty()


def test_a_reset_does_not_change_what_was_settled() -> None:
    script, sender = opening()
    script.say(script.headers(1, {"taken": 0, "code": "busy"}, end=True), script.reset(1))
    assert sender.out_reason == Reason("refused", "busy")
    assert script.heard() == []
    script.side.check_empty()


def test_a_reset_after_the_end_is_no_end_when_something_was_left() -> None:
    script, stream = opened()
    script.say(script.data(1, message(b"1") * 2, end=True))
    assert take(stream) == b"1"
    script.say(script.reset(1))
    assert take(stream) is None
    assert stream.exhausted() == Reason("failed", "reset")
    script.side.check_empty()


# --- floods -------------------------------------------------------------------------------------


def flood(script: Transcript, frame: Callable[[int], bytes], count: int, *, a_second: float = 0.0) -> int:
    """How many of them pass."""
    for number in range(count):
        try:
            script.say(frame(number))
        except RemoteProtocolError:
            return number
        if a_second:
            script.now += 1 / a_second
    return count


FLOODS: dict[str, Any] = {
    "PING": lambda _: hf.PingFrame(0, opaque_data=bytes(8)).serialize(),
    "PING that answers none": lambda _: hf.PingFrame(0, opaque_data=bytes(8), flags=["ACK"]).serialize(),
    "SETTINGS": lambda _: Transcript.settings(Limits()),
    "SETTINGS that answer none": lambda _: hf.SettingsFrame(0, flags=["ACK"]).serialize(),
    "empty DATA": lambda _: Transcript.data(1),
    "credit for the connection": lambda _: Transcript.window(0, 1),
    "TAKEN that falls": lambda _: Transcript.extension(frames.TAKEN, 3, bytes(8)),
    "TAKEN of nothing": lambda _: Transcript.extension(frames.TAKEN, 99, bytes(8)),
    "DRAIN": lambda _: Transcript.extension(frames.DRAIN, 0, bytes(4)),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_frames_that_change_nothing_ends_the_connection(name: str) -> None:
    script, _ = opened()
    script.say(script.opening(3, "sender"))
    assert 199 <= flood(script, FLOODS[name], 1_000) <= 202
    assert ("GOAWAY", 11) in script.heard()


LATE_FLOODS = {
    "STOP of nothing": Transcript.extension(frames.STOP, 99, b"\3abc"),
    "STOP of a half that is over": Transcript.extension(frames.STOP, 1, b"\3abc"),
    "STOP of a stream that is over": Transcript.extension(frames.STOP, 3, b"\3abc"),
    "credit for a half that is over": Transcript.window(1, 1),
    "credit for a stream that is over": Transcript.window(3, 1),
}


@pytest.mark.parametrize("name", LATE_FLOODS)
def test_a_flood_of_what_may_cross_last_words_ends_the_connection(name: str) -> None:
    script, half = opened("bytes")
    script.say(script.opening(3, "bytes"), script.data(3, end=True))
    half.finish(END)
    script.side.opened[1].finish(END)
    script.answers()
    assert list(script.mux.streams) == [1]
    assert flood(script, lambda _: LATE_FLOODS[name], 1_000) == 200 + 2 * LATE
    assert ("GOAWAY", 11) in script.heard()


def test_what_comes_now_and_then_is_no_flood() -> None:
    for name in FLOODS:
        script, _ = opened()
        script.say(script.opening(3, "sender"))
        assert flood(script, FLOODS[name], 1_000, a_second=19) == 1_000


def test_resets_have_a_smaller_allowance() -> None:
    script = Transcript(Limits(open_channels=10_000))

    def open_and_reset(number: int) -> bytes:
        return script.opening(2 * number + 1) + script.reset(2 * number + 1)

    assert flood(script, open_and_reset, 1_000) == 100
    script = Transcript(Limits(open_channels=10_000))
    assert flood(script, open_and_reset, 300, a_second=19) == 300


def test_our_own_pings_may_be_answered_as_often_as_we_send_them() -> None:
    script = Transcript()
    for number in range(1_000):
        script.mux.ping(number.to_bytes(8, "big"))
    script.answers()
    script.say(*(hf.PingFrame(0, opaque_data=n.to_bytes(8, "big"), flags=["ACK"]).serialize() for n in range(1_000)))
    assert len(script.side.pongs) == 1_000


def test_honest_opening_and_ending_is_no_flood() -> None:
    pair = Pair()
    for _ in range(1_000):
        sender, receiver = pair.channel()
        send(sender, b"x")
        sender.finish(END)
        pair.turn()
        take_all(receiver)
        near, far = pair.open("bytes", by_server=True)
        near.refuse(Reason("refused", "closed"))
        near.finish(END)
        far.refuse(Reason("refused", "closed"))
        pair.turn()
    pair.check_empty()


# --- anything at all ----------------------------------------------------------------------------


def a_valid_life() -> list[bytes]:
    """What the client of a session says, frame by frame."""
    script = Transcript()
    say = script
    table = message(b"\xd4\1\0", ("bytes", 5))
    return [
        frames.PREFACE,
        script.settings(Limits()),
        say.window(0, 2**30 - 65_535),
        say.opening(1),
        say.opening(3, "sender", service="service", capacity=2),
        say.data(1, message(b"x") * 3),
        say.opening(5, "bytes", parent=1),
        say.data(5, b"some bytes"),
        say.data(1, table + message(bytes(40_000))[:5_000]),
        say.taken(3, 1),
        say.window(3, 8_192),
        hf.PingFrame(0, opaque_data=b"12345678").serialize(),
        say.opening(7, "bytes"),
        say.data(7, bytes(9_000)),
        say.extension(frames.STOP, 7, b"\6closedwhy"),
        say.data(7, end=True),
        say.headers(3, {"taken": 1, "code": "closed", "text": "no more"}, end=True),
        say.data(1, bytes(3_000)),
        say.headers(5, {"code": "oops", "text": ""}, end=True),
        say.extension(frames.DRAIN, 0, bytes(4)),
        say.data(1, end=True),
        say.opening(9, "receiver", service="late"),
        say.reset(9),
        hf.GoAwayFrame(0).serialize(),
    ]


VALID = a_valid_life()


def play(parts: list[bytes], act: random.Random, *, client_side: bool = False) -> None:
    """Nothing but these two may come of it, whatever the application does in between."""
    script = Transcript(greet=False, client_side=client_side)
    mux = script.mux
    streams: list[Stream] = []
    for kind in KINDS:
        streams.append(mux.open(Opening(kind, service="ours")))
        if streams[-1].carries_out:
            send(streams[-1], b"1", bytes(20_000))
    for part in parts:
        try:
            mux.receive_data(part, script.now)
        except (RemoteProtocolError, SessionClosed) as exc:
            if isinstance(exc, RemoteProtocolError):
                check_words(exc)
            mux.lose(exc)
            break
        streams += script.side.opened
        script.side.opened.clear()
        for stream in streams:
            an_application(mux, stream, act)
        script.now += act.choice([0.0, 0.0, 0.1, 12.0, 31.0])
        mux.tick(overdue_at(script.now))
        mux.data_to_send(script.now)
    for stream in streams:
        take_all(stream) if not stream.is_bytes else read_all(stream)
        stream.discard("closed")
    mux.has_output()
    mux.data_to_send(script.now)


def an_application(mux: Any, stream: Stream, act: random.Random) -> None:
    match act.randrange(8):
        case 0 if stream.is_bytes:
            if data := stream.incoming.read(5_000):
                stream.incoming.took_bytes(len(data))
        case 0 | 1 if stream.carries_in and not stream.is_bytes:
            if (got := stream.incoming.next_message()) is not None:
                for child in list(stream.children or {}):
                    mux.claim(stream, act.choice(KINDS), child)
                if act.random() < 0.9:
                    stream.incoming.took_message(len(got[1]))
                else:
                    stream.reject("bad-message", "")
        case 2 if stream.carries_out and stream.out_reason is None and stream.outgoing.can_write():
            stream.outgoing.write(message(bytes(act.choice([1, 100, 20_000]))))
        case 3 if act.random() < 0.1:
            stream.discard("not-taken")
        case 4 if act.random() < 0.2 and stream.carries_out:
            stream.finish(END)
        case 5 if act.random() < 0.2 and stream.carries_in:
            stream.refuse(Reason("refused", "closed"))
        case _:
            stream.exhausted()


def mutate(parts: list[bytes], act: random.Random) -> list[bytes]:
    parts = list(parts)
    for _ in range(act.randrange(1, 4)):
        at = act.randrange(1, len(parts))
        match act.randrange(8):
            case 0:
                del parts[at]
            case 1:
                parts.insert(at, parts[act.randrange(len(parts))])
            case 2:
                parts[at] = parts[at][: act.randrange(len(parts[at]) + 1)]
            case 3 if parts[at]:
                where = act.randrange(min(len(parts[at]), 40))
                parts[at] = parts[at][:where] + bytes([act.randrange(256)]) + parts[at][where + 1 :]
            case 4:  # another stream
                parts[at] = (
                    parts[at][:5] + act.choice([0, 1, 2, 3, 5, 7, 9, 11, 2**31 - 1]).to_bytes(4, "big") + parts[at][9:]
                )
            case 5:  # another type or other flags
                where = act.choice([3, 4])
                value = act.choice([*range(10), 0xF1, 0xF2, 0xF3, 0x24, 0x2D])
                parts[at] = parts[at][:where] + bytes([value]) + parts[at][where + 1 :]
            case 6:
                other = act.randrange(1, len(parts))
                parts[at], parts[other] = parts[other], parts[at]
            case _:
                junk = act.randbytes(act.randrange(30))
                parts.insert(at, frames.FRAME_HEADER.pack(0, len(junk), act.randrange(10), act.randrange(64), 1) + junk)
    return parts


def test_the_transcript_that_is_mutated_is_a_valid_one() -> None:
    script = Transcript(greet=False)
    script.say(*VALID[:-1])
    assert [stream.id for stream in script.side.opened] == [1, 3, 7, 9]
    with pytest.raises(SessionClosed) as caught:
        script.say(VALID[-1])
    assert caught.value.code == "protocol-error"


@pytest.mark.parametrize("seed", range(40))
def test_no_mutation_of_a_valid_transcript_raises_anything_else(seed: int) -> None:
    for round_ in range(25):
        act = random.Random(1_000 * seed + round_)
        play(mutate(VALID, act), act)
        ours = [part for part in VALID if part != frames.PREFACE]
        play(mutate(ours, act), act, client_side=True)


@given(st.lists(st.binary(max_size=60), max_size=10), st.booleans())
@hypothesis.settings(max_examples=200, deadline=None)
def test_no_bytes_raise_anything_else(parts: list[bytes], greeted: bool) -> None:
    play(([frames.PREFACE] if greeted else []) + parts, random.Random(0))


TYPES = st.sampled_from([*range(10), 0xF1, 0xF2, 0xF3, 0xF4])
ONE_FRAME = st.builds(
    lambda kind, flags, stream_id, body: frames.FRAME_HEADER.pack(0, len(body), kind, flags, stream_id) + body,
    TYPES,
    st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x25]) | st.integers(0, 255),
    st.integers(0, 10) | st.integers(0, 2**32 - 1),
    st.binary(max_size=40) | st.sampled_from([bytes(4), bytes(8), b"\0\0\0\1", VALID[3][9:], VALID[6][9:]]),
)


@pytest.mark.slow
@given(st.lists(ONE_FRAME, max_size=12), st.integers())
@hypothesis.settings(max_examples=300, deadline=None)
def test_no_frames_raise_anything_else(parts: list[bytes], seed: int) -> None:
    play([frames.PREFACE, *parts], random.Random(seed))


@pytest.mark.parametrize("seed", range(60))
def test_two_honest_sides_never_raise_whatever_their_applications_do(seed: int) -> None:
    act = random.Random(seed)
    pair = Pair(Limits(open_channels=20, session_budget=100_000, message_size=60_000))
    streams: list[Stream] = []
    for step in range(150):
        side, _ = act.choice([(pair.client, 0), (pair.server, 1)])
        if act.random() < 0.3 and side.mux.slots() > 0 and step < 100:
            parents = [
                s for s in streams if s._mux is side.mux and s.carries_out and not s.is_bytes and not s.out_ended
            ]
            if parents and act.random() < 0.5:
                parent = act.choice(parents)
                kind = act.choice(KINDS)
                child = side.mux.open(Opening(kind, parent=parent.id))
                streams.append(child)
                if parent.out_reason is None and act.random() < 0.8:
                    parent.outgoing.write(message(b"\xd4\1\0", (kind, child.id)))
            else:
                streams.append(side.mux.open(Opening(act.choice(KINDS), service="x", capacity=None)))
        for one in (pair.client, pair.server):
            streams += one.opened
            one.opened.clear()
        for stream in streams:
            if act.random() < 0.5:
                honest(stream, act, streams)
        if act.random() < 0.5:
            pair.carry(pair.client, pair.server)
        if act.random() < 0.5:
            pair.carry(pair.server, pair.client)
        pair.now += act.choice([0.0, 0.01, 1.0, 11.0])
        pair.client.mux.tick(overdue_at(pair.now))
        pair.server.mux.tick(overdue_at(pair.now))
    wind_up(pair, streams)


def honest(stream: Stream, act: random.Random, streams: list[Stream]) -> None:
    mux: Any = stream._mux
    if stream.is_bytes and act.random() < 0.5:
        read_all(stream)
    if stream.carries_in and not stream.is_bytes and act.random() < 0.5:
        got = stream.incoming.next_message()
        if got is not None:
            head, payload = got
            if head & 0x8000_0000:
                entry = payload[1], int.from_bytes(payload[2:6], "big")
                child = mux.claim(stream, KINDS[entry[0] - 1], entry[1])
                assert child is not None
                streams.append(child)
            stream.incoming.took_message(len(payload))
    if stream.carries_out and stream.out_reason is None:
        if stream.outgoing.can_write():
            stream.outgoing.write(message(bytes(act.choice([0, 10, 1_000, 9_000, 30_000, 59_000]))))
        if act.random() < 0.1:
            stream.finish(END) if act.random() < 0.5 else stream.finish(Reason("failed", "oops"))
    if stream.carries_in and act.random() < 0.05:
        stream.refuse(Reason("refused", "closed"))


def wind_up(pair: Pair, streams: list[Stream]) -> None:
    """Close everything: nothing is left, and every sender knows how it ended."""
    for _ in range(10):
        for one in (pair.client, pair.server):
            streams += one.opened
            one.opened.clear()
        for stream in streams:
            if stream.carries_in:
                stream.refuse(Reason("refused", "closed"))
            if stream.carries_out:
                stream.finish(END)
        pair.turn()
        pair.now += 31
        pair.client.mux.tick(overdue_at(pair.now))
        pair.server.mux.tick(overdue_at(pair.now))
    for stream in streams:
        if stream.carries_out:
            assert stream.out_reason is not None
        if stream.carries_in:
            assert stream.exhausted() is not None
            assert stream.in_reason == END or stream.in_reason is not None
    pair.check_empty()


def test_our_own_mistakes_are_local_ones() -> None:
    script, stream = opened("sender")
    script.mux._h2.send_headers(1, [(b"accepted", b"")])
    script.mux._h2.send_headers(1, [(b"code", b"x")], end_stream=True)
    send(stream, b"x")
    with pytest.raises(LocalProtocolError):
        script.mux.data_to_send(script.now)
    script, _ = opened()
    script.refused(FOREIGN["PRIORITY"])
    with pytest.raises(LocalProtocolError):
        script.mux.ping(bytes(8))
