"""What the instruments of a session are told: of itself, its channels and services, and of how it was made.

It is there only if there are instruments. What it tells of a channel is read where it is kept, at its stream.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Literal

import anyio

from chanlink import clock
from chanlink.errors import (
    END,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    HandshakeError,
    HandshakeTimeout,
    Reason,
    SessionClosed,
    SessionError,
    UntrustedPeer,
    WrongPeer,
    as_code,
)
from chanlink.instrument import (
    ChannelInfo,
    ChannelTotals,
    Instrument,
    Instruments,
    Outcome,
    SessionInfo,
    SessionTotals,
)
from chanlink.wire.opening import MAX_TRACE
from chanlink.wire.stream import Stream

from .states import State

_OUTCOMES: dict[str, Outcome] = {"end": "ended", "failed": "failed", "refused": "refused", "lost": "lost"}


class Telling:
    """Tells the instruments of one session, of which it is the `Observer` of streams.

    ``read`` says what the session has done, and ``knows`` whether the peer may use a service that there is.
    """

    def __init__(
        self,
        instruments: Instruments,
        session: SessionInfo,
        *,
        read: Callable[[], SessionTotals],
        knows: Callable[[str], bool],
    ) -> None:
        self._tell = instruments.tell
        self._session = session
        self._read = read
        self._knows = knows
        self._state: State = "open"
        self._epoch = 0

    # --- the session ---

    def begun(self) -> None:
        self._tell(Instrument.session_opened, self._session, self._read)

    def changed(self, state: State) -> None:
        """It may have another state."""
        if state == self._state:
            return
        self._state = state
        self._tell(Instrument.session_changed, self._session, state)
        if state == "closed":
            self._tell(Instrument.session_ended, self._session, self._read())

    def keys_are_of(self, epoch: int) -> None:
        """They may be others than before."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._tell(Instrument.keys_renewed, self._session, epoch)

    # --- streams ---

    def opened(self, stream: Stream, parent: Stream | None) -> tuple[ChannelInfo, bytes | None]:
        """As an `Observer`."""
        carrier = parent.info if parent is not None else None
        if carrier is not None:
            service, known = carrier.service, carrier.known
        else:  # at the top, or its parent is over
            service = stream.opening.service or ""
            known = bool(service) and (stream.ours or self._knows(service))
        trace = stream.opening.trace
        came = None if trace is None else trace.decode(errors="replace")
        info = ChannelInfo(
            self._session, stream.id, carrier, service, known, end_of(stream), stream.ours, clock.now(), came
        )
        answers = self._tell(Instrument.channel_opened, info, partial(_totals, stream, info))
        goes_on = next((one for one in answers if one is not None), None)
        return info, trace if goes_on is None else goes_on.encode()[:MAX_TRACE]

    def ended(self, stream: Stream) -> None:
        """As an `Observer`."""
        info = stream.info
        assert info is not None
        self._tell(Instrument.channel_ended, info, _totals(stream, info))
        info._is_over()

    def joined(self, source: Stream, onward: Stream) -> None:
        """As an `Observer`."""
        if source.info is not None and onward.info is not None:
            self._tell(Instrument.relay_joined, source.info, onward.info)

    # --- services ---

    def accepted(self, stream: Stream) -> None:
        """Somebody has taken one that the peer has opened."""
        assert stream.info is not None
        self._tell(Instrument.channel_accepted, stream.info)

    def serving(self, stream: Stream) -> AbstractContextManager[None]:
        """A service has taken it. What is returned is around the service, in its task."""
        self.accepted(stream)
        assert stream.info is not None
        return self._around_service(stream.info)

    @contextmanager
    def _around_service(self, info: ChannelInfo) -> Iterator[None]:
        self._tell(Instrument.service_begun, info)
        try:
            yield
        except anyio.get_cancelled_exc_class():
            self._tell(Instrument.service_ended, info, "cancelled")
            raise
        except BaseException:
            self._tell(Instrument.service_ended, info, "handler-failed")
            raise
        else:
            self._tell(Instrument.service_ended, info, "done")


