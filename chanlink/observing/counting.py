"""What sessions, channels and calls have done, added up: the counts behind metrics of any kind.

What has ended is added when it ends; what is open is read when somebody asks. So a count is that of all there was, and
costs nothing for each message. It may be asked in any thread, as exporters do: what ends at that moment may be missing
in one answer and is there in the next, and no count ever falls.

How many labels there are is bounded: services have the name that this program knows them by, and all others are
``other``; why something ended is a word of a list.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

from chanlink import clock
from chanlink.instrument import (
    CallInfo,
    CallOutcome,
    ChannelInfo,
    ChannelTotals,
    Instrument,
    SessionInfo,
    SessionTotals,
)

MOST_SERVICES = 256
"""Of which there are counts of their own: a program may serve as many as it likes to make up."""
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds of calls, up to which they are counted together."""

Labels = tuple[str, ...]


class Family(NamedTuple):
    """One metric, for all its labels."""

    name: str
    """With dots, and without a unit: ``chanlink.sessions.opened``."""
    kind: Literal["counter", "gauge"]
    unit: str
    labels: Labels
    text: str


FAMILIES = (
    Family("chanlink.sessions", "gauge", "", ("side",), "Sessions that are open."),
    Family("chanlink.sessions.opened", "counter", "", ("side",), "Sessions whose handshake is done."),
    Family("chanlink.sessions.ended", "counter", "", ("side", "cause"), "Sessions that are over."),
    Family("chanlink.sessions.volume", "counter", "bytes", ("side",), "Bytes on the wire, of both directions."),
    Family("chanlink.keys.renewed", "counter", "", ("side",), "How many times sessions have made new keys."),
    Family("chanlink.connects.failed", "counter", "", ("reason",), "Attempts to connect that failed."),
    Family("chanlink.connections.refused", "counter", "", ("reason",), "Connections that became no session."),
    Family("chanlink.channels", "gauge", "", ("service", "opener"), "Channels and byte streams that are open."),
    Family("chanlink.channels.opened", "counter", "", ("service", "opener"), "Channels and byte streams opened."),
    Family("chanlink.channels.ended", "counter", "", ("service", "opener", "outcome"), "Those that are over."),
    Family("chanlink.messages.sent", "counter", "", ("service", "opener"), "Messages accepted from this program."),
    Family("chanlink.messages.taken", "counter", "", ("service", "opener"), "Messages taken by this program."),
    Family("chanlink.data.sent", "counter", "bytes", ("service", "opener"), "Bytes accepted from this program."),
    Family("chanlink.data.received", "counter", "bytes", ("service", "opener"), "Bytes that have arrived."),
    Family("chanlink.calls", "gauge", "", ("interface", "method", "side"), "Calls that are running."),
    Family("chanlink.calls.ended", "counter", "", ("interface", "method", "side", "outcome"), "Calls that are over."),
    Family("chanlink.calls.refused", "counter", "", ("code",), "Requests that did not become calls."),
)
"""All but the time that calls take."""


class Times(NamedTuple):
    """How long calls took."""

    counts: tuple[int, ...]
    """Up to each of `BUCKETS`, and one more for those that took longer; each call is in one of them."""
    seconds: float
    """Of all of them together."""


