"""One stream of the multiplexer: two halves, an inbox, an outbox, and their credit.  No I/O.

A stream is opened by one side (the opener) for an end that the other side (the acceptor) gets; `kind` names
that end.  Which halves carry data follows from it:

    kind        opener's half                   acceptor's half
    receiver    messages, then last words       last words: what was taken, and why refused
    sender      last words: what was taken      messages, then last words
    bytes       bytes, then last words          bytes, then last words

Outgoing data: `write` appends to the outbox while `room` says so; `Mux.data_to_send` calls `pull`. Incoming data:
`Mux.receive_data` calls `arrived`; the application's task calls `next_message` or `read`, and then `taken` or
`consumed`, which gives the peer its credit back (DESIGN 3.2: credit follows use).

Every half ends once.  Why is kept in `in_reason` (what comes in) and `out_reason` (what goes out); the first stays.
`on_readable` and `on_writable` are called when something has changed; they only say "look".
"""

from collections.abc import Iterable
from typing import Protocol

from chanlink.channels.values import Kind
from chanlink.errors import END, Reason, not_taken

from . import incoming, outgoing
from .incoming import Incoming
from .opening import Fields, Opening, last_words_fields
from .outgoing import Outgoing


class Scheduler(outgoing.Scheduler, incoming.Scheduler, Protocol):
    """What a stream asks of its mux, which has the docstrings."""

    def forsake(self, streams: "Iterable[Stream]", text: str) -> None: ...