def end_of(stream: Stream) -> Literal["sender", "receiver", "bytes"]:
    """What this side has of it."""
    return "bytes" if stream.is_bytes else "sender" if stream.carries_out else "receiver"


def _totals(stream: Stream, info: ChannelInfo) -> ChannelTotals:
    messages = not stream.is_bytes
    return ChannelTotals(
        stream.outgoing.sent if stream.carries_out and messages else 0,
        stream.incoming.taken_count if stream.carries_in and messages else 0,
        stream.outgoing.sent_bytes if stream.carries_out else 0,
        stream.incoming.arrived_bytes if stream.carries_in else 0,
        clock.now() - info.began,
        *outcome_of(stream),
    )


def outcome_of(stream: Stream) -> tuple[Outcome, str]:
    """What has become of a stream, as far as it has."""
    reasons = _reasons(stream)
    if None in reasons and not (stream.in_ended and stream.out_ended):
        return "open", ""
    reason = next((one for one in reasons if one is not None and one.kind != "end"), None)
    if reason is None:
        return "ended", ""
    return _OUTCOMES[reason.kind], reason.code if reason.cause is None else _code_of(reason.cause)


def _reasons(stream: Stream) -> list[Reason | None]:
    """Of its halves that carry something."""
    reasons: list[Reason | None] = []
    if stream.carries_out:
        reasons.append(_unless_unused(stream, stream.out_reason, stream.outgoing.sent_bytes))
    if stream.carries_in:
        reasons.append(_unless_unused(stream, stream.in_reason, stream.incoming.arrived_bytes))
    return reasons


def _unless_unused(stream: Stream, reason: Reason | None, carried: int) -> Reason | None:
    """Most byte streams are used in one direction. Who closes the other one, in which nothing came, refuses nothing."""
    unused = (
        stream.is_bytes and not carried and reason is not None and (reason.kind, reason.code) == ("refused", "closed")
    )
    return END if unused else reason


# --- before there is a session --------------------------------------------------------------------

_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (UntrustedPeer, "untrusted"),
    (WrongPeer, "wrong-peer"),
    (HandshakeTimeout, "timeout"),
    (ConnectFailed, "unreachable"),
    (ConnectionLost, "connection-lost"),
    (anyio.BrokenResourceError, "connection-lost"),
    (ConfigError, "config"),
)


def why_not(error: BaseException) -> str:
    """Why there is no session, as one word of a short list (see `Instrument.connect_failed`)."""
    match error:
        case HandshakeError(code=("clock" | "no-answer") as code):
            return code
        case SessionClosed():
            return "busy" if error.code == "busy" else "closed"
        case _ if (word := next((word for kind, word in _REASONS if isinstance(error, kind)), None)) is not None:
            return word
        case SessionError():
            return "handshake"
        case Exception():
            return "internal"
    return "cancelled"


@contextmanager
def attempting(instruments: Instruments | None, address: str) -> Iterator[None]:
    """Around an attempt to connect."""
    if instruments is not None:
        instruments.tell(Instrument.connecting, address)
    with refusing(instruments, Instrument.connect_failed, address):
        yield


@contextmanager
def refusing(
    instruments: Instruments | None, hook: Callable[[Instrument, str, str], None], address: str
) -> Iterator[None]:
    """Around a handshake: this hook is told if it fails."""
    try:
        yield
    except BaseException as exc:
        if instruments is not None:
            instruments.tell(hook, address, why_not(exc))
        raise


def _code_of(cause: BaseException) -> str:
    """Of what has ended the session of a channel that is lost: `session-closed` if that was in order."""
    name, code = cause_of(cause)
    return code or name


def cause_of(error: BaseException | None) -> tuple[str, str]:
    """Name and code of what has ended a session."""
    if error is None:
        return "", ""
    return as_code(type(error).__name__), error.code if isinstance(error, SessionError) else ""
