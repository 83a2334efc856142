"""Instruments: objects of the program that are told what connections, sessions, channels and calls do.

They are told of what is rare: something begins, changes or ends. What happens for each message is told to nobody; what
streams count anyway can be read at any time, by a function that comes with each channel. So a program without
instruments pays nothing, and one that has some pays for each channel, never for each message.

What they are given are names, numbers and codes, never what is in a message. Names of services and addresses may come
from the other side: they are bounded, but not chosen by us.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec, TypeVar

from .arguments import expect
from .printing import printable_logger

P = ParamSpec("P")
T = TypeVar("T")
logger = printable_logger(__name__)

Outcome = Literal["open", "ended", "failed", "refused", "lost"]
"""What has become of a channel. Of a byte stream, the first of its two directions that did not end counts."""
CallOutcome = Literal["ok", "failed", "refused", "lost", "cancelled"]
"""What has become of a call, as the side that tells it knows it; ``cancelled`` also if its caller has left."""


# Compared by what they are: two sessions with one peer have the same names.
@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SessionInfo:
    """A session, as it began. The same object in all that an instrument is told of it."""

    peer: str
    """The name that this side knows the other by."""
    key: str
    """The fingerprint of its key; empty for a session without keys."""
    address: str
    """As `Peer.address`."""
    suite: str
    """The name of the record suite; empty for a session without keys."""
    is_client: bool
    """Whether this side has connected."""


class SessionTotals(NamedTuple):
    """What a session has done up to now."""

    age: float
    """Seconds."""
    volume: int
    """Bytes of both directions, as they are on the wire."""
    channels: int
    """Those that are open."""
    cause: str
    """Why it is over: the name of the error as codes are written (``session-closed``, ``peer-timeout``). Empty before.
    """
    code: str
    """The code of that error, which may be the peer's word; empty for an ordinary end."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ChannelInfo:
    """A channel or byte stream of a session. The same object in all that an instrument is told of it."""

    session: SessionInfo
    """The one that it is of."""
    id: int
    """Of its stream; each session counts its own."""
    parent: "ChannelInfo | None" = dataclasses.field(repr=False)
    """The channel in a message of which it travelled; None for one that was opened to a service, and for one that is
    over: each in a message of the one before is a line without an end."""
    service: str
    """The service that it is of, at any depth: the name that the opener has given."""
    known: bool
    """Whether that is a name of this program: one that it has opened a channel to, or that it serves to this peer. Of
    others there may be as many as peers like to make up."""
    end: Literal["sender", "receiver", "bytes"]
    """What this side has got."""
    ours: bool
    """Whether this side has opened it."""
    began: float
    """When it was opened, in seconds of a clock that never goes back."""
    trace: str | None = None
    """To which trace it belongs, by whoever has opened it, here or there: a ``traceparent`` of W3C Trace Context, and,
    if there is one, a space and the ``tracestate``. Of a peer, its words: at most 600 bytes of anything. None if nobody
    has said so, empty if it is to belong to none."""

    @property
    def label(self) -> str:
        """The name of the service, or ``other`` for one that is not known: there is a bound to how many there are."""
        return self.service if self.known else "other"

    def _is_over(self) -> None:
        """Forget the parent: else the last one of a line would keep all before it."""
        object.__setattr__(self, "parent", None)


