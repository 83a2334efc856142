"""Senders that are served whenever there is room: what a pattern sends to many, without a task for each of them."""

from collections.abc import Callable
from typing import Any, Protocol

import anyio

from chanlink.errors import ChannelError, LimitReached, MessageError, MessageTooLarge, Reason

from .channel import Sender

_CODES = ((MessageTooLarge, "too-large"), (LimitReached, "limit-reached"))
"""What a receiver is told when something can't be sent to it; ``not-sent`` in all other cases."""


class Supply(Protocol):
    """What pushers send."""

    def after(self, position: int) -> tuple[object, int] | None:
        """What comes next for one who was sent all up to this position, and the position behind it; None: nothing."""

    def served(self, pusher: "Pusher") -> None:
        """It was woken, and has sent something or is over; or it was told to end, and may have more to send."""


class Pusher:
    """Sends what a supply has for it by one sender, as far as there is room; the rest when there is some again.

    It waits at the core of its sender, as a task would, and is woken by what makes room. It closes the sender when it
    was told to `end` and all was sent, and when what is to be sent can't be.
    """

    __slots__ = ("_ending", "_sender", "_supply", "over", "position", "waits")

    def __init__(self, sender: Sender[Any], supply: Supply, position: int) -> None:
        if sender._send_core.outlet.meets is not None:
            raise ValueError("nothing can be pushed to a rendezvous: the receiver takes it out of the hands of a task")
        sender._lend()  # raises if it can't be used
        self._sender = sender._moved()
        self._supply = supply
        self._ending: Reason | None = None
        self.position = position
        """What has been sent, in the counting of the supply."""
        self.waits = False
        """Whether there is something to send, and no room."""
        self.over = False
        """Whether nothing will be sent any more."""

    def push(self) -> None:
        """Send what there is, unless it waits for room."""
        if not (self.waits or self.over):
            self._push()

    def end(self, reason: Reason) -> None:
        """End the channel, for this reason, when all was sent."""
        self._ending = reason
        self.push()

    def cut(self, reason: Reason) -> None:
        """End the channel now. What was sent arrives."""
        if not self.over:
            self._finish(reason)

    # --- as a waiter ---

    def set(self) -> None:
        """There is room, or the receiver is gone."""
        if self.over:
            return
        self.waits = False
        self._push()
        self._supply.served(self)
        senders = self._sender._send_core.senders
        if senders and not self.waits and not self._sender._send_core.full():
            senders.wake()  # a clone may wait behind us

    def takes(self) -> bool:
        return False

    def give(self, item: Any, undo: Callable[[], None]) -> None:
        raise AssertionError("this takes nothing")

    # --- sending ---

    def _push(self) -> None:
        core = self._sender._send_core
        core.watchers.discard(self)  # what is sent now must not wake us
        try:
            while self._send_next():
                pass
        except anyio.WouldBlock:
            self.waits = True
            core.senders.add(self)
        except ChannelError:
            self._finish(Reason("failed", "closed"))  # nobody hears it: the receiver is gone
        except MessageError as exc:
            code = next((code for kind, code in _CODES if isinstance(exc, kind)), "not-sent")
            self._finish(Reason("failed", code, str(exc)))
        else:
            if self._ending is not None:
                self._finish(self._ending)
            else:
                core.watchers.add(self)

    def _send_next(self) -> bool:
        """Send one message; False if there is none. Raises `anyio.WouldBlock`, and why it can't be sent."""
        core = self._sender._send_core
        core.loop.watch()  # the receiver may have been forgotten
        if core.outlet.reason is not None:
            raise core.outlet.reason.error()
        found = self._supply.after(self.position)
        if found is None:
            return False
        message, position = found
        if not core.outlet.post(message):
            self._sender.send_nowait(message)
        self.position = position
        return True

    def _finish(self, reason: Reason) -> None:
        self.over, self.waits = True, False
        core = self._sender._send_core
        core.watchers.discard(self)
        core.senders.discard(self)
        self._sender._finish(reason)