class Stream:
    """One stream.  Made by `Mux.open`, or handed over by the mux when the peer opened it."""

    __slots__ = (
        "_mux",
        "_to_send_last",
        "accepted",
        "carries_in",
        "carries_out",
        "children",
        "gone",
        "id",
        "in_ended",
        "in_reason",
        "incoming",
        "is_bytes",
        "opened_at",
        "opening",
        "ours",
        "out_ended",
        "out_reason",
        "outgoing",
        "root_service",
        "said",
        "stop_due",
    )

    def __init__(
        self,
        mux: Scheduler,
        stream_id: int,
        opening: Opening,
        *,
        ours: bool,
        opened_at: float = 0.0,
    ) -> None:
        self._mux, self.id = mux, stream_id
        self.opening, self.ours, self.opened_at = opening, ours, opened_at
        self.is_bytes = opening.kind == "bytes"
        self.carries_out = self.is_bytes or (opening.kind == "receiver") == ours
        self.carries_in = self.is_bytes or not self.carries_out
        self.root_service = None if ours else opening.service  # by which it came, at any depth; None: by one of ours
        self.children: dict[int, Stream] | None = None
        """Streams with this one as parent that no message has mentioned yet, also such that are over."""

        # What goes out.
        if self.carries_out:
            self.outgoing = Outgoing(mux, self, opening.capacity)
        self.accepted = ours
        """Whether our first HEADERS frame is out (protocol section 6)."""
        self.out_reason: Reason | None = None
        self.out_ended = False
        self.gone: Reason | None = None
        self.said: Reason | None = None
        """Our own last words, as long as the other side has said nothing else."""
        self._to_send_last: Fields | None = None

        # What comes in.
        self.in_reason: Reason | None = None
        self.in_ended = False
        if self.carries_in:
            self.incoming = Incoming(mux, self, opening.capacity, opened_at)
        self.stop_due: bytes | None = None

    @property
    def kind(self) -> Kind:
        return self.opening.kind

    @property
    def capacity(self) -> int | None:
        return self.opening.capacity

    @property
    def parent(self) -> int | None:
        return self.opening.parent

    # --- going out --------------------------------------------------------------------------------

    def finish(self, reason: Reason) -> None:
        """Nothing more will be written: end, failed or lost.  The peer learns it after everything written before."""
        if self.out_reason is None:
            self.said = reason
        self._finish(reason, [] if reason.kind == "end" else last_words_fields(reason))

    def _finish(self, reason: Reason, last_words: Fields) -> None:
        if self.out_reason is None:
            self.out_reason = reason
            self._to_send_last = last_words
            self._mux.activate(self)

    def has_output(self) -> bool:
        """Whether `Mux.data_to_send` could make a frame of this stream now."""
        if self.carries_out and self.outgoing.outbox:
            return self.outgoing.credit > 0
        return self._to_send_last is not None

    def has_unsent(self) -> bool:
        """Whether there are data that have not left, perhaps for want of credit, or last words."""
        return self._to_send_last is not None or (self.carries_out and bool(self.outgoing.outbox))

    def last_words(self) -> Fields | None:
        """The fields with which our half ends now (an empty list: DATA), or None while it goes on."""
        if self.carries_out and self.outgoing.outbox:
            return None
        last, self._to_send_last = self._to_send_last, None
        return last

    def refused(self, reason: Reason) -> None:
        """The peer reads no more: drop what is queued, and end our half at once (protocol section 6)."""
        # Also after an end of our own: what was sent before it will not be taken any more.
        ours = self.out_reason is None or self.out_reason is self.said
        if ours or self.out_reason.kind not in ("refused", "lost"):  # type: ignore[union-attr]
            self.out_reason = reason
        self.outgoing.drop()
        if not self.out_ended:
            self._to_send_last = []
            self._mux.activate(self)
        self.outgoing.owner.writable()

    # --- coming in --------------------------------------------------------------------------------

    def ended(self, reason: Reason) -> None:
        """The peer's half is over, after everything that has arrived."""
        self.in_ended = True
        if self.in_reason is None:
            self.in_reason = reason
        self.settle()
        self.incoming.release()
        self.incoming.owner.readable()

    def exhausted(self) -> Reason | None:
        """Why nothing will come any more, once everything that arrived was taken."""
        if self.in_reason is None:
            return None
        if (
            self.incoming.size and not self.is_bytes and not self.incoming.message_ready()
        ):  # a part of a message is left
            self.incoming.drop()
            self.incoming.release()
            if self.in_reason.kind == "end":
                self.in_reason = Reason("failed", "cut-short", "the channel ended inside a message")
        return None if self.incoming.size else self.in_reason

    def settle(self) -> None:
        """Everything that will come was taken: say so to the sender, and forget what was never mentioned."""
        if not self.is_bytes and not self.incoming.in_relay and self.exhausted() is not None:
            self._say_taken([])

    def _say_taken(self, more: Fields) -> None:
        if self.carries_in and self.out_reason is None:
            self._finish(END, [(b"taken", b"%d" % self.incoming.taken_count), *more])
            self._forsake_children()

    def _forsake_children(self) -> None:
        children, self.children = self.children, None
        if children:
            self._mux.forsake(children.values(), not_taken(self.in_reason))

    def reject(self, code: str, text: str) -> None:
        """The peer broke a rule of this channel: it is told so, and this side's receiver sees a failure."""
        self.refuse(Reason("failed", code, text))

    def refuse(self, reason: Reason) -> None:
        """This side reads no more: the peer is told at once, what has arrived is dropped."""
        # It may be over already; of a channel we have said so then (its last message may be in the receiver's hands).
        if (self.in_reason is not None and not self.incoming.size) if self.is_bytes else self.out_reason is not None:
            return
        if self.in_reason is None or self.in_reason.kind != "lost":
            self.in_reason = reason
        self.incoming.drop()
        self.incoming.release()
        self._say_refused(reason)
        self.incoming.owner.readable()

    def _say_refused(self, reason: Reason) -> None:
        if not self.is_bytes:
            self._say_taken(last_words_fields(reason))
        elif not self.in_ended:
            fields = dict(last_words_fields(reason))
            code = fields.get(b"code", b"")  # none: lost
            self.stop_due = bytes([len(code)]) + code + (fields.get(b"lost") or fields.get(b"text", b""))
            self._mux.credit_due(self)

    def discard(self, code: str, text: str = "") -> None:
        """Nobody took the end that this stream was opened for."""
        if self.carries_in:
            self.refuse(Reason("refused", code, text))
        if self.carries_out:
            self.finish(Reason("failed", code, text))

    def give_up(self, code: str, lost: Reason) -> None:
        """This side leaves.  The peer is told why; here it is lost, but what has arrived can still be taken."""
        if self.carries_in and self.in_reason is None:
            self.in_reason = lost
            self._say_refused(Reason("refused", code))
            self.incoming.owner.readable()
        if self.carries_out and self.out_reason is None:
            self._finish(lost, last_words_fields(Reason("failed", code)))
            self.outgoing.owner.writable()

    def over(self) -> None:
        """Both halves are over."""
        if self.is_bytes and self.gone is None:
            self.gone = Reason("refused", "closed")
            self.outgoing.owner.writable()

    def reset(self) -> None:
        """The peer broke off: both halves are over at once (protocol section 4.1).

        What was not taken is dropped, as the stream keeps no place among the open ones, which bound what arrives.
        """
        self.drop_arrived()
        self.lost(Reason("refused", "reset"), Reason("failed", "reset"))
        self._forsake_children()

    # --- the session's end ------------------------------------------------------------------------

    def drop_arrived(self) -> None:
        """What has arrived and was not taken is for nobody.  The stream is about to be lost."""
        if self.carries_in and self.incoming.size:
            self.incoming.drop()
            self.incoming.window.withdraw()
            self.in_reason = None

    def lost(self, outward: Reason, inward: Reason) -> None:
        """Nothing more will go or come, for these reasons.  What arrived before can still be taken."""
        # A channel is settled by the receiver's last words, a half of a byte stream by its own.
        settled = self.out_ended if self.is_bytes else self.in_ended
        refused = self.out_reason is not None and self.out_reason.kind == "refused"
        if self.carries_out and not settled and not refused:
            self.out_reason = outward
        if self.carries_in and self.in_reason is None:
            self.in_reason = inward
        self.gone = outward
        self.in_ended = self.out_ended = True
        self._to_send_last = None
        if self.carries_in:
            self.incoming.release()
            self.incoming.owner.readable()
        if self.carries_out:
            self.outgoing.drop()
            self.outgoing.owner.writable()