class ChannelTotals(NamedTuple):
    """What a channel or byte stream has carried up to now."""

    sent: int
    """Messages accepted here; 0 for a byte stream."""
    taken: int
    """Messages taken here; 0 for a byte stream. What had arrived when its session was lost may be taken later."""
    sent_bytes: int
    """Bytes accepted here, as they are on the wire."""
    received_bytes: int
    """Bytes that have arrived here."""
    age: float
    """Seconds."""
    outcome: Outcome
    """What has become of it; ``open`` before that."""
    code: str
    """That goes with the outcome, often the peer's word; empty for an end. Of a channel that is lost, of what has ended
    its session: ``session-closed`` if one side has closed that in order, with the channel still open."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CallInfo:
    """A call of a method, on either side. The same object in what an instrument is told of it."""

    interface: str
    """The name of the protocol."""
    method: str
    """Its name."""
    is_stream: bool
    """Whether it gives a stream of items."""
    serves: bool
    """Whether this side carries it out."""
    peer: str
    """Of the side that serves: the name of who calls."""
    context: Mapping[str, str]
    """What the caller has said beside the arguments (`chanlink.call_context`): of who calls, its words."""


@dataclasses.dataclass(frozen=True, slots=True)
class StallInfo:
    """A channel or byte stream that stands still: see `chanlink.observing.watch_stalls`."""

    peer: str
    """As `Peer.name`."""
    address: str
    """As `Peer.address`."""
    channel: int
    """The id of its stream; each session counts its own."""
    service: str
    """The service that it is of, at any depth; empty if that is not known."""
    waits: Literal["take", "peer"]
    """What does not happen: somebody here is to ``take`` what has arrived, or the ``peer`` is to make room."""
    seconds: float
    """For how long, at least."""
    held_by: tuple[str, ...]
    """The tasks here that hold its end, as far as they were found, each with the place where it is."""

    def __str__(self) -> str:
        what = {
            "take": "nobody here takes what has arrived",
            "peer": "the peer takes nothing, and here somebody waits to send",
        }
        service = f" of service {self.service!r}" if self.service else ""
        where = f"channel {self.channel}{service} with {self.peer} at {self.address}"
        holders = " and ".join(self.held_by) or "nobody that was found"
        return f"{where} stands still for {self.seconds:g} s: {what[self.waits]}; held by {holders}"


class Instrument:
    """What a program is told; inherit from it, and write the methods that are wanted. The others do nothing.

    Given as ``instruments=[...]`` to what makes sessions. All methods are called by the event loop of the session, in
    the middle of what it does: they return at once, never wait, and call nothing of the session. One that raises, or
    returns what it may not (a coroutine, say), is logged once, and its instrument is told nothing more. Only what ends
    the program (`KeyboardInterrupt`, `SystemExit`) goes through.

    What has begun ends: for each `session_opened`, `channel_opened` and `call_begun` one end is told, however it comes.
    """

    # --- connections ---

    def connecting(self, address: str) -> None:
        """This side begins to connect. `session_opened` or `connect_failed` follows."""

    def connect_failed(self, address: str, reason: str) -> None:
        """There is no session with that address.

        ``reason`` is one word of ours: ``unreachable``, ``timeout``, ``wrong-peer``, ``untrusted``, ``busy``,
        ``no-answer``, ``clock``, ``handshake``, ``connection-lost``, ``closed``, ``cancelled``, ``config`` or
        ``internal``.
        """

    def connection_refused(self, address: str, reason: str) -> None:
        """A connection that came to this side did not become a session.

        ``reason`` as of `connect_failed`, and ``silent`` (it was closed without a word), ``no-room`` (too many were in
        their handshake).
        """

    # --- sessions ---

    def session_opened(self, session: SessionInfo, read: Callable[[], SessionTotals]) -> None:
        """The handshake is done. ``read`` tells at any time what the session has done."""

    def session_changed(self, session: SessionInfo, state: Literal["open", "away", "draining", "closed"]) -> None:
        """It has another state, as `Session.state` has it; ``closed`` comes right before `session_ended`."""

    def keys_renewed(self, session: SessionInfo, epoch: int) -> None:
        """Both sides have made new keys, for so many times by now. It is told some seconds later."""

    def session_ended(self, session: SessionInfo, totals: SessionTotals) -> None:
        """It is over, and so are its channels, which were told before. Services may go on for a moment."""

    # --- channels and byte streams ---

    def channel_opened(self, channel: ChannelInfo, read: Callable[[], ChannelTotals]) -> str | None:
        """A channel or byte stream was opened, by this side or the other; ``read`` tells at any time what it carried.

        For one that this side opens, this is called by the task that opens it, or that sends the message it is in; for
        one that goes on through this process, by any. What it returns takes the place of `ChannelInfo.trace`, for the
        peer and for whomever the end is sent on to; empty takes it away.
        """

    def channel_accepted(self, channel: ChannelInfo) -> None:
        """A service of this side, or its `accept`, has taken one that the peer has opened to it."""

    def service_begun(self, channel: ChannelInfo) -> None:
        """A service begins to work on it. Called in the task of the service, before it: what is set in a context
        variable is there for the service."""

    def service_ended(self, channel: ChannelInfo, code: Literal["done", "handler-failed", "cancelled"]) -> None:
        """The service has returned, raised, or was cancelled. Called in its task."""

    def channel_ended(self, channel: ChannelInfo, totals: ChannelTotals) -> None:
        """Both directions are over, whichever way."""

    def relay_joined(self, source: ChannelInfo, onward: ChannelInfo) -> None:
        """What comes by ``source`` goes on by ``onward``, over another session or the same."""

    def channel_stalled(self, stall: StallInfo) -> None:
        """A channel stands still. Told by `chanlink.observing.watch_stalls`, to the instruments that it was given."""

    # --- calls ---

    def call_begun(self, call: CallInfo) -> Mapping[str, str] | None:
        """A call begins: on the side that calls, before its request is sent; on the other, once its request was taken.

        It is called in the task that calls, or that carries the call out. What it returns on the side that calls
        travels with the request, beside what `chanlink.call_context` says, if there is room for it.
        """

    def call_ended(self, call: CallInfo, outcome: CallOutcome, code: str) -> None:
        """It has a result, or none. ``code`` is that of the error, perhaps the peer's word.

        It is called in the same task as `call_begun`, but for a stream of items on the side that calls: that may be
        left by another task, and one that is forgotten is told when Python finds it, in any thread.
        """

    def call_refused(self, peer: str, code: str) -> None:
        """A request of this peer did not become a call here: ``no-such-method``, ``bad-request``, ``late`` or
        ``cancelled``."""

    # --- links ---

    def link_changed(
        self,
        address: str,
        state: Literal["connecting", "ready", "away", "draining", "waiting", "refused", "closed"],
    ) -> None:
        """A link of `reconnecting` has another state, as `Link.state` has it."""


class Instruments(Collection[Instrument]):
    """The instruments of one listener, link or session, told together. Those that fail are taken out."""

    def __init__(self, instruments: Collection[Instrument]) -> None:
        self._all = list(instruments)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._all)

    def __contains__(self, one: object) -> bool:
        return one in self._all

    def tell(self, hook: Callable[Concatenate[Instrument, P], T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """Call a method of each, in their order; returns what they return."""
        answers = []
        for one in list(self._all):
            try:
                answers.append(_checked(hook.__name__, getattr(one, hook.__name__)(*args, **kwargs)))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # also a cancellation: it is none of the task in which this happens to be
                if one in self._all:
                    name = type(one).__name__
                    logger.exception("the instrument %s failed at %s, and is told nothing more", name, hook.__name__)
                    self._all.remove(one)
        return answers


def _checked(hook: str, answer: Any) -> Any:
    """What a method has returned, if it may. Raises `TypeError`, `ValueError`."""
    if answer is None:
        return None
    if hook == "channel_opened" and isinstance(answer, str):
        answer.encode()
        return answer
    if hook == "call_begun" and isinstance(answer, Mapping):
        return dict(answer)
    raise TypeError(f"it may not return {type(answer).__name__}")


def told(instruments: Collection[Instrument], name: str = "instruments") -> Instruments | None:
    """Those that are to be told; None if there are none. Raises `TypeError` unless these are instruments."""
    if isinstance(instruments, Instruments):
        return instruments
    expect(name, instruments, Collection)
    for one in instruments:
        expect(name, one, Instrument)
    return Instruments(instruments) if instruments else None
