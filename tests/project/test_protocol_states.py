"""What each frame gets in each state of its stream: the table of protocol section 4.1, walked on the real mux."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from chanlink.errors import END, Reason, RemoteProtocolError
from chanlink.limits import Limits
from chanlink.wire.opening import Opening
from chanlink.wire.stream import Stream
from tests.wire.muxes import Side, frames_of

from . import page_peer as page

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "protocol.md").read_text()
MESSAGE = page.message(b"\xc0")
STATES = [
    "never opened",
    "open",
    "its sender's half is over",
    "its reader's half is over",
    "both are over",
    "it was reset",
]


def the_table() -> dict[str, list[str]]:
    """The rows of the page: for each kind of frame what it gets in each state; the last column has two states."""
    section = PAGE.partition("### 4.1 ")[2].partition("### 4.2 ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    assert lines[0] == ["frame", *STATES[:4], "both are over, or it was reset"]
    return {row[0]: [*row[1:], row[-1]] for row in lines[2:]}


TABLE = the_table()


class Case(NamedTuple):
    """A stream, as the side has it that reads the frame: of which kind, whether that side opened it, and whether the
    other side, if it is the acceptor, has said so."""

    kind: Any
    by_reader: bool
    accepted: bool = False

    @property
    def carrying(self) -> bool:
        """Whether the half of the frame's sender carries messages or bytes."""
        return self.kind == "bytes" or (self.kind == "sender") == self.by_reader


KINDS = [Case(kind, by_reader) for kind in ("receiver", "sender", "bytes") for by_reader in (False, True)]
ACCEPTED = [Case("sender", True, True), Case("bytes", True, True)]
ALL = KINDS + ACCEPTED
MAY_SEND = [case for case in ALL if case.carrying and (case.accepted or not case.by_reader)]
TAKES = [Case("receiver", True), Case("sender", False)]
Frame = Callable[[int, Case], bytes]


def opening(stream_id: int, case: Case) -> bytes:
    return page.headers(stream_id, {"kind": case.kind, "service": "service"})


def first_headers(stream_id: int, case: Case) -> bytes:
    return page.headers(stream_id, {"accepted": ""})


def last_headers(stream_id: int, case: Case) -> bytes:
    return page.headers(stream_id, {"taken": "0", "code": "closed", "text": ""}, end=True)


def some_data(stream_id: int, case: Case) -> bytes:
    return page.data(stream_id, MESSAGE)


def last_data(stream_id: int, case: Case) -> bytes:
    return page.data(stream_id, end=True)


def empty_data(stream_id: int, case: Case) -> bytes:
    return page.data(stream_id)


def credit(stream_id: int, case: Case) -> bytes:
    return page.window(stream_id, 1)


def reset(stream_id: int, case: Case) -> bytes:
    return page.frame(page.RST_STREAM, stream_id, bytes(4))


def taken(stream_id: int, case: Case) -> bytes:
    return page.taken(stream_id, 1)


def stop(stream_id: int, case: Case) -> bytes:
    return page.stop(stream_id, "closed")


FRAMES: dict[str, tuple[list[Frame], list[Case]]] = {
    "HEADERS that open": ([opening], [case for case in KINDS if not case.by_reader]),
    "HEADERS without END_STREAM": ([first_headers], [case for case in KINDS if case.carrying and case.by_reader]),
    "any other HEADERS": ([first_headers], [case for case in ALL if not case.carrying or case in MAY_SEND]),
    "HEADERS with END_STREAM": ([last_headers], ALL),
    "DATA on a carrying half": ([some_data, last_data], MAY_SEND),
    "such DATA": ([empty_data], MAY_SEND),
    "any other DATA": ([some_data, last_data, empty_data], [case for case in ALL if case not in MAY_SEND]),
    "WINDOW_UPDATE": ([credit], ALL),
    "RST_STREAM": ([reset], ALL),
    "TAKEN on a channel": ([taken], TAKES),
    "any other TAKEN": ([taken], [case for case in ALL if case not in TAKES]),
    "STOP on a byte stream": ([stop], [case for case in ALL if case.kind == "bytes"]),
    "STOP on a channel": ([stop], [case for case in ALL if case.kind != "bytes"]),
}
"""By the beginnings of the page's rows: the frames that are meant, and the streams."""


def cells() -> Iterator[Any]:
    for row, outcomes in TABLE.items():
        (name,) = (name for name in FRAMES if row.startswith(name) and not re.match(r"\w", row[len(name) :]))
        for outcome, state in zip(outcomes, STATES, strict=True):
            yield pytest.param(name, state, outcome, id=f"{name}, {state}")