class Counts(Instrument):
    """An instrument that adds up what it is told. Give one to all that makes sessions in a program."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[Labels]] = {family.name: Counter() for family in FAMILIES}
        """Of what has happened; of what is open, `_sessions` and `_channels` know."""
        self._sessions: dict[SessionInfo, Callable[[], SessionTotals]] = {}
        self._channels: dict[ChannelInfo, Callable[[], ChannelTotals]] = {}
        self._calls: dict[CallInfo, float] = {}
        """When each that is running began."""
        self._times: dict[Labels, tuple[list[int], list[float]]] = {}
        self._services: set[str] = set()
        self._told: dict[str, dict[Labels, int]] = {family.name: {} for family in FAMILIES}
        """What was answered last."""

    # --- asking ---

    def samples(self, family: Family) -> Mapping[Labels, int]:
        """What there is to tell of one of `FAMILIES` now. May be asked in any thread."""
        now = dict(self._counts[family.name].copy())
        for labels, more in self._open(family.name):
            now[labels] = now.get(labels, 0) + more
        before = self._told[family.name]
        if family.kind == "counter":
            now = {labels: max(count, before.get(labels, 0)) for labels, count in (before | now).items()}
        else:  # what is gone is none, and was once there
            now = {**dict.fromkeys(before, 0), **now}
        self._told[family.name] = now
        return now

    def times(self) -> Mapping[Labels, Times]:
        """How long calls took, by interface, method and side. May be asked in any thread."""
        return {labels: Times(tuple(counts), seconds[0]) for labels, (counts, seconds) in self._times.copy().items()}

    def _open(self, name: str) -> Iterator[tuple[Labels, int]]:
        """What is to be added for what is open, or is there only as long as that."""
        match name:
            case "chanlink.sessions":
                yield from ((_side_of(session), 1) for session in self._sessions.copy())
            case "chanlink.sessions.volume":
                yield from ((_side_of(session), read().volume) for session, read in self._sessions.copy().items())
            case "chanlink.channels":
                yield from ((self._of(channel), 1) for channel in self._channels.copy())
            case "chanlink.calls":
                yield from ((_of_call(call), 1) for call in self._calls.copy())
            case _ if name in _CARRIED:
                field = _CARRIED[name]
                for channel, read in self._channels.copy().items():
                    yield self._of(channel), getattr(read(), field)

    # --- being told ---

    def _add(self, name: str, *labels: str, count: int = 1) -> None:
        self._counts[name][labels] += count

    def connect_failed(self, address: str, reason: str) -> None:
        self._add("chanlink.connects.failed", reason)

    def connection_refused(self, address: str, reason: str) -> None:
        self._add("chanlink.connections.refused", reason)

    def session_opened(self, session: SessionInfo, read: Callable[[], SessionTotals]) -> None:
        self._sessions[session] = read
        self._add("chanlink.sessions.opened", *_side_of(session))

    def keys_renewed(self, session: SessionInfo, epoch: int) -> None:
        self._add("chanlink.keys.renewed", *_side_of(session))

    def session_ended(self, session: SessionInfo, totals: SessionTotals) -> None:
        del self._sessions[session]
        self._add("chanlink.sessions.ended", *_side_of(session), totals.cause)
        self._add("chanlink.sessions.volume", *_side_of(session), count=totals.volume)

    def channel_opened(self, channel: ChannelInfo, read: Callable[[], ChannelTotals]) -> None:
        if channel.known and len(self._services) < MOST_SERVICES:
            self._services.add(channel.service)
        self._channels[channel] = read
        self._add("chanlink.channels.opened", *self._of(channel))

    def channel_ended(self, channel: ChannelInfo, totals: ChannelTotals) -> None:
        del self._channels[channel]
        labels = self._of(channel)
        self._add("chanlink.channels.ended", *labels, totals.outcome)
        for name, field in _CARRIED.items():
            self._add(name, *labels, count=getattr(totals, field))

    def call_begun(self, call: CallInfo) -> None:
        self._calls[call] = clock.now()

    def call_ended(self, call: CallInfo, outcome: CallOutcome, code: str) -> None:
        seconds = clock.now() - self._calls.pop(call)
        labels = _of_call(call)
        self._add("chanlink.calls.ended", *labels, outcome)
        self.call_took(seconds, *labels)

    def call_took(self, seconds: float, interface: str, method: str, side: str) -> None:
        """A call is over."""
        counts, sums = self._times.setdefault((interface, method, side), ([0] * (len(BUCKETS) + 1), [0.0]))
        counts[bisect_left(BUCKETS, seconds)] += 1
        sums[0] += seconds

    def call_refused(self, peer: str, code: str) -> None:
        self._add("chanlink.calls.refused", code)

    def _of(self, channel: ChannelInfo) -> Labels:
        service = channel.service if channel.known and channel.service in self._services else "other"
        return service, "here" if channel.ours else "peer"


_CARRIED = {
    "chanlink.messages.sent": "sent",
    "chanlink.messages.taken": "taken",
    "chanlink.data.sent": "sent_bytes",
    "chanlink.data.received": "received_bytes",
}
"""What channels count, by the metric that it is added to."""


def _side_of(session: SessionInfo) -> Labels:
    return ("client" if session.is_client else "server",)


def _of_call(call: CallInfo) -> Labels:
    return call.interface, call.method, "server" if call.serves else "client"
