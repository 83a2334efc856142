"""Two muxes and bytes passed between them in memory; and a peer that says what it is told to, frame by frame."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import hpack
import pytest
from hyperframe import frame as hf

from chanlink.channels.values import Kind
from chanlink.errors import RemoteProtocolError
from chanlink.features import FEATURES
from chanlink.limits import Limits, PeerLimits
from chanlink.wire.h2 import frames, headers
from chanlink.wire.h2.connection import settings
from chanlink.wire.h2.rules import BrokenRule
from chanlink.wire.messages.framing import HAS_TABLE, MESSAGE_HEADER
from chanlink.wire.mux import Mux
from chanlink.wire.opening import Opening
from chanlink.wire.stream import Stream

Cut = Callable[[bytes], Iterable[bytes]]
KINDS: tuple[Kind, ...] = ("receiver", "sender", "bytes")
ENTRY = {"receiver": 1, "sender": 2, "bytes": 3}


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]


def message(body: bytes, *entries: tuple[Kind, int]) -> bytes:
    """As protocol section 8 has it."""
    table = b"".join(bytes([ENTRY[kind]]) + stream_id.to_bytes(4, "big") for kind, stream_id in entries)
    if not table:
        return MESSAGE_HEADER.pack(len(body)) + body
    return MESSAGE_HEADER.pack(HAS_TABLE | (1 + len(table) + len(body))) + bytes([len(entries)]) + table + body


def check_words(exc: RemoteProtocolError) -> None:
    """It names the rule that was broken, and nothing of h2's inside."""
    words = str(exc)
    assert not re.search(r"Inputs|State\b|Error|Invalid|Received|RECV_|SEND_|h2\b|[<>{}\[\]]", words), words
    assert 15 < len(words) < 200
    assert isinstance(exc.__cause__, BrokenRule | KeyError | ValueError | None)


def overdue_at(now: float) -> Callable[[float, float], bool]:
    """What is overdue then, of a peer that was always there."""
    return lambda since, limit: now - since >= limit


class Side:
    """A mux, and what it told its owner."""

    def __init__(
        self, *, client_side: bool, limits: Limits, peer: PeerLimits, features: Collection[str] = FEATURES
    ) -> None:
        self.opened: list[Stream] = []
        self.pongs: list[bytes] = []
        self.wakes = 0
        self.peer_drained = 0
        self.mux = Mux(self, client_side=client_side, limits=limits, peer_limits=peer, features=features)

    def stream_opened(self, stream: Stream) -> None:
        self.opened.append(stream)

    def pong(self, payload: bytes) -> None:
        self.pongs.append(payload)

    def peer_drains(self) -> None:
        self.peer_drained += 1

    def wake_writer(self) -> None:
        self.wakes += 1

    def check_empty(self) -> None:
        """Nothing is left of any stream."""
        mux = self.mux
        h2 = mux._h2
        tables: list[Any] = [mux.streams, mux.nested.waiting, mux.nested.over, mux.nested._forsaken, mux._opening]
        tables += [mux._active, mux._is_active, mux._credit_due, mux.credit._borrowers, h2.streams]
        assert [len(table) for table in tables] == [0] * len(tables)
        assert mux.slots() == mux.peer_limits.open_channels
        assert h2._open_count == [0, 0]
        assert mux.credit.budget == mux.limits.session_budget


class Look:
    """Whom a stream belongs to, as far as it cares: it calls something."""

    def __init__(self, look: Callable[[], object]) -> None:
        self.readable = self.writable = look