class Reader:
    """The side that reads the frame, and one stream of it in some state."""

    def __init__(self, case: Case, state: str, *, client_side: bool = False) -> None:
        limits = Limits()
        self.case = case
        self.side = Side(client_side=client_side, limits=limits, peer=limits.announced())
        ours, theirs = (1, 2) if client_side else (2, 1)
        self.say(b"" if client_side else page.PREFACE, page.frame(page.SETTINGS, 0))
        self.say(page.headers(theirs, {"kind": "bytes", "service": "bystander"}))
        self.stream_id = ours if case.by_reader else theirs + 2
        if state != "never opened":
            self.stream = self.open()
            if self.stream.carries_out:
                self.stream.outgoing.write(MESSAGE)
            self.write()
        if state == "its sender's half is over":
            self.end_of_sender()
        if state == "its reader's half is over":
            self.end_of_reader()
        if state == "both are over":
            self.end_of_sender()
            self.end_of_reader()
            assert self.stream_id not in self.side.mux.streams
        if state == "it was reset":
            self.say(reset(self.stream_id, case))

    def say(self, *frames: bytes) -> None:
        self.side.mux.receive_data(b"".join(frames), 1_000.0)

    def write(self) -> None:
        while frames_of(self.side.mux, 1_000.0):
            pass

    def open(self) -> Stream:
        if not self.case.by_reader:
            self.say(opening(self.stream_id, self.case))
            return self.side.opened[-1]
        stream = self.side.mux.open(Opening(self.case.kind, service="service"))
        self.write()
        if self.case.accepted:
            self.say(first_headers(self.stream_id, self.case))
        return stream

    def end_of_sender(self) -> None:
        """In order, with a message that nobody takes: else the last words of a receiver follow at once."""
        if self.case in MAY_SEND:
            self.say(some_data(self.stream_id, self.case), last_data(self.stream_id, self.case))
        else:
            self.say(last_headers(self.stream_id, self.case))

    def end_of_reader(self) -> None:
        if self.stream.carries_out:
            self.stream.finish(END)
        else:
            self.stream.refuse(Reason("refused", "closed"))
        self.write()

    def outcome(self, frame: bytes) -> str:
        h2 = self.side.mux._h2

        def books() -> dict[str, float]:
            return {"counted": h2._idle.left(1_000.0), "late": h2._expected["late"], "reset": h2._resets.left(1_000.0)}

        before = books()
        try:
            self.say(frame)
        except RemoteProtocolError:
            return "error"
        after = books()
        # An opening brings eight more that may be late.
        return next((name for name in before if after[name] < before[name]), "fine")


def test_every_row_of_the_page_is_walked() -> None:
    assert {name for name, *_ in (param.values for param in cells())} == set(FRAMES)
    assert len(TABLE) == len(FRAMES)


@pytest.mark.parametrize("client_side", [True, False], ids=["client", "server"])
@pytest.mark.parametrize(("name", "state", "outcome"), list(cells()))
def test_a_frame_gets_what_the_table_of_the_page_says(name: str, state: str, outcome: str, client_side: bool) -> None:
    frames, cases = FRAMES[name]
    for case in cases:
        for frame in frames:
            reader = Reader(case, state, client_side=client_side)
            got = reader.outcome(frame(reader.stream_id, case))
            assert got == outcome, (case, frame.__name__)


# --- what the page says around the table ----------------------------------------------------------------


def reader(kind: Any = "bytes", *, by_reader: bool = False) -> Reader:
    return Reader(Case(kind, by_reader), "open")


FLAGGED = {
    "DATA": page.frame(page.DATA, 3, b"abc", 0xD2),
    "HEADERS": page.frame(page.HEADERS, 5, page.block({"kind": "bytes", "service": "x"}), 0xD2 | page.END_HEADERS),
    "WINDOW_UPDATE": page.frame(page.WINDOW_UPDATE, 3, bytes([0, 0, 0, 1]), 0xFF),
    "TAKEN": page.frame(page.TAKEN, 2**31 - 1, bytes(8), 0xFF),
    "DRAIN": page.frame(page.DRAIN, 0, bytes(4), 0xFF),
    "STOP": page.frame(page.STOP, 3, b"\x06closed", 0xFF),
    "PING": page.frame(page.PING, 0, bytes(8), 0xFE),
    "a reserved bit": page.frame(page.DATA, 2**31 | 3, b"abc"),
}


@pytest.mark.parametrize("name", FLAGGED)
def test_flags_that_a_frame_does_not_have_are_ignored(name: str) -> None:
    assert reader().outcome(FLAGGED[name]) != "error"


