"""A peer that follows docs/reference/protocol.md, sections 4 to 8, and nothing else: not a line of chanlink's is used.

It does no I/O: `receive` takes what came, `output` gives what is to be sent. Where the page leaves a choice it takes
the poorest: credit leaves only when the page demands it, SETTINGS are empty, no window ever grows.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
TAKEN, DRAIN, STOP = 0xF1, 0xF2, 0xF3
NAMES = {
    DATA: "DATA",
    HEADERS: "HEADERS",
    RST_STREAM: "RST_STREAM",
    SETTINGS: "SETTINGS",
    PING: "PING",
    GOAWAY: "GOAWAY",
    WINDOW_UPDATE: "WINDOW_UPDATE",
    TAKEN: "TAKEN",
    DRAIN: "DRAIN",
    STOP: "STOP",
}
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_FRAME = 65_509
ENTRY = {"receiver": 1, "sender": 2, "bytes": 3}
Fields = dict[str, str]
Entry = tuple[str, int]


# --- frames (section 4) ---------------------------------------------------------------------------


def frame(kind: int, stream_id: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def cut(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream id and payload of whole frames."""
    while data:
        size = 9 + int.from_bytes(data[:3], "big")
        assert len(data) >= size, "a frame that is cut"
        yield data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:size]
        data = data[size:]