class Pair:
    """h11's ConnectionPair: what one makes is given to the other."""

    def __init__(
        self,
        limits: Limits | None = None,
        server_limits: Limits | None = None,
        *,
        cut: Cut = whole,
        start: bool = True,
        features: Collection[str] = FEATURES,
    ) -> None:
        limits = limits or Limits()
        server_limits = server_limits or limits
        self.client = Side(client_side=True, limits=limits, peer=server_limits.announced(), features=features)
        self.server = Side(client_side=False, limits=server_limits, peer=limits.announced(), features=features)
        self.cut = cut
        self.now = 1_000.0
        self.sent = 0
        if start:
            self.turn()

    def carry(self, one: Side, other: Side) -> int:
        """One turn of one writer."""
        data = frames_of(one.mux, self.now)
        for part in self.cut(data):
            if part:
                other.mux.receive_data(part, self.now)
        self.sent += len(data)
        return len(data)

    def turn(self) -> None:
        """Until neither side has anything left to say."""
        while self.carry(self.client, self.server) + self.carry(self.server, self.client):
            pass

    def open(self, kind: Kind, *, by_server: bool = False, **options: Any) -> tuple[Stream, Stream]:
        """A top-level stream: the opener's and the acceptor's side of it."""
        opener, acceptor = (self.server, self.client) if by_server else (self.client, self.server)
        ours = opener.mux.open(Opening(kind, service="service", **options))
        self.turn()
        return ours, acceptor.opened[-1]

    def channel(self, *, by_server: bool = False, kind: Kind = "receiver", **options: Any) -> tuple[Stream, Stream]:
        """A channel: the side that sends, the side that receives."""
        ours, theirs = self.open(kind, by_server=by_server, **options)
        return (ours, theirs) if ours.carries_out else (theirs, ours)

    def check_empty(self) -> None:
        self.turn()
        self.client.check_empty()
        self.server.check_empty()


def nest(pair: Pair, kind: Kind = "bytes", **options: Any) -> tuple[Stream, Stream, Stream, Stream]:
    """A channel, and a stream that was opened for a message of it: the opener's and the acceptor's side of both."""
    sender, receiver = pair.channel()
    child = pair.client.mux.open(Opening(kind, parent=sender.id, **options))
    pair.turn()
    return sender, receiver, child, pair.server.mux.streams[child.id]


def send(stream: Stream, *bodies: bytes) -> None:
    for body in bodies:
        stream.outgoing.write(message(body))


def frames_of(mux: Mux, now: float) -> bytes:
    """What goes out in the next turn."""
    return b"".join(mux.data_to_send(now))


def take(stream: Stream) -> bytes | None:
    """What the application does: one message, or None."""
    got = stream.incoming.next_message() if stream.carries_in else None
    if got is None:
        return None
    stream.incoming.took_message(len(got[1]))
    return bytes(got[1])


def take_all(stream: Stream) -> list[bytes]:
    got = []
    while (body := take(stream)) is not None:
        got.append(body)
    return got


def read_all(stream: Stream) -> bytes:
    got = b""
    while data := stream.incoming.read(65_536):
        stream.incoming.took_bytes(len(data))
        got += data
    return got