@pytest.mark.parametrize("kind", [2, 5, 9, 0xA, 0xF0, 0xF4, 0xFF])
def test_a_frame_of_another_type_is_an_error(kind: int) -> None:
    for stream_id in (0, 3, 99):
        assert reader().outcome(page.frame(kind, stream_id, bytes(5))) == "error"


SETTINGS = {
    "none at all": b"",
    "no entry": page.frame(page.SETTINGS, 0),
    "one entry": page.frame(page.SETTINGS, 0, b"\0\2" + bytes(4)),
    "after other frames": page.window_of_the_connection() + page.frame(page.SETTINGS, 0),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_may_come_late_with_few_entries_or_not_at_all(name: str) -> None:
    limits = Limits()
    side = Side(client_side=False, limits=limits, peer=limits.announced())
    side.mux.receive_data(page.PREFACE + SETTINGS[name], 0.0)
    side.mux.receive_data(page.headers(1, {"kind": "bytes", "service": "service"}) + page.data(1, b"abc"), 0.0)
    assert side.opened[0].incoming.read(9) == b"abc"


@pytest.mark.parametrize("count", [0, 2, 2**64 - 1])
def test_a_count_that_can_not_be_changes_nothing_and_is_counted(count: int) -> None:
    one = reader("receiver", by_reader=True)
    assert one.outcome(page.taken(2, count)) == "counted"
    assert one.stream.outgoing.peer_taken == 0
    assert one.outcome(page.taken(2, 1)) == "fine"
    assert one.outcome(page.taken(2, 1)) == "counted"  # nothing new


def test_a_receiver_does_not_count_what_the_capacity_allows() -> None:
    one = Reader(Case("bytes", False), "open")
    one.say(page.headers(5, {"kind": "receiver", "service": "x", "capacity": "1"}), page.data(5, MESSAGE * 3))
    assert one.side.opened[-1].incoming.size == 3 * len(MESSAGE)


def test_of_two_fields_with_the_same_name_the_last_one_counts() -> None:
    one = reader()
    fields = page.block({"kind": "receiver", "service": "x"}) + page.block({"kind": "sender"})
    one.say(page.frame(page.HEADERS, 5, fields, page.END_HEADERS))
    assert one.side.opened[-1].kind == "sender"


REFUSALS: dict[str, list[tuple[Any, ...]]] = {
    "receiver": [("HEADERS", {"taken": "0", "code": "busy", "text": "why"}, True)],
    "sender": [("HEADERS", {"accepted": ""}, False), ("HEADERS", {"code": "busy", "text": "why"}, True)],
    "bytes": [
        ("STOP", b"\4busywhy", False),
        ("HEADERS", {"accepted": ""}, False),
        ("HEADERS", {"code": "busy", "text": "why"}, True),
    ],
}
"""Section 6: what an acceptor says that does not want a stream of this kind."""


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_has_the_form_of_the_page(kind: str) -> None:
    one = reader(kind)
    frames_of(one.side.mux, 1_000.0)
    fresh = Reader(Case(kind, False), "never opened")
    fresh.write()
    fresh.say(opening(3, fresh.case))
    fresh.side.opened[-1].discard("busy", "why")
    heard = []
    for number, flags, stream_id, payload in page.cut(frames_of(fresh.side.mux, 1_000.0)):
        assert stream_id == 3
        said: Any = page.fields_of(payload) if number == page.HEADERS else payload
        heard.append((page.NAMES[number], said, number == page.HEADERS and bool(flags & page.END_STREAM)))
    assert heard == REFUSALS[kind]


@pytest.mark.parametrize("short", [False, True], ids=["with accepted", "without"])
@pytest.mark.parametrize("kind", ["receiver", "sender", "bytes"])
def test_a_refusal_in_the_form_of_the_page_is_understood_and_answered(kind: str, short: bool) -> None:
    one = Reader(Case(kind, True), "open")
    said = [frame for frame in REFUSALS[kind] if not short or frame[1] != {"accepted": ""}]
    for name, what, end in said:
        one.say(page.headers(2, what, end=end) if name == "HEADERS" else page.frame(page.STOP, 2, what))
    stream = one.stream
    if kind != "sender":
        assert stream.out_reason == Reason("refused", "busy", "why")
    if kind != "receiver":
        assert stream.exhausted() == Reason("failed", "busy", "why")
    ((number, flags, _, payload),) = page.cut(frames_of(one.side.mux, 1_000.0))
    assert flags & page.END_STREAM
    if kind == "sender":
        assert (number, page.fields_of(payload)) == (page.HEADERS, {"taken": "0"})
    else:
        assert (number, payload) == (page.DATA, b"")
    assert 2 not in one.side.mux.streams
