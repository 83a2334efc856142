"""Every bound that a peer can reach, by name (docs/explanation/security.md, "Bad input, and what it gets")."""

import dataclasses
import math

from .errors import ConfigError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of a session. Sizes are in bytes, times in seconds. Raises `ConfigError` for what can't be.

    Both sides have their own; what concerns the other side (what begins with ``message_``, ``open_channels``,
    ``stream_window``, ``unacknowledged``) travels in the handshake, so that a sender can check before it sends.
    """

    # Whole: a bound is an attribute, and users set them in one place.

    handshake: float = 10.0
    """From the first byte to the welcome, in total."""
    unauthenticated: int = 1_000
    """Connections of one listener that are still in their handshake."""
    source_failures: int = 100
    """Handshakes of one source (an IPv4 address, an IPv6 /64) that may fail, and one more a second; then it comes last.

    127.0.0.1, ::1 and Unix sockets are not charged, nor is a source that said nothing.
    """
    suspect_handshakes: int = 50
    """Handshakes that a source which comes last may begin a second; more are told ``busy``. All such sources together
    may begin ten times as many."""
    sessions: int = 4_096
    """Sessions of one listener; one more client is told ``busy``."""
    sessions_per_key: int = 256
    """Sessions of one listener that one key may have; one more client with it is told ``busy``.

    Where `Trust.anyone` lets everybody in, it counts for one source: an IPv4 address, or an IPv6 /64.
    """
    message_size: int = 4 * 1024 * 1024
    """The longest message that we take, as it is on the wire, without its header."""
    message_depth: int = 64
    """How deep lists and maps may nest."""
    message_values: int = 131_072
    """How many values one message may hold, keys, lists and maps included: each costs us up to a hundred bytes."""
    message_int_keys: int = 4_096
    """How many of its keys may be ints: they can be chosen so that each is compared with all others of its map."""
    message_ends: int = 128
    """How many ends one message may hold; the table of the wire has one byte for it."""
    open_channels: int = 4_096
    """Channels and byte streams that the peer may have open on this session, nested ones included."""
    unaccepted: int = 256
    """Top-level channels that wait for `Session.accept`; more are refused ``busy``."""
    unmentioned: float = 10.0
    """After this time a stream that no message has mentioned is refused."""
    stream_window: int = 16 * 1024
    """What a peer may send on a new stream before we take something."""
    stream_window_max: int = 16 * 1024 * 1024
    """How far one window may grow with bandwidth x delay."""
    session_budget: int = 64 * 1024 * 1024
    """What all windows of a session may grow by together, large messages included."""
    send_queue: int = 256 * 1024
    """What one stream queues on our side before `send` waits, however wide the peer's window is."""
    keepalive: float = 15.0
    """A PING leaves when nothing came for this long."""
    peer_timeout: float = 45.0
    """The peer is gone when nothing came for this long, not even an answer to a PING."""
    client_stopped: float = 3_600.0
    """A client that says nothing, though its machine acknowledges what we send, is stopped (Ctrl-Z, a debugger) and not
    gone: it is given up after this time. What only Linux knows of a TCP connection is known of any Unix socket."""
    close: float = 10.0
    """How long closing waits for what was accepted to leave."""
    progress: float = 30.0
    """A write, or a large message that has begun to arrive, fails after this time without progress.

    Over a socket whatever leaves is progress; over a byte stream of your own, each write, of up to half a megabyte.
    """
    resume: float = 60.0
    """How long a client that asks for it may be away before its session is lost. 0: no client may."""
    away: int = 1_000
    """Sessions of one listener that are away; one more, and the key with the most of them loses its longest away."""
    away_per_key: int = 100
    """Of them, those of one key; one more, and it loses its longest away."""
    unacknowledged: int = 16 * 1024 * 1024
    """What we keep of what we have sent on a session that may be resumed, until the peer has acknowledged it; then
    sending waits."""
    resumes: int = 100
    """How often a client may come back to one session at once, and a fifth of it a second more."""
    sent_again: int = 64 * 1024 * 1024
    """What we send again on one session at once to a client that comes back, and a sixteenth of it a second more."""
    handshake_load: int = 100
    """Connections of one listener in their handshake; while there are more, no data in a first message is opened."""
    prekey: float | None = None
    """How long a prekey of ours lives, by which clients send data in their first message; half of it is the time until
    the next one is made. 0: there are none. None: 1,200 if the secret key of our identity is in this process, else 0.
    """
    trust_interval: float = 1.0
    """How often a listener looks at its trust file, and how long one that has changed must stay the same to be read."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            # A float would travel as one, and the peer would refuse it.
            if type(value) not in ((int,) if field.type is int else (int, float)):
                raise ConfigError(f"Limits.{field.name} must be {'a whole' if field.type is int else 'a'} number")
            if not (value > 0 or (value == 0 and field.name in _MAY_BE_ZERO)):
                raise ConfigError(f"Limits.{field.name} must be more than 0")
        for name, (least, most) in _RANGES.items():
            if not least <= (getattr(self, name) or 0) <= most:
                raise ConfigError(f"Limits.{name} must be {least} to {most}")

    def announced(self) -> "PeerLimits":
        """What the other side is told of them."""
        return PeerLimits(**{name: getattr(self, name) for name in PeerLimits.__slots__})


MAX_RECORD = 65_535
"""The longest record, without its length (protocol section 3)."""
MAX_SIZE = 2**31 - 1
"""What the header of a message can say."""
MAX_DEPTH = 128
"""We send no message that nests deeper, even if the peer allows it: we recurse."""
MAX_ENDS = 128
"""The entries of a table at most, whatever the limits say (protocol section 8)."""
PEER_RANGES = {
    "message_size": (1, MAX_SIZE),
    "message_depth": (1, MAX_DEPTH),
    # No message of 4,096 bytes can reach these: nobody has to count in short ones.
    "message_values": (4_096, 2**31 - 1),
    "message_int_keys": (2_048, 2**31 - 1),
    "message_ends": (1, MAX_ENDS),
    "open_channels": (1, 2**31 - 1),
    "stream_window": (1_024, 2**31 - 1),
    "unacknowledged": (65_536, 2**31 - 1),
}
"""What the protocol has room for, and what decoding can bear (protocol section 2.2): of those that a peer is told."""
MAX_RESUME = (2**32 - 1) / 1_000
"""Seconds for which a session can be resumed at most: they travel as milliseconds (protocol section 3.7)."""
MAX_PREKEY = 23 * 3_600
"""Seconds that a prekey lives at most: its certificate ends within a day (protocol section 2.1)."""
_RANGES = PEER_RANGES | {"stream_window_max": (1_024, 2**31 - 1), "resume": (0, MAX_RESUME), "prekey": (0, MAX_PREKEY)}
_MAY_BE_ZERO = ("resume", "prekey")

_DEFAULT = Limits()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimits:
    """What the peer accepts from us, as it said in the handshake (protocol section 2.2)."""

    message_size: int = _DEFAULT.message_size
    message_depth: int = _DEFAULT.message_depth
    message_values: int = _DEFAULT.message_values
    message_int_keys: int = _DEFAULT.message_int_keys
    message_ends: int = _DEFAULT.message_ends
    open_channels: int = _DEFAULT.open_channels
    stream_window: int = _DEFAULT.stream_window
    unacknowledged: int = _DEFAULT.unacknowledged


STEPS = 10
"""The time that a peer has for something goes by in this many steps. One in which our event loop stood still is one,
however long it was: what has come meanwhile is read before the time is over."""


class Bucket:
    """A token bucket: a burst of something at once, and a rate a second."""

    __slots__ = ("_a_second", "_at", "_burst", "_left")

    def __init__(self, burst: float, a_second: float) -> None:
        self._burst = self._left = burst
        self._a_second = a_second
        self._at = -math.inf

    def left(self, now: float) -> float:
        """How many there may be at once, now."""
        self._left = min(self._burst, self._left + (now - self._at) * self._a_second)
        self._at = now
        return self._left

    def take(self, now: float) -> bool:
        """Take one, if there is one left."""
        if self.left(now) < 1:
            return False
        self._left -= 1
        return True

    def spend(self, number: float) -> None:
        """So many were taken, whether they were there or not."""
        self._left -= number