class Transcript:
    """The other side of a mux, played frame by frame: what it says is built by hyperframe, or given as it is."""

    def __init__(self, limits: Limits | None = None, *, client_side: bool = False, greet: bool = True) -> None:
        """`client_side` is that of the mux which is tested."""
        limits = limits or Limits()
        self.side = Side(client_side=client_side, limits=limits, peer=limits.announced())
        self.mux = self.side.mux
        self.now = 1_000.0
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._received = b"" if client_side else frames.PREFACE
        self._answered = b""
        self._skip = len(frames.PREFACE) if client_side else 0
        if greet:
            self.say(b"" if client_side else frames.PREFACE, self.settings(limits))
            self.answers()

    # --- what it may say ---

    @staticmethod
    def settings(limits: Limits, **more: int) -> bytes:
        values = settings(open_channels=limits.open_channels, stream_window=limits.stream_window)
        return hf.SettingsFrame(0, settings={int(code): value for code, value in values.items()}).serialize()

    def headers(
        self,
        stream_id: int,
        fields: dict[str, Any],
        *,
        end: bool = False,
        flags: Iterable[str] = (),
        plain: bool = False,
    ) -> bytes:
        """With tables and Huffman's code, unless it is to be plain, as we write it ourselves."""
        pairs = [(name.encode(), str(value).encode()) for name, value in fields.items()]
        block = headers.encode(pairs) if plain else self._encoder.encode(pairs)
        frame = hf.HeadersFrame(stream_id, block, flags=["END_HEADERS", *flags])
        if end:
            frame.flags.add("END_STREAM")
        return frame.serialize()

    def opening(self, stream_id: int, kind: str = "receiver", **fields: Any) -> bytes:
        return self.headers(stream_id, {"kind": kind} | (fields or {"service": "service"}))

    @staticmethod
    def data(stream_id: int, data: bytes = b"", *, end: bool = False) -> bytes:
        return hf.DataFrame(stream_id, data, flags=["END_STREAM"] if end else []).serialize()

    @staticmethod
    def extension(kind: int, stream_id: int, payload: bytes) -> bytes:
        return frames.FRAME_HEADER.pack(len(payload) >> 8, len(payload) & 0xFF, kind, 0, stream_id) + payload

    def taken(self, stream_id: int, count: int) -> bytes:
        return self.extension(frames.TAKEN, stream_id, count.to_bytes(8, "big"))

    @staticmethod
    def window(stream_id: int, increment: int) -> bytes:
        return hf.WindowUpdateFrame(stream_id, window_increment=increment).serialize()

    @staticmethod
    def reset(stream_id: int) -> bytes:
        return hf.RstStreamFrame(stream_id, error_code=8).serialize()

    def say(self, *parts: bytes) -> None:
        self.mux.receive_data(b"".join(parts), self.now)

    def refused(self, *parts: bytes) -> RemoteProtocolError:
        """Say something that ends the connection, and hear GOAWAY with the reason, and nothing else."""
        self.answers()
        with pytest.raises(RemoteProtocolError) as caught:
            self.say(*parts)
        self.mux.lose(caught.value)
        check_words(caught.value)
        *frames_before, goaway = self.answers()
        assert isinstance(goaway, hf.GoAwayFrame)
        assert goaway.additional_data == str(caught.value).encode()[:256]
        assert len(goaway.additional_data) > 5
        others = [short[0] for frame in frames_before if (short := _short(frame)) is not None]
        assert set(others) <= {"WINDOW_UPDATE", "RST_STREAM"}
        return caught.value

    # --- what it hears ---

    def answers(self) -> list[hf.Frame]:
        """The frames that the mux has made since; `fields` is a dict of those of HEADERS."""
        data = self._answered
        while more := frames_of(self.mux, self.now):
            data += more
        data, self._skip = data[self._skip :], 0
        heard = []
        while data:
            frame, length = hf.Frame.parse_frame_header(memoryview(data[:9]))
            frame.parse_body(memoryview(data[9 : 9 + length]))
            data = data[9 + length :]
            if isinstance(frame, hf.HeadersFrame):
                frame.fields = dict(self._decoder.decode(frame.data))  # type: ignore[attr-defined]
            heard.append(frame)
        return heard

    def heard(self) -> list[tuple[Any, ...]]:
        """The answers about streams, in short: name, stream, what else there is to say."""
        return [short for frame in self.answers() if (short := _short(frame)) is not None]


def _short(frame: hf.Frame) -> tuple[Any, ...] | None:
    end = ("end",) if "END_STREAM" in frame.flags else ()
    match frame:
        case hf.DataFrame():
            return ("DATA", frame.stream_id, frame.data, *end)
        case hf.HeadersFrame():
            return ("HEADERS", frame.stream_id, frame.fields, *end)  # type: ignore[attr-defined]
        case hf.RstStreamFrame():
            return ("RST_STREAM", frame.stream_id)
        case hf.WindowUpdateFrame():
            return ("WINDOW_UPDATE", frame.stream_id, frame.window_increment) if frame.stream_id else None
        case hf.GoAwayFrame():
            return ("GOAWAY", frame.error_code)
        case hf.ExtensionFrame():
            names = {frames.TAKEN: "TAKEN", frames.DRAIN: "DRAIN", frames.STOP: "STOP"}
            body = int.from_bytes(frame.body, "big") if frame.type != frames.STOP else frame.body
            return (names[frame.type], frame.stream_id, body)
    return None
