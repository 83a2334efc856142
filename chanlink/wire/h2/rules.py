"""Which rule of the protocol page a peer has broken, in words for a log and for the peer itself.

h2 reports broken rules in words about its own inside ("Invalid input StreamInputs.RECV_DATA in state ..."). What leaves
connection.py is a `BrokenRule`, whose text names the frame and the rule.
"""

import h2.exceptions
from h2.errors import ErrorCodes

NAMES = {
    0x0: "DATA",
    0x1: "HEADERS",
    0x2: "PRIORITY",
    0x3: "RST_STREAM",
    0x4: "SETTINGS",
    0x5: "PUSH_PROMISE",
    0x6: "PING",
    0x7: "GOAWAY",
    0x8: "WINDOW_UPDATE",
    0x9: "CONTINUATION",
    0xF1: "TAKEN",
    0xF2: "DRAIN",
    0xF3: "STOP",
}
"""Of frames, by their type."""

_RULES: tuple[tuple[type[h2.exceptions.H2Error], str, str], ...] = (
    # What h2 raises, for which frame ("": any), and what that means. The first that fits counts.
    (h2.exceptions.FlowControlError, "DATA", "it goes beyond the window"),
    (h2.exceptions.FlowControlError, "", "it opens a window beyond 2^31-1"),
    (h2.exceptions.StreamIDTooLowError, "", "that stream is over, or one with a higher id was opened before"),
    (h2.exceptions.StreamClosedError, "", "that stream, or this half of it, is over"),
    (h2.exceptions.NoSuchStreamError, "", "that stream was never opened"),
    (h2.exceptions.H2Error, "", "not allowed in this state of the stream or of the connection"),
)


class BrokenRule(h2.exceptions.ProtocolError):
    """The peer broke a rule; the text says which."""

    def __init__(self, text: str, error_code: ErrorCodes = ErrorCodes.PROTOCOL_ERROR) -> None:
        super().__init__(text)
        self.error_code = error_code


def broken_by(exc: h2.exceptions.H2Error, frame: tuple[int, int, int, bytes] | None) -> BrokenRule:
    """The rule that a frame (type, flags, stream id, payload; None: what was there is no frame yet) has broken."""
    if frame is None:
        name, where = "", ""
    else:
        kind, _, stream_id, _ = frame
        name = NAMES.get(kind, f"a frame of type {kind:#x}")
        where = f"{name} on stream {stream_id}: " if stream_id else f"{name}: "
    rule = str(exc) if isinstance(exc, BrokenRule) else _rule(exc, name)
    return BrokenRule(where + rule, getattr(exc, "error_code", ErrorCodes.PROTOCOL_ERROR))


def _rule(exc: h2.exceptions.H2Error, name: str) -> str:
    return next(rule for kind, only, rule in _RULES if isinstance(exc, kind) and only in ("", name))
