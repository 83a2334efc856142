"""Handles: what `Sender`, `Receiver` and `ByteStream` have in common.

A handle is open, lent to a message that has not been accepted yet, or void: closed, or moved. Each use looks, and each
task that waited looks again, so that closing or moving an end is seen by everybody who uses it.
"""

from typing import Any, Self

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from . import codec
from .errors import ChannelClosed, ChannelError, ChannelMoved, EncodeError, Reason
from .link import Link, MessageLink
from .port import EMPTY, Offer, ReceiveCore, SendCore

TURN = 64
"""After so many operations that did not have to wait, a task lets the others run."""


class Handle(codec.End):
    """What `Sender`, `Receiver` and `ByteStream` have in common: being open, lent, closed or moved."""

    def __init__(self, send_core: SendCore | None, receive_core: ReceiveCore | None) -> None:
        self.send_core = send_core
        self.receive_core = receive_core
        self._void: type[ChannelClosed] | None = None
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

    def check_sendable(self, path: str) -> None:
        self.check_open()
        self.links(path)

    def links(self, path: str = "") -> list[Link]:
        """The links in memory behind this end.  Raises `EncodeError` if its other side is not in this process."""
        behind: list[object] = []
        if self.send_core is not None:
            behind.append(self.send_core.outlet)
        if self.receive_core is not None:
            behind.extend(self.receive_core.feeds)
        links = [one for one in behind if isinstance(one, Link) and one.sender is not None and one.receiver is not None]
        if len(links) != len(behind):
            raise EncodeError("its other side is in another process; such an end can't be sent on yet", path)
        return links

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
            self.receive_core.waiting.wake_all()
        return True

    def forsake(self, code: str) -> None:
        if self.void(ChannelClosed):
            if self.send_core is not None:
                self.send_core.outlet.finish(Reason("failed", code))
            if self.receive_core is not None:
                self.receive_core.refuse(Reason("refused", code))

    # --- what the ends do with their cores ---

    async def put(self, value: Any) -> None:
        """Send one message or some bytes; returns when accepted."""
        core = self.send_core
        assert core is not None
        await let_others_run(core)
        self.check_open()
        offer = core.outlet.prepare(value)
        if isinstance(offer, Offer):
            offer.by = self
        try:
            while not core.outlet.commit(offer):
                await core.room.wait()
                if isinstance(offer, Offer) and offer.settled():
                    return
                self.check_open()
        except BaseException:
            self._withdraw(core, offer)
            core.room.wake()
            raise
        if core.outlet.capacity == 0:
            await self._until_taken(core, core.sent)
        elif core.room:
            core.room.wake()  # there may be more room; whoever is woken looks

    def put_nowait(self, value: Any) -> None:
        """Send one message or some bytes if there is room; raises `anyio.WouldBlock` if there is none."""
        core = self.send_core
        assert core is not None
        self.check_open()
        offer = core.outlet.prepare(value)
        try:
            if not core.outlet.commit(offer):
                raise anyio.WouldBlock
        except BaseException:
            self._withdraw(core, offer)
            raise

    def _withdraw(self, core: SendCore, offer: Any) -> None:
        if isinstance(offer, Offer):
            offer.keep()
            if isinstance(core.outlet, MessageLink):
                core.outlet.withdraw(offer)

    async def _until_taken(self, core: SendCore, count: int) -> None:
        while core.taken < count:
            if self._void is ChannelMoved:
                self.check_open()
            if core.outlet.reason is not None:
                raise core.outlet.reason.error(core.taken)
            await core.changes.wait()

    async def until_refused(self) -> ChannelError:
        """Wait until nothing more can be sent, because of the other side, and return why."""
        core = self.send_core
        assert core is not None
        await checkpoint()
        while core.outlet.reason is None:
            self.check_open()
            await core.changes.wait()
        return core.outlet.reason.error(core.taken)

    async def get(self, limit: int = 0) -> Any:
        """The next message, or up to `limit` bytes."""
        core = self.receive_core
        assert core is not None
        await let_others_run(core)
        while True:
            self.check_open()
            item = core.take(limit)
            if item is not EMPTY:
                return item
            await core.waiting.wait()

    def get_nowait(self, limit: int = 0) -> Any:
        """The next message or bytes; raises `anyio.WouldBlock` when there is none now."""
        assert self.receive_core is not None
        self.check_open()
        item = self.receive_core.take(limit)
        if item is EMPTY:
            raise anyio.WouldBlock
        return item


async def let_others_run(core: SendCore | ReceiveCore) -> None:
    """Notice a cancellation each time, and yield now and then; a yield each time would be half of the cost."""
    core.turn += 1
    if core.turn >= TURN:
        core.turn = 0
        await checkpoint()
    else:
        await checkpoint_if_cancelled()
