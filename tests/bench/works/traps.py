"""One row for each trap of the libraries that h2/connection.py and mux.py deal with: ours beside what it would be else.

No sockets, no tasks: two ends in this process, and what one makes is given to the other.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import h2.config
import h2.connection
import h2.settings
import hyperframe.frame

from chanlink.limits import Limits, PeerLimits
from chanlink.security.noise.cipher import CipherState
from chanlink.security.suites import suite
from chanlink.wire import mux
from chanlink.wire.h2 import connection as h2_connection
from chanlink.wire.h2 import frames
from chanlink.wire.h2.connection import Connection as OurConnection
from chanlink.wire.h2.connection import settings
from chanlink.wire.mux import Mux
from chanlink.wire.stream import Opening, Stream
from tests.bench.harness import Row
from tests.bench.units import figure

WIDE = 2**31 - 1
FRAMES = 1_000
CYCLES = 10_000
OPENINGS = 100
BULK = 64 * 1024 * 1024
MESSAGES = 25_600
BODY = b"m" * 87  # 91 bytes with its header
HEADERS = [(b"kind", b"receiver"), (b"service", b"bench")]
LAST_WORDS = [(b"taken", b"0")]

Connection = h2.connection.H2Connection
Make = Callable[[bool], Connection]


# --- connections: ours, and h2's as they come ---------------------------------------------------

SETTINGS = settings(open_channels=20_000, stream_window=WIDE)


def our_connection(client_side: bool) -> Connection:
    return OurConnection(client_side=client_side, our_settings=SETTINGS, peer_settings=SETTINGS)


def stock_connection(client_side: bool, of: type[Connection] = Connection) -> Connection:
    connection = of(
        h2.config.H2Configuration(
            client_side=client_side,
            header_encoding=None,
            validate_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_inbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    connection.local_settings = h2.settings.Settings(client=client_side, initial_values=SETTINGS)
    connection.remote_settings = h2.settings.Settings(client=not client_side, initial_values=SETTINGS)
    connection.max_outbound_frame_size = connection.max_inbound_frame_size = frames.MAX_FRAME_SIZE
    return connection


class _Growing(Connection):
    """Stock h2, but does not count while we fill it, which would take half a minute."""

    open_outbound_streams = open_inbound_streams = 0  # type: ignore[assignment]


def pair(make: Make) -> tuple[Connection, Connection]:
    client, server = make(True), make(False)
    for connection in (client, server):
        connection.initiate_connection()
        connection.increment_flow_control_window(WIDE - 65_535)
    for _ in range(2):  # the settings, then their acknowledgements
        give(client.data_to_send(), server)
        give(server.data_to_send(), client)
    return client, server


def give(data: bytes, connection: Connection) -> None:
    """What one end sent arrives at the other."""
    if isinstance(connection, OurConnection):
        for _ in connection.receive(data, 0.0):
            pass
    else:
        connection.receive_data(data)


# --- the rows -----------------------------------------------------------------------------------


def receive(make: Make) -> float:
    """Receiving a DATA frame: h2 makes a `repr` of each, and copies it into a buffer of its own."""
    client, server = pair(make)
    client.send_headers(1, HEADERS)
    give(client.data_to_send(), server)
    client.send_data(1, bytes(frames.MAX_FRAME_SIZE))
    frame = client.data_to_send()
    began = time.perf_counter()
    for _ in range(FRAMES):
        give(frame, server)
    return (time.perf_counter() - began) / FRAMES * 1e6


def receive_quiet(make: Make) -> float:
    with mock.patch.object(hyperframe.frame.Frame, "__repr__", object.__repr__):
        return receive(make)


def opening(ours: bool, open_streams: int) -> float:
    """Opening a stream, both ends: h2 counts the open ones by walking all of them."""
    client, server = pair(our_connection if ours else partial(stock_connection, of=_Growing))
    ids = iter(range(1, 2**31, 2))
    for _ in range(open_streams):
        client.send_headers(next(ids), HEADERS)
    give(client.data_to_send(), server)
    if not ours:
        client.__class__ = server.__class__ = Connection
    began = time.perf_counter()
    for _ in range(OPENINGS):
        client.send_headers(next(ids), HEADERS)
        give(client.data_to_send(), server)
    return (time.perf_counter() - began) / OPENINGS * 1e6


def left_behind(make: Make) -> float:
    """What the tables of both ends hold after many streams have come and gone."""
    client, server = pair(make)
    for stream_id in range(1, 2 * CYCLES, 2):
        client.send_headers(stream_id, HEADERS)
        client.send_data(stream_id, BODY, end_stream=True)
        give(client.data_to_send(), server)
        server.send_headers(stream_id, LAST_WORDS, end_stream=True)
        if isinstance(server, OurConnection):
            server.reap(stream_id)
        give(server.data_to_send(), client)
    return sum(len(one.streams) + len(one._closed_streams) for one in (client, server))


class _Owner:
    """What a mux tells: here only which stream was opened."""

    stream: Stream

    def stream_opened(self, stream: Stream) -> None:
        self.stream = stream

    def pong(self, payload: bytes) -> None: ...

    def wake_writer(self) -> None: ...


class _Wire:
    """Two muxes, and sealed records between them, as a session has them."""

    def __init__(self, kind: Any) -> None:
        limits = Limits(stream_window=1024 * 1024)
        peer_limits = PeerLimits(stream_window=1024 * 1024)
        owner = _Owner()
        self.near = Mux(owner, client_side=True, limits=limits, peer_limits=peer_limits)
        self.far = Mux(owner, client_side=False, limits=limits, peer_limits=peer_limits)
        self._ciphers = {mux: (CipherState(bytes(32)), CipherState(bytes(32))) for mux in (self.near, self.far)}
        self.stream = self.near.open(Opening(kind, "bench"))
        self.turn()
        self.far_stream = owner.stream

    def turn(self) -> None:
        """Everything that either side has goes to the other."""
        self._carry(self.near, self.far)
        self._carry(self.far, self.near)

    def _carry(self, one: Mux, other: Mux) -> None:
        sending, receiving = self._ciphers[one]
        while data := b"".join(one.data_to_send(0.0)):
            records = [
                sending.encrypt_with_ad(b"", b"\0" + data[at : at + suite("chachapoly").max_body])
                for at in range(0, len(data), suite("chachapoly").max_body)
            ]
            written = b"".join(records)
            size = len(records[0])  # of all but the last one
            for at in range(0, len(written), size):
                other.receive_data(receiving.decrypt_with_ad(b"", written[at : at + size])[1:], 0.0)


def bulk(frame_size: int, turn: int) -> float:
    """A byte stream through everything but sockets."""
    largest = max(frame_size, frames.MAX_FRAME_SIZE)
    sizes = mock.patch.multiple(frames, FULL_BYTES=frame_size, MAX_FRAME_SIZE=largest)
    settings = mock.patch.object(h2_connection, "MAX_FRAME_SIZE", largest)
    with sizes, settings, mock.patch.object(mux, "TURN_BYTES", turn):
        wire = _Wire("bytes")
        piece = bytes(65_536)
        began = time.perf_counter()
        for _ in range(BULK // (4 * len(piece))):
            for _ in range(4):
                wire.stream.outgoing.write(piece)
            wire.turn()
            while data := wire.far_stream.incoming.read(65_536):
                wire.far_stream.incoming.took_bytes(len(data))
        return BULK / (time.perf_counter() - began) / 1e6


def joined(count: int) -> float:
    """Messages through everything but sockets, `count` of them in a frame and a record."""
    wire = _Wire("receiver")
    body = len(BODY).to_bytes(4, "big") + BODY
    began = time.perf_counter()
    for _ in range(MESSAGES // count):
        for _ in range(count):
            wire.stream.outgoing.write(body)
        wire.turn()
        while (message := wire.far_stream.incoming.next_message()) is not None:
            wire.far_stream.incoming.took_message(len(message[1]))
    return (time.perf_counter() - began) / MESSAGES * 1e6


def rows() -> list[Row]:
    alone = {"alone": partial(joined, 1)}
    return [
        Row(
            "trap-repr",
            "receive 64 KiB of DATA: repr of each frame, a second buffer",
            figure("us"),
            partial(receive, our_connection),
            {"h2": partial(receive, stock_connection), "h2 without repr": partial(receive_quiet, stock_connection)},
        ),
        *(
            Row(
                f"trap-count-{count}",
                f"open a stream, {count:,} open: counting by walking",
                figure("us"),
                partial(opening, True, count),
                {"h2": partial(opening, False, count)},
                repeats=3,
            )
            for count in (100, 3_000, 6_000)
        ),
        Row(
            "trap-reap",
            f"entries in the tables after {CYCLES:,} streams: none is forgotten",
            figure("entries"),
            partial(left_behind, our_connection),
            {"h2": partial(left_behind, stock_connection)},
            repeats=1,
        ),
        Row(
            "trap-frames",
            f"64 MiB in frames that are one record each, of {frames.FULL_BYTES:,} bytes",
            figure("MB/s", less_is_better=False),
            partial(bulk, frames.FULL_BYTES, mux.TURN_BYTES),
            {
                "frames of 16,384": partial(bulk, 16_384, mux.TURN_BYTES),
                "frames of 65,536": partial(bulk, 65_536, mux.TURN_BYTES),
            },
        ),
        Row(
            "trap-big-buffers",
            f"64 MiB in turns of {mux.TURN_BYTES:,} bytes: over 128 KiB memory is mapped anew",
            figure("MB/s", less_is_better=False),
            partial(bulk, frames.FULL_BYTES, mux.TURN_BYTES),
            {f"turns of {size:,}": partial(bulk, frames.FULL_BYTES, size) for size in (60_000, 1_000_000)},
        ),
        *(
            Row(
                f"trap-join-{count}",
                f"{count} messages of 91 bytes in a frame and record",
                figure("us each"),
                partial(joined, count),
                alone,
            )
            for count in (16, 64, 256)
        ),
    ]
