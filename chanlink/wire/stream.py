"""One stream of the multiplexer: two halves, and how each of them ends. No I/O, no clock.

A stream is opened by one side (the opener) for an end that the other side (the acceptor) gets; `kind` names that end.
Which halves carry data follows from it:

    kind        opener's half                   acceptor's half
    receiver    messages, then last words       last words: what was taken, and why refused
    sender      last words: what was taken      messages, then last words
    bytes       bytes, then last words          bytes, then last words

A half that carries data from here has an `Outgoing`, one that carries data to here has an `Incoming`: these move bytes.
What is over, and why, is said here, and nobody else writes it:

    out_reason   why nothing more is written: by us (`our_reason`, the last words that we say), or because the peer
                 refuses it, or the session is lost; and `out_ended`, once the frame that ends our half is made
    in_reason    why nothing more comes; and `in_ended`, once the frame that ends the peer's half is here

The first reason stays, but for what the table says. A dash: it changes nothing.

    event           data that we send                      data that we receive

    finish          ours, after what was written           -
    refuse          -                                      ours; what arrived is dropped; the peer is told at once,
                                                           by STOP (bytes) or by our last words (messages)
    discard         finish as failed                       refuse
    give_up         lost here, failed for the peer         lost here, refused for the peer; what arrived stays
    spoil           ours anew, if the end has not left     -
    revoke          refused here, failed for the peer;     refuse as failed
                    what was written is dropped
    peer_ended      -                                      the peer's, after what arrived
    peer_refused    the peer's, also after ours; what      -
                    was written is dropped
    peer_reset      refused, if not settled                failed; what arrived is dropped
    lose            lost, if not settled                   lost; what arrived stays

Data are settled for their sender when the receiver's last words have come; of bytes, when the sender's have left. Once
all messages that came were taken, or refused, our last words say how many that were (`settle`).
"""

from collections.abc import Iterable
from typing import Protocol

from chanlink.channels.values import Kind
from chanlink.errors import END, Reason, not_taken
from chanlink.instrument import ChannelInfo

from . import incoming, outgoing
from .incoming import Incoming
from .opening import Fields, Opening, last_words_fields
from .outgoing import Outgoing


class Scheduler(outgoing.Scheduler, incoming.Scheduler, Protocol):
    """What a stream asks of its mux, which has the docstrings."""

    def forsake(self, streams: "Iterable[Stream]", code: str, text: str) -> None: ...


