"""What a session asks of its multiplexer, and what that tells it. No I/O, no clock.

`Mux` does it over one connection. Another one may do it in another way (over QUIC each stream of ours could be one of
its own), and no session would notice.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from chanlink.channels.values import Kind
from chanlink.errors import SessionError
from chanlink.instrument import ChannelInfo

from .h2 import frames
from .opening import Opening
from .stream import Stream

DRAINING = "no new channels are taken"
"""The text that goes with the code ``draining``."""
TURN_BYTES = 4 * frames.FULL_BYTES
"""What one turn of the writer takes at most: enough to fill a socket buffer, little enough to stay fair."""


class MuxStatistics(NamedTuple):
    """A moment in the life of a multiplexer."""

    streams: int
    budget: int
    """Bytes by which windows may still grow."""
    round_trip: float
    """Seconds, the shortest that was measured; 0 if none was."""


class Owner(Protocol):
    """Whom the multiplexer tells: the session."""

    def stream_opened(self, stream: Stream) -> None:
        """The peer opened a top-level stream."""

    def pong(self, payload: bytes) -> None:
        """A PING of ours came back."""

    def peer_drains(self) -> None:
        """The peer takes no more top-level streams."""

    def wake_writer(self) -> None:
        """`data_to_send` has something now."""


class Observer(Protocol):
    """Whom the multiplexer tells of each stream, if there is anybody."""

    def opened(self, stream: Stream, parent: Stream | None) -> tuple[ChannelInfo, bytes | None]:
        """A stream was opened, by either side. What is returned is kept with it: `Stream.info`, and its trace."""

    def ended(self, stream: Stream) -> None:
        """Both halves of a stream are over."""

    def joined(self, source: Stream, onward: Stream) -> None:
        """What comes by ``source``, perhaps of another session, goes on by ``onward``, of this one."""


class Multiplexer(Protocol):
    """All streams of one session. `Mux` has the docstrings."""

    # Streams.
    @property
    def streams(self) -> Mapping[int, Stream]: ...
    def check_open(self, count: int, *, top_level: bool = False) -> None: ...
    def open(self, opening: Opening) -> Stream: ...
    def claim(self, parent: Stream, kind: Kind, stream_id: int) -> Stream | None: ...

    # Bytes.
    @property
    def has_message(self) -> bool: ...
    @property
    def arrivals(self) -> int: ...
    def data_to_send(self, now: float) -> list[bytes | bytearray | memoryview]: ...
    def receive_data(self, data: bytes | bytearray, now: float) -> None: ...

    # The peer: is it there, and does it do its part?
    def ping(self, payload: bytes) -> None: ...
    def measured(self, round_trip: float) -> None: ...
    def tick(self, overdue: Callable[[float, float], bool]) -> None: ...
    def statistics(self) -> MuxStatistics: ...

    # The end.
    @property
    def draining(self) -> bool: ...
    def drain(self) -> None: ...
    def conclude(self) -> None: ...
    def drained(self) -> bool: ...
    def give_up(self, code: str, cause: SessionError, peer: str = "") -> None: ...
    def drop_arrived(self) -> None: ...
    def lose(self, cause: SessionError, peer: str = "") -> None: ...
