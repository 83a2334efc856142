"""Handles: what `Sender`, `Receiver` and `ByteStream` have in common.

A handle is open, lent to a message that has not been accepted yet, or void: closed, or moved. Each use looks, and each
task that waited looks again, so that closing or moving an end is seen by everybody who uses it.
"""

import sys
import warnings
from collections.abc import Awaitable
from typing import Any, NamedTuple, Self

import anyio
from anyio.lowlevel import checkpoint

from chanlink.errors import ChannelClosed, ChannelError, ChannelMoved, EncodeError, Reason

from .cores import ReceiveCore, SendCore
from .offers import Offer
from .values import End
from .waiting import EMPTY, Ticket

SENDS_PER_WAKE = 32
"""Who had to wait for room may send so many more before those behind it: a task is switched to once for all of them.
Not with a capacity, of which that would leave nothing to the others."""
YIELD_AFTER = 128
"""After so many steps that did not have to wait, a task lets the others run: operations, and what long messages add."""


class Handle(End):
    """What `Sender`, `Receiver` and `ByteStream` have in common: being open, lent, closed or moved."""

    _void: type[ChannelClosed] | None = None

    def __init__(self, send_core: SendCore | None, receive_core: ReceiveCore | None) -> None:
        self.send_core = send_core
        self.receive_core = receive_core
        self._lent = False

    @property
    def is_void(self) -> bool:
        return self._void is not None

    def check_open(self) -> None:
        """Raise `ChannelClosed` or `ChannelMoved` if this handle can't be used any more."""
        if self._void is not None:
            if self._void is ChannelMoved:
                raise ChannelMoved("this end was sent away in a message")
            raise ChannelClosed("this end is closed")

    def check_movable(self, receiver: object, path: str) -> None:
        self.check_open()
        if self.receive_core is not None and self.receive_core is receiver:
            raise EncodeError("a receiver can't be sent through its own channel", path)

    def lend(self) -> None:
        self.check_open()
        if self._lent:
            raise anyio.BusyResourceError("sending, in another message, this end")
        self._lent = True

    def keep(self) -> None:
        self._lent = False

    def moved(self) -> Self:
        new = type(self)(self.send_core, self.receive_core)
        self.void(ChannelMoved)
        return new

    def void(self, why: type[ChannelClosed]) -> bool:
        """Nothing can be done with this handle from now on; tasks that wait are told.  False if it was so before."""
        if self._void is not None:
            return False
        self._void = why
        self._lent = False
        if self.send_core is not None:
            self.send_core.wake_all()
        if self.receive_core is not None:
            self.receive_core.wake_all()
        return True

    def forsake(self, code: str, text: str = "") -> None:
        if self.void(ChannelClosed):
            self._release(Reason("failed", code, text), Reason("refused", code, text))

    def _release(self, sending: Reason, receiving: Reason) -> None:
        """This handle is closed: why, for those who receive from it and for those who send to it."""
        if self.send_core is not None and self.sends():
            self.send_core.release(sending)
        if self.receive_core is not None:
            self.receive_core.refuse(receiving)

    def sends(self) -> bool:
        """Whether this handle has still to be released at its `SendCore`."""
        return True

    @property
    def capacity(self) -> int | None:
        """Of a channel: how many messages may be sent and not yet taken."""
        if self.send_core is not None:
            return self.send_core.outlet.capacity
        assert self.receive_core is not None
        return self.receive_core.capacity

    def _is_over(self) -> bool:
        """Whether nobody on the other side would notice that this handle is closed."""
        sending, receiving = self.send_core, self.receive_core
        return (sending is None or sending.outlet.reason is not None or not self.sends()) and (
            receiving is None or receiving.reason is not None or all(feed.drained for feed in receiving.feeds)
        )

    def __del__(self) -> None:
        # (Of an object whose __init__ failed there is nothing but the class.)
        if self._void is not None or "_lent" not in self.__dict__ or sys.is_finalizing() or self._is_over():
            return
        # First: the warning may be an error. At both: the halves of a byte stream may be bound to different things.
        for loop in {core.loop for core in (self.send_core, self.receive_core) if core is not None}:
            loop.note(self)
        warnings.warn(f"a {type(self).__name__} was forgotten without closing it", ResourceWarning, stacklevel=2)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("an end can't be copied or pickled; send it, or clone a sender")

    def closing(self) -> "Closing":
        """A case for `select`: ready when this end is over.

        For a sender: the receiver is gone. For a receiver: everything was taken, and nothing will come any more. For a
        byte stream: the other side reads no more.
        """
        return Closing(self)

    # --- what the ends do with their cores ---

    async def put(self, value: Any) -> None:
        """Send one message or some bytes; returns when accepted."""
        core = self.send_core
        assert core is not None
        await let_others_run(core)
        if self._void is not None:
            self.check_open()
        if not (core.may_post() and core.outlet.post(value)):
            await self._put(core, value)

    async def _put(self, core: SendCore, value: Any) -> None:
        offer = core.outlet.prepare(value)
        try:
            # Who comes while others wait goes behind them, and sees to it that the first one looks.
            if core.senders:
                if not core.full():
                    core.senders.wake()
                await self._until_accepted(core, offer)
            elif not core.outlet.commit(offer):
                await self._until_accepted(core, offer)
        except BaseException:
            _keep(core, offer)
            core.senders.wake()
            raise
        if core.outlet.capacity == 0:
            if not (isinstance(offer, Offer) and offer.taken):
                await self._until_taken(core, core.sent)
        elif core.senders and not core.full():
            core.senders.wake()  # there may be more room; whoever is woken looks

    async def _until_accepted(self, core: SendCore, offer: Any) -> None:
        if isinstance(offer, Offer):
            offer.by = self
        order = None
        while True:
            if not core.loop.about_to_wait():
                ticket = Ticket(order)
                order = ticket.order
                core.outlet.stand(offer, ticket)
                await core.senders.wait(ticket)
            if isinstance(offer, Offer) and offer.settled():
                return
            self.check_open()
            if core.outlet.commit(offer):
                core.lease = SENDS_PER_WAKE if core.outlet.capacity is None else 0
                return
            core.lease = 0  # who came in vain is the next one

    def put_nowait(self, value: Any) -> None:
        """Send one message or some bytes if there is room; raises `anyio.WouldBlock` if there is none."""
        core = self.send_core
        assert core is not None
        self.check_open()
        offer = core.outlet.prepare(value)
        try:
            if not core.outlet.commit(offer) and not (core.loop.settle() and core.outlet.commit(offer)):
                raise anyio.WouldBlock
        except BaseException:
            _keep(core, offer)
            raise

    async def _until_taken(self, core: SendCore, count: int, *, wherever: bool = True) -> None:
        while core.taken < count:
            if self._void is ChannelMoved and not wherever:
                self.check_open()
            if core.outlet.reason is not None:
                raise core.outlet.reason.error(core.taken)
            if not core.loop.about_to_wait():
                await core.watchers.wait()

    async def until_refused(self) -> ChannelError:
        """Wait until nothing more can be sent, because of the other side, and return why."""
        core = self.send_core
        assert core is not None
        await checkpoint()
        while core.outlet.reason is None:
            self.check_open()
            if not core.loop.about_to_wait():
                await core.watchers.wait()
        return core.outlet.reason.error(core.taken)

    async def get(self, limit: int = 0) -> Any:
        """The next message, or up to `limit` bytes."""
        core = self.receive_core
        assert core is not None
        await let_others_run(core)
        if self._void is not None:
            self.check_open()
        item = core.take(limit)
        return item if item is not EMPTY else await self._wait_for_item(core, limit)

    async def _wait_for_item(self, core: ReceiveCore, limit: int) -> Any:
        order = None
        while True:
            if not core.loop.about_to_wait():
                ticket = Ticket(order)
                order = ticket.order
                item = await core.receivers.wait(ticket)
                if item is not EMPTY:
                    return item
            self.check_open()
            item = core.take(limit)
            if item is not EMPTY:
                return item

    def get_nowait(self, limit: int = 0) -> Any:
        """The next message or bytes; raises `anyio.WouldBlock` when there is none now."""
        assert self.receive_core is not None
        self.check_open()
        core = self.receive_core
        item = core.take(limit)
        if item is EMPTY and core.loop.settle():
            item = core.take(limit)
        if item is EMPTY:
            raise anyio.WouldBlock
        return item


class Closing(NamedTuple):
    """A case for `select`: the end is over."""

    end: Handle


def _keep(core: SendCore, offer: Any) -> None:
    """It was not sent."""
    if isinstance(offer, Offer):
        core.outlet.withdraw(offer)
        offer.keep()


def let_others_run(core: SendCore | ReceiveCore) -> Awaitable[None]:
    """Notice a cancellation each time, and yield now and then; a yield each time would be half of the cost."""
    core.turn += 1
    if core.turn < YIELD_AFTER:
        return core.loop.check_cancelled()
    core.turn = 0
    return checkpoint()
