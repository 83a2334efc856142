"""Offers: messages on their way out that have not been accepted yet."""

from typing import Any, Protocol

from .values import Attachments, End
from .waiting import Waiter


class Decider(Protocol):
    """A select: one of its cases happens, and no other."""

    def claim(self, offer: "Offer") -> bool:
        """Commit to this offer; False if something else has happened."""


class Offer:
    """A message on its way out: what is to be sent, and the ends that it lends until it is accepted."""

    __slots__ = ("body", "by", "decider", "ends", "error", "taken", "value", "waiter")

    def __init__(self, value: Any, ends: Attachments, *, body: Any = None) -> None:
        self.value = value
        self.ends = ends
        self.body = body
        """The encoded value, once it is clear that it leaves the process."""
        self.by: End | None = None
        """Of a rendezvous: the handle that offers; once it is void, so is the offer."""
        self.waiter: Waiter | None = None
        """Of a rendezvous: who is to be told that it was taken."""
        self.decider: Decider | None = None
        """Of a rendezvous: the select that it is a case of."""
        self.taken = False
        """Of a rendezvous: a receiver has it."""
        self.error: Exception | None = None
        """Of a rendezvous: why it could not be given to the receiver that came, such as an end closed meanwhile."""
        if ends:
            self._lend()

    def _lend(self) -> None:
        lent = []
        try:
            for end, _ in self.ends.values():
                end.lend()
                lent.append(end)
        except BaseException:
            for end in lent:
                end.keep()
            raise

    def stands(self) -> bool:
        """Of a rendezvous: whether a receiver may take it now."""
        if self.by is not None and self.by.is_void:
            return False  # its task has been woken, and will say why
        return self.decider is None or self.decider.claim(self)

    def settled(self) -> bool:
        """Of a rendezvous: whether a receiver has it.  Whatever became of the sender since then, it was sent."""
        if self.error is not None:
            raise self.error
        return self.taken

    def keep(self) -> None:
        """It was not sent: the ends are their owner's again."""
        for end, _ in self.ends.values():
            end.keep()