class Stream:
    """One stream. Made by `Mux.open`, or handed over by the mux when the peer opened it.

    Whole: all that the table above says, and nobody else writes.
    """

    __slots__ = (
        "_last_words_due",
        "_mux",
        "accepted",
        "carries_in",
        "carries_out",
        "children",
        "id",
        "in_ended",
        "in_reason",
        "incoming",
        "info",
        "is_bytes",
        "opened_at",
        "opening",
        "our_reason",
        "ours",
        "out_ended",
        "out_reason",
        "outgoing",
        "reader_gone",
        "root_service",
        "service",
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
        if self.carries_out:  # else there is none
            self.outgoing = Outgoing(mux, self, opening.capacity)
        if self.carries_in:  # else there is none
            self.incoming = Incoming(mux, self, opening.capacity, opened_at)
        self.service = opening.service
        """The service that it is of, ours or the peer's: for whoever looks for an end that was forgotten."""
        self.root_service = None if ours else opening.service
        """The service of ours by which it came, at any depth, or by which what it leaves on came."""
        self.info: ChannelInfo | None = None
        """What instruments know it by; None if there are none."""
        self.children: dict[int, Stream] | None = None
        """Streams with this one as parent that no message has mentioned yet, also such that are over."""
        self.accepted = ours
        """Whether our first HEADERS frame is out (protocol section 6)."""
        self.out_reason: Reason | None = None
        self.out_ended = False
        self.our_reason: Reason | None = None
        """Our own last words, if we have said any ourselves."""
        self._last_words_due: Fields | None = None
        self.reader_gone: Reason | None = None
        """Why nobody reads any more, also after the last byte."""
        self.in_reason: Reason | None = None
        self.in_ended = False
        self.stop_due: bytes | None = None
        """The body of a STOP frame that is still to be made."""

    @property
    def kind(self) -> Kind:
        return self.opening.kind

    @property
    def capacity(self) -> int | None:
        return self.opening.capacity

    @property
    def parent(self) -> int | None:
        return self.opening.parent

    def known_as(self, info: ChannelInfo, trace: bytes | None) -> None:
        """Instruments know it by this; and this is the trace that it belongs to, for whom it goes to."""
        self.info = info
        if trace != self.opening.trace:
            self.opening = self.opening._replace(trace=trace)

    # --- what the mux asks when it makes frames ---

    def has_output(self) -> bool:
        """Whether `Mux.data_to_send` could make a frame of this stream now."""
        if self.carries_out and self.outgoing.outbox:
            return self.outgoing.credit > 0
        return self._last_words_due is not None

    def has_unsent(self) -> bool:
        """Whether there are data that have not left, perhaps for want of credit, or last words."""
        return self._last_words_due is not None or (self.carries_out and bool(self.outgoing.outbox))

    def accept(self) -> None:
        """Our first frame is made."""
        self.accepted = True

    def end(self) -> Fields | None:
        """End our half now if it is time: the fields of its last frame (empty: of DATA), else None."""
        if self._last_words_due is None or (self.carries_out and self.outgoing.outbox):
            return None
        last, self._last_words_due = self._last_words_due, None
        self.out_ended = True
        return last

    def stop(self) -> bytes | None:
        """The body of a STOP frame, if one is due and can still be of use; it is made now."""
        stop, self.stop_due = self.stop_due, None
        return None if self.in_ended else stop

    # --- events on this side ----------------------------------------------------------------------

    def finish(self, reason: Reason) -> None:
        """Nothing more will be written: end, failed or lost. The peer learns it after everything written before."""
        if self.out_reason is None:
            self.our_reason = reason
        self._finish(reason, [] if reason.kind == "end" else last_words_fields(reason))

    def _finish(self, reason: Reason, last_words: Fields) -> None:
        if self.out_reason is None:
            self.out_reason = reason
            self._last_words_due = last_words
            self._mux.activate(self)

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

    def reject(self, code: str, text: str) -> None:
        """The peer broke a rule of this channel: it is told so, and this side's receiver sees a failure."""
        self.refuse(Reason("failed", code, text))

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
        """This side leaves. The peer is told why; here it is lost, but what has arrived can still be taken."""
        if self.carries_in and self.in_reason is None:
            self.in_reason = lost
            self._say_refused(Reason("refused", code))
            self.incoming.owner.readable()
        if self.carries_out and self.out_reason is None:
            self._finish(lost, last_words_fields(Reason("failed", code)))
            self.outgoing.owner.writable()

    def spoil(self, reason: Reason) -> None:
        """What was written can't be sent after all: this is the reason, also instead of an end that has not left."""
        if not self.out_ended:
            self.out_reason = None
            self.finish(reason)

    def revoke(self, code: str, text: str) -> None:
        """What it came by may not be used any more. Both sides are told; what waits here for either is dropped."""
        if self.carries_in:
            self.reject(code, text)
        if self.carries_out and not self.out_ended:
            self.outgoing.drop()
            self.our_reason = Reason("failed", code, text)
            self.out_reason = Reason("refused", code, text)  # for whoever sends here
            self._last_words_due = last_words_fields(self.our_reason)
            self._mux.activate(self)
            self.outgoing.owner.writable()

    # --- events on the peer's side ----------------------------------------------------------------

    def peer_ended(self, reason: Reason) -> None:
        """The peer's half is over, after everything that has arrived."""
        self.in_ended = True
        if self.in_reason is None:
            self.in_reason = reason
        self.settle()
        self.incoming.release()
        self.incoming.owner.readable()

    def peer_refused(self, reason: Reason) -> None:
        """The peer reads no more: drop what is queued, and end our half at once (protocol section 6)."""
        # Also after an end of our own: what was sent before it will not be taken any more.
        ours = self.out_reason is None or self.out_reason is self.our_reason
        if ours or self.out_reason.kind not in ("refused", "lost"):  # type: ignore[union-attr]
            self.out_reason = reason
        self.outgoing.drop()
        if not self.out_ended:
            self._last_words_due = []
            self._mux.activate(self)
        self.outgoing.owner.writable()

    def receiver_ended(self, refusal: Reason | None) -> None:
        """The last words of the receiver of our messages are here; it has told before what it took."""
        self.in_ended = True
        if refusal is None and (not self.out_ended or self.outgoing.peer_taken < self.outgoing.sent):
            refusal = Reason("refused", "closed")  # it did not wait for all of it
        if refusal is not None:
            self.peer_refused(refusal)
        else:
            self.outgoing.owner.writable()

    def peer_reset(self) -> None:
        """The peer broke off: both halves are over at once (protocol section 4.1).

        What was not taken is dropped, as the stream keeps no place among the open ones, which bound what arrives.
        """
        self.drop_arrived()
        self.lose(Reason("refused", "reset"), Reason("failed", "reset"))
        self._forsake_children()

    # --- the end of both halves -------------------------------------------------------------------

    def exhausted(self) -> Reason | None:
        """Why nothing will come any more, once everything that arrived was taken."""
        if self.in_reason is None:
            return None
        if self.incoming.size and not self.is_bytes and not self.incoming.message_ready():  # a part of one is left
            self.incoming.drop()
            self.incoming.release()
            if self.in_reason.kind == "end":
                self.in_reason = Reason("failed", "cut-short", "the channel ended inside a message")
        return None if self.incoming.size else self.in_reason

    def settle(self) -> None:
        """If everything that will come was taken, say so to the sender, and forget what was never mentioned."""
        if not self.is_bytes and not self.incoming.in_relay and self.exhausted() is not None:
            self._say_taken([])

    def _say_taken(self, more: Fields) -> None:
        if self.out_reason is None:
            self._finish(END, [(b"taken", b"%d" % self.incoming.taken_count), *more])
            self._forsake_children()

    def over(self) -> None:
        """Both halves are over."""
        if self.is_bytes and self.reader_gone is None:
            self.reader_gone = Reason("refused", "closed")
            self.outgoing.owner.writable()

    def drop_arrived(self) -> None:
        """What has arrived and was not taken is for nobody. The stream is about to be lost."""
        if self.carries_in and self.incoming.size:
            self.incoming.drop()
            self.incoming.window.withdraw()
            self.in_reason = None

    def lose(self, outward: Reason, inward: Reason) -> None:
        """Nothing more will go or come, for these reasons. What arrived before can still be taken."""
        settled = self.out_ended if self.is_bytes else self.in_ended
        refused = self.out_reason is not None and self.out_reason.kind == "refused"
        if self.carries_out and not settled and not refused:
            self.out_reason = outward
        if self.carries_in and self.in_reason is None:
            self.in_reason = inward
        self.reader_gone = outward
        self.in_ended = self.out_ended = True
        self._last_words_due = None
        if self.carries_in:
            self.incoming.release()
            self.incoming.owner.readable()
        if self.carries_out:
            self.outgoing.drop()
            self.outgoing.owner.writable()

    # --- nested streams (nested.py) ---------------------------------------------------------------

    def nest(self, child: "Stream") -> None:
        """A stream that a message of this one is to mention."""
        if self.children is None:
            self.children = {}
        self.children[child.id] = child
        child.came_by(self)

    def came_by(self, parent: "Stream") -> None:
        """A message of this stream mentions it."""
        self.service, self.root_service = parent.service, parent.root_service

    def mentioned(self, kind: Kind, stream_id: int) -> "Stream | None":
        """The nested stream that a message mentions now; None if that is a lie."""
        child = (self.children or {}).get(stream_id)
        if child is None or child.kind != kind:
            return None
        self.forget(stream_id)
        return child

    def forget(self, stream_id: int) -> None:
        """No message need mention this nested stream any more."""
        assert self.children is not None
        del self.children[stream_id]

    def _forsake_children(self) -> None:
        children, self.children = self.children, None
        if children:
            self._mux.forsake(children.values(), *not_taken(self.in_reason))