def block(fields: Fields) -> bytes:
    """Literal fields that are neither indexed nor compressed."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in fields.items())


def _string(text: str) -> bytes:
    data = text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    size, length = len(data) - 127, b"\x7f"
    while size >= 128:
        length += bytes([size % 128 + 128])
        size //= 128
    return length + bytes([size]) + data


def fields_of(data: bytes) -> Fields:
    strings: list[str] = []
    at = 0
    while at < len(data):
        if len(strings) % 2 == 0:
            assert data[at] == 0, "no literal field"
            at += 1
        size, at = data[at], at + 1
        if size == 127:
            shift = 0
            while True:
                size += (data[at] & 127) << shift
                shift, at = shift + 7, at + 1
                if data[at - 1] < 128:
                    break
        strings.append(data[at : at + size].decode())
        at += size
    return dict(zip(strings[::2], strings[1::2], strict=True))


def headers(stream_id: int, fields: Fields, *, end: bool = False) -> bytes:
    return frame(HEADERS, stream_id, block(fields), END_HEADERS | (END_STREAM if end else 0))


def data(stream_id: int, payload: bytes = b"", *, end: bool = False) -> bytes:
    return frame(DATA, stream_id, payload, END_STREAM if end else 0)


def window(stream_id: int, credit: int) -> bytes:
    return frame(WINDOW_UPDATE, stream_id, credit.to_bytes(4, "big"))


def taken(stream_id: int, count: int) -> bytes:
    return frame(TAKEN, stream_id, count.to_bytes(8, "big"))


def stop(stream_id: int, code: str, text: str = "") -> bytes:
    return frame(STOP, stream_id, bytes([len(code)]) + code.encode() + text.encode())


def drain(stream_id: int) -> bytes:
    return frame(DRAIN, 0, stream_id.to_bytes(4, "big"))


def message(body: bytes, *entries: Entry) -> bytes:
    """Section 8."""
    if not entries:
        return len(body).to_bytes(4, "big") + body
    table = bytes([len(entries)]) + b"".join(
        bytes([ENTRY[kind]]) + number.to_bytes(4, "big") for kind, number in entries
    )
    return (1 << 31 | len(table) + len(body)).to_bytes(4, "big") + table + body


# --- streams (sections 5 to 7) --------------------------------------------------------------------


@dataclasses.dataclass
class Half:
    """What goes out on a stream."""

    credit: int
    """Of the window, as far as it is known; `queued` is still to be taken off."""
    queue: deque[bytes] = dataclasses.field(default_factory=deque)
    last: bytes | None = None
    """The frame with END_STREAM, once nothing more will be queued."""
    sent: int = 0
    taken: int = 0
    ended: bool = False

    @property
    def queued(self) -> int:
        return sum(map(len, self.queue))


class Stream:
    def __init__(self, kind: str, *, ours: bool, peer_window: int, window: int, capacity: int | None) -> None:
        self.kind, self.ours, self.capacity = kind, ours, capacity
        self.sends = kind == "bytes" or (kind == "receiver") == ours
        self.receives = kind == "bytes" or not self.sends
        self.out = Half(peer_window)
        self.accepted = ours
        self.refused: Fields | None = None
        # What comes in.
        self.inbox = b""
        self.ended: Fields | None = None
        """The fields of the last words of the other side; none for an end by DATA."""
        self.allowed = window
        """What the other side may send without more credit."""
        self.owed = self.lent = self.taken = self.since_told = 0


class PagePeer:
    """One side of a connection."""

    def __init__(self, *, client: bool, window: int = 16_384, peer_window: int = 16_384) -> None:
        self.window, self.peer_window = window, peer_window
        self.streams: dict[int, Stream] = {}
        self.opened: list[tuple[int, Fields]] = []
        """By the other side, nested ones included."""
        self.drains: list[int] = []
        self.goaway: bytes | None = None
        self.connection_credit = 65_535
        self._next = 1 if client else 2
        self._data = b""
        self._preface = b"" if client else PREFACE
        # It answers no SETTINGS, and its own say nothing: nobody waits for them.
        self._output = (PREFACE if client else b"") + frame(SETTINGS, 0) + window_of_the_connection()

    # --- going out ---

    def output(self) -> bytes:
        """What is to be sent now."""
        for stream_id, stream in self.streams.items():
            self._send_data(stream_id, stream)
        output, self._output = self._output, b""
        return output

    def say(self, *frames: bytes) -> None:
        self._output += b"".join(frames)

    def open(self, kind: str, **fields: object) -> int:
        stream_id, self._next = self._next, self._next + 2
        given = {"kind": kind} | {name: str(value) for name, value in fields.items()}
        self.say(headers(stream_id, given))
        self._add(stream_id, given, ours=True)
        return stream_id

    def may_send(self, stream_id: int) -> bool:
        """Section 7: while the credit is above zero; section 5: as the capacity allows."""
        stream = self.streams[stream_id]
        out = stream.out
        if stream.refused is not None or out.last is not None or out.credit - out.queued <= 0:
            return False
        return stream.capacity is None or out.sent - out.taken < max(stream.capacity, 1)

    def send(self, stream_id: int, body: bytes, *entries: Entry) -> None:
        assert self.may_send(stream_id)
        out = self.streams[stream_id].out
        out.queue.append(body if self.streams[stream_id].kind == "bytes" else message(body, *entries))
        out.sent += 1

    def end(self, stream_id: int) -> None:
        self.streams[stream_id].out.last = data(stream_id, end=True)

    def fail(self, stream_id: int, code: str, text: str = "") -> None:
        self.streams[stream_id].out.last = headers(stream_id, {"code": code, "text": text}, end=True)

    def _send_data(self, stream_id: int, stream: Stream) -> None:
        out = stream.out
        if stream.sends and not stream.accepted and (out.queue or out.last):
            stream.accepted = True
            self.say(headers(stream_id, {"accepted": ""}))
        while out.queue and min(out.credit, self.connection_credit) > 0:
            piece = out.queue.popleft()
            size = min(len(piece), out.credit, self.connection_credit, MAX_FRAME)
            if size < len(piece):
                out.queue.appendleft(piece[size:])
            self.say(data(stream_id, piece[:size]))
            out.credit -= size
            self.connection_credit -= size
        if not out.queue and out.last is not None and not out.ended:
            out.ended = True
            self.say(out.last)

    # --- what the application does ---

    def take(self, stream_id: int) -> tuple[bytes, list[Entry]] | None:
        """The next message of a stream."""
        stream = self.streams[stream_id]
        size = _size(stream.inbox)
        if size is None or len(stream.inbox) < size:
            return None
        got, stream.inbox = stream.inbox[:size], stream.inbox[size:]
        back = min(stream.lent, size)
        stream.lent -= back
        stream.taken += 1
        self._took(stream_id, stream, size, back)
        self._look_at_head(stream_id, stream)
        if stream.ended is not None and not stream.inbox:
            self._settle(stream_id, stream)
        if not got[0] & 0x80:
            return got[4:], []
        kinds = {number: kind for kind, number in ENTRY.items()}
        table = [got[at : at + 5] for at in range(5, 5 + 5 * got[4], 5)]
        return got[5 + 5 * got[4] :], [(kinds[entry[0]], int.from_bytes(entry[1:], "big")) for entry in table]

    def read(self, stream_id: int) -> bytes:
        """What has come of a byte stream."""
        stream = self.streams[stream_id]
        got, stream.inbox = stream.inbox, b""
        self._took(stream_id, stream, len(got), 0)
        return got

    def refuse(self, stream_id: int, code: str, text: str = "") -> None:
        """Read no more of a stream."""
        stream = self.streams[stream_id]
        stream.inbox = b""
        if stream.kind == "bytes":
            self.say(stop(stream_id, code, text))
        else:
            fields = {"taken": str(stream.taken), "code": code, "text": text}
            self.say(headers(stream_id, fields, end=True))
            stream.out.ended = True

    def _took(self, stream_id: int, stream: Stream, size: int, back: int) -> None:
        stream.owed += size - back
        stream.since_told += size
        if stream.ended is not None:
            return
        if stream.kind != "bytes" and (
            stream.capacity is not None or stream.since_told >= self.window // 2 or not stream.inbox
        ):
            stream.since_told = 0
            self.say(taken(stream_id, stream.taken))
        if stream.owed >= self.window // 2:
            self._credit(stream_id, stream, 0)

    def _look_at_head(self, stream_id: int, stream: Stream) -> None:
        size = _size(stream.inbox)
        if size is None or len(stream.inbox) >= size or stream.kind == "bytes" or stream.ended is not None:
            return
        if size > self.window + stream.lent:
            more = size - self.window - stream.lent
            stream.lent += more
            self._credit(stream_id, stream, more)
        elif stream.owed and size + stream.owed > self.window + stream.lent:
            self._credit(stream_id, stream, 0)

    def _credit(self, stream_id: int, stream: Stream, more: int) -> None:
        self.say(window(stream_id, stream.owed + more))
        stream.allowed += stream.owed + more
        stream.owed = 0

    def _settle(self, stream_id: int, stream: Stream) -> None:
        if stream.kind != "bytes" and not stream.out.ended:
            stream.out.ended = True
            self.say(headers(stream_id, {"taken": str(stream.taken)}, end=True))

    # --- what comes ---

    def receive(self, received: bytes) -> None:
        self._data += received
        if self._preface:
            if len(self._data) < len(PREFACE):
                return
            assert self._data.startswith(PREFACE)
            self._data, self._preface = self._data[len(PREFACE) :], b""
        while len(self._data) >= 9 and len(self._data) >= 9 + int.from_bytes(self._data[:3], "big"):
            size = 9 + int.from_bytes(self._data[:3], "big")
            ((kind, flags, stream_id, payload),) = cut(self._data[:size])
            self._data = self._data[size:]
            self._handlers[kind](self, stream_id, payload, flags)

    def _add(self, stream_id: int, fields: Fields, *, ours: bool) -> None:
        capacity = int(fields["capacity"]) if "capacity" in fields else None
        self.streams[stream_id] = Stream(
            fields["kind"], ours=ours, peer_window=self.peer_window, window=self.window, capacity=capacity
        )

    def _on_headers(self, stream_id: int, payload: bytes, flags: int) -> None:
        fields = fields_of(payload)
        if stream_id not in self.streams:
            assert not flags & END_STREAM
            self._add(stream_id, fields, ours=False)
            self.opened.append((stream_id, fields))
        elif flags & END_STREAM:
            self._ended(stream_id, fields)

    def _on_data(self, stream_id: int, payload: bytes, flags: int) -> None:
        stream = self.streams[stream_id]
        assert stream.receives, "DATA on a half that carries none"
        assert stream.ended is None, "DATA after the end"
        stream.allowed -= len(payload)
        assert stream.allowed >= 0, "DATA beyond the window"
        stream.inbox += payload
        self._look_at_head(stream_id, stream)
        if flags & END_STREAM:
            self._ended(stream_id, {})

    def _ended(self, stream_id: int, fields: Fields) -> None:
        stream = self.streams[stream_id]
        assert stream.ended is None, "a half that ends twice"
        stream.ended = fields
        if stream.receives:
            if not stream.inbox:
                self._settle(stream_id, stream)
        else:
            stream.out.taken = int(fields["taken"])
            if "code" in fields or "lost" in fields:
                self._refused(stream_id, stream, fields)

    def _refused(self, stream_id: int, stream: Stream, fields: Fields) -> None:
        """Drop what is queued, and end this half at once."""
        stream.refused = fields
        stream.out.queue.clear()
        stream.out.last = data(stream_id, end=True)

    def _on_window(self, stream_id: int, payload: bytes, flags: int) -> None:
        credit = int.from_bytes(payload, "big")
        if stream_id == 0:
            self.connection_credit += credit
        else:
            self.streams[stream_id].out.credit += credit

    def _on_taken(self, stream_id: int, payload: bytes, flags: int) -> None:
        out = self.streams[stream_id].out
        count = int.from_bytes(payload, "big")
        assert out.taken <= count <= out.sent
        out.taken = count

    def _on_stop(self, stream_id: int, payload: bytes, flags: int) -> None:
        size = payload[0]
        fields = {"code": payload[1 : 1 + size].decode(), "text": payload[1 + size :].decode()}
        self._refused(stream_id, self.streams[stream_id], fields)

    def _on_drain(self, stream_id: int, payload: bytes, flags: int) -> None:
        self.drains.append(int.from_bytes(payload, "big"))

    def _on_ping(self, stream_id: int, payload: bytes, flags: int) -> None:
        if not flags & ACK:
            self.say(frame(PING, 0, payload, ACK))

    def _on_settings(self, stream_id: int, payload: bytes, flags: int) -> None:
        """The values of the handshake are in force."""

    def _on_goaway(self, stream_id: int, payload: bytes, flags: int) -> None:
        self.goaway = payload[8:]

    _handlers: dict[int, Callable[["PagePeer", int, bytes, int], None]] = {  # noqa: RUF012
        DATA: _on_data,
        HEADERS: _on_headers,
        SETTINGS: _on_settings,
        PING: _on_ping,
        GOAWAY: _on_goaway,
        WINDOW_UPDATE: _on_window,
        TAKEN: _on_taken,
        STOP: _on_stop,
        DRAIN: _on_drain,
    }


def window_of_the_connection() -> bytes:
    return window(0, 2**30 - 65_535)


def _size(inbox: bytes) -> int | None:
    """Of the message at the head, its header included."""
    return (int.from_bytes(inbox[:4], "big") & ~(1 << 31)) + 4 if len(inbox) >= 4 else None
