"""Offers: messages on their way out that have not been accepted yet.

An offer **lends** the ends in its message: nobody else can send them meanwhile. They are kept when the offer comes to
nothing, and moved when it is accepted. At a rendezvous in memory an offer may **stand**: its sender waits, and a
receiver that comes takes the message from it.
"""

from typing import Any, Protocol

from .values import Attachments, End
from .waiting import Waiter


class Decider(Protocol):
    """A select: one of its cases happens, and no other."""

    def claim(self, offer: "Offer") -> bool:
        """Commit to this offer; False if something else has happened."""


class Offer:
    """What is to be sent, and the ends that it lends until it is accepted. Of a byte stream: some bytes."""

    __slots__ = ("_by", "_decider", "_error", "body", "ends", "taken", "value", "waiter")

    def __init__(self, value: Any, ends: Attachments, *, body: Any = None) -> None:
        self.value = value
        self.ends = ends
        self.body = body
        """The encoded value, once it is clear that it leaves the process."""
        self.taken = False
        """Of a rendezvous: a receiver has it."""
        self.waiter: Waiter | None = None
        """Of a rendezvous: what is to be told that a receiver has it, or could not be given it."""
        self._by: End | None = None
        self._decider: Decider | None = None
        self._error: Exception | None = None
        if ends:
            self._lend()

    def _lend(self) -> None:
        lent = []
        try:
            for end, _ in self.ends.values():
                end._lend()
                lent.append(end)
        except BaseException:
            for end in lent:
                end._keep()
            raise

    def keep(self) -> None:
        """It was not sent: the ends are their owner's again."""
        for end, _ in self.ends.values():
            end._keep()

    def take_ends(self) -> Attachments:
        """It is accepted: these ends move now."""
        ends, self.ends = self.ends, {}
        return ends

    def encoded(self, ends: Attachments, body: Any) -> None:
        """It was offered in memory, and leaves the process now."""
        self.ends, self.body = ends, body

    # --- a rendezvous ---

    def made_by(self, end: End, decider: Decider | None = None) -> None:
        """It is this handle's, and void once that is; perhaps a case of a select."""
        self._by, self._decider = end, decider

    def stand(self, waiter: Waiter) -> None:
        """From now on a receiver may take it, and wakes this waiter then."""
        self.waiter = waiter

    def stands(self) -> bool:
        """Whether a receiver may take it now."""
        if self._by is not None and self._by.is_void:
            return False  # its task has been woken, and will say why
        return self._decider is None or self._decider.claim(self)

    def take(self) -> None:
        """A receiver has it."""
        self.taken = True

    def fail(self, error: Exception) -> None:
        """It could not be given to the receiver that came, because an end in it was closed, say."""
        self._error = error

    def settled(self) -> bool:
        """Whether a receiver has it. Whatever became of the sender since then, it was sent."""
        if self._error is not None:
            raise self._error
        return self.taken
