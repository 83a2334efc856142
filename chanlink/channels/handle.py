"""Handles: what `Sender`, `Receiver` and `ByteStream` have in common.

A handle is open, lent to a message that has not been accepted yet, or void: closed, or moved. Each use looks, and each
task that waited looks again, so that closing or moving an end is seen by everybody who uses it.

What begins with an underscore is the package's own: the cores of a handle, and what else the package needs of it.
"""

import abc
import sys
import warnings
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Self, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from chanlink.arguments import expect
from chanlink.errors import ChannelClosed, ChannelError, ChannelMoved, EncodeError, Reason

from .cores import Converter, ReceiveCore, SendCore
from .describing import describe, of_service
from .offers import Offer
from .values import End
from .waiting import EMPTY, Ticket

T_contra = TypeVar("T_contra", contravariant=True)
MAX_CONTRACT = 64
"""The bytes of the name of a contract (protocol section 5)."""


def check_contract(contract: str | None) -> bytes | None:
    """What travels of the name of a contract. Raises `TypeError`, `ValueError`."""
    if contract is None:
        return None
    expect("contract", contract, str)
    name = contract.encode()
    if not (0 < len(name) <= MAX_CONTRACT and contract.isprintable()):
        raise ValueError(f"the name of a contract has 1 to {MAX_CONTRACT} bytes of printable text")
    return name


class Handle(End):
    """What all ends have in common: being open, lent, closed or moved."""

    _void: type[ChannelClosed] | None = None

    def __init__(self) -> None:
        self._lent = False

    @abc.abstractmethod
    def _cores(self) -> tuple[SendCore | ReceiveCore, ...]:
        """What it is a handle on: the arguments of its class."""

    @property
    def is_void(self) -> bool:
        """Whether this end was closed, or sent away in a message."""
        return self._void is not None

    @property
    @abc.abstractmethod
    def capacity(self) -> int | None:
        """Of a channel: how many messages may be sent and not yet taken."""

    def closing(self) -> "Closing":
        """A case for `select`: ready when this end is over.

        For a sender: the receiver is gone. For a receiver: everything was taken, and nothing will come any more. For a
        byte stream: the other side reads no more.
        """
        return Closing(self)

    def __repr__(self) -> str:
        void = "" if self._void is None else "sent away" if self._void is ChannelMoved else "closed"
        lent = "being sent in a message" if self._lent else ""
        return describe(type(self).__name__, self._cores(), void or lent, self._counts())

    @abc.abstractmethod
    def _counts(self) -> dict[str, int]:
        """What it has done, in numbers, for whoever looks at it in a debugger."""

    # --- open, lent, void ---

    def _check_open(self) -> None:
        """Raise `ChannelClosed` or `ChannelMoved` if this handle can't be used any more."""
        if self._void is not None:
            if self._void is ChannelMoved:
                raise ChannelMoved("this end was sent away in a message, or has another handle with a type")
            raise ChannelClosed("this end is closed")

    def _check_movable(self, receiver: object, path: str) -> None:
        self._check_open()

    def _lend(self) -> None:
        self._check_open()
        if self._lent:
            raise anyio.BusyResourceError("sending, in another message, this end")
        self._lent = True

    def _keep(self) -> None:
        self._lent = False

    def _moved(self) -> Self:
        new = type(self)(*self._cores())
        self._make_void(ChannelMoved)
        return new

    def _give_way(self, contract: str | None) -> None:
        """Another handle is made for this end, if its messages keep to this contract."""
        expected, said = check_contract(contract), next((core.contract for core in self._cores()), None)
        self._lend()
        if expected is not None and said is not None and expected != said:
            text = f"its messages keep to {said.decode(errors='replace')}, and {contract} was expected"
            failed, refused = Reason("failed", "wrong-type", text), Reason("refused", "wrong-type", text)
            self._make_void(ChannelClosed)
            self._release(failed, refused)
            raise (refused if isinstance(self, SendHandle) else failed).error()
        self._make_void(ChannelMoved)

    def _converts_by(self, converter: Converter) -> None:
        """The channel is a typed one from now on."""
        raise TypeError("bytes have no item type")

    def _make_void(self, why: type[ChannelClosed]) -> bool:
        """Nothing can be done with this handle from now on; tasks that wait are told. False if it was so before."""
        if self._void is not None:
            return False
        self._void = why
        self._lent = False
        for core in self._cores():
            core.wake_all()
        return True

    def _forsake(self, code: str, text: str = "") -> None:
        if self._make_void(ChannelClosed):
            self._release(Reason("failed", code, text), Reason("refused", code, text))

    @abc.abstractmethod
    def _release(self, sending: Reason, receiving: Reason) -> None:
        """This handle is closed: why, for those who receive from it and for those who send to it."""

    def __del__(self) -> None:
        # (Of an object whose __init__ failed there is nothing but the class.)
        if self._void is not None or "_lent" not in self.__dict__ or sys.is_finalizing():
            return
        if all(core.is_over() for core in self._cores()):
            return
        # First: the warning may be an error. At both: the halves of a byte stream may be bound to different things.
        for loop in {core.loop for core in self._cores()}:
            loop.note(self)
        words = f"a {type(self).__name__}{of_service(self._cores())} was forgotten without closing it"
        # With tracemalloc, the warning says where that was made. (Of a handle, Python 3.11 does not know it.)
        warnings.warn(words, ResourceWarning, stacklevel=2, source=self._cores()[0])

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("an end can't be copied or pickled; send it, or clone a sender")


class Closing(NamedTuple):
    """A case for `select`: the end is over."""

    end: Handle


class SendHandle(Handle, Generic[T_contra]):
    """A handle on a `SendCore`. (`send` is here, for speed: one call more would cost each message 5 %.)"""

    _send_core: SendCore

    @property
    def capacity(self) -> int | None:
        """Of a channel: how many messages may be sent and not yet taken."""
        return self._send_core.outlet.capacity

    async def send(self, item: T_contra) -> None:
        """Send one message; returns when it was accepted (with capacity 0: taken).

        Ends in the message move to the receiver. Values are handed over: do not change them afterwards.

        Raises `EncodeError`, `MessageTooLarge` or `LimitReached` (nothing was sent, every end in it is still yours,
        the channel goes on), `anyio.BusyResourceError` (an end in it is being sent by another task), `ChannelClosed`
        (this sender, or an end in the message), `ChannelRefused` (the receiver is gone), `SessionLost`. Cancelled:
        it was accepted whole or not at all, and the channel is usable.
        """
        core = self._send_core
        await core.step()
        if self._void is not None:
            self._check_open()
        # Nearly always: nobody waits, there is room, and the value is a plain one.
        if (core.senders and not core.has_lease()) or not core.outlet.post(item):
            await self._put_any(core, item)

    async def _put_any(self, core: SendCore, value: Any) -> None:
        offer = core.outlet.prepare(value)
        try:
            # A task that comes while others wait goes behind them, and sees to it that the first one looks.
            if core.senders:
                if not core.full():
                    core.senders.wake()
                await self._until_accepted(core, offer)
            elif not core.outlet.commit(offer):
                await self._until_accepted(core, offer)
        except BaseException:
            core.outlet.withdraw(offer)
            offer.keep()
            core.senders.wake()
            raise
        if core.outlet.capacity == 0:
            if not offer.taken:
                await self._until_taken(core, core.sent)
        elif core.senders and not core.full():
            core.senders.wake()  # there may be more room; whichever is woken looks

    async def _until_accepted(self, core: SendCore, offer: Offer) -> None:
        offer.made_by(self)
        order = None
        while True:
            if not core.loop.about_to_wait():
                ticket = Ticket(order)
                order = ticket.order
                core.outlet.stand(offer, ticket)
                await core.senders.wait(ticket)
            if offer.settled():
                return
            self._check_open()
            accepted = core.outlet.commit(offer)
            core.served(well=accepted)
            if accepted:
                return

    def _put_nowait(self, value: Any) -> None:
        """Send one message or some bytes if there is room; raises `anyio.WouldBlock` if there is none."""
        core = self._send_core
        self._check_open()
        if core.outlet.post(value):
            return
        offer = core.outlet.prepare(value)
        try:
            if not core.outlet.commit(offer) and not (core.loop.settle() and core.outlet.commit(offer)):
                raise anyio.WouldBlock
        except BaseException:
            core.outlet.withdraw(offer)
            offer.keep()
            raise

    async def _send_late(self, make: Callable[[], T_contra]) -> None:
        """As `send`, of what `make` returns when there is room: for what depends on when it is sent."""
        core = self._send_core
        if core.senders or core.full():
            await self._until_room(core)
            try:
                self._put_nowait(make())
            except anyio.WouldBlock:
                pass  # `full` says no for sure, and yes only perhaps
            else:
                return
            finally:
                core.senders.wake()
        await self.send(make())

    async def _until_room(self, core: SendCore) -> None:
        """Return when a message would be accepted, or never will be; after those that wait already."""
        order = None
        while True:
            if not core.loop.about_to_wait():
                ticket = Ticket(order)
                order = ticket.order
                await core.senders.wait(ticket)
            self._check_open()
            if not core.full():
                return

    async def _until_taken(self, core: SendCore, count: int, *, wherever: bool = True) -> None:
        while core.taken < count:
            if self._void is ChannelMoved and not wherever:
                self._check_open()
            if core.outlet.reason is not None:
                raise core.outlet.reason.error(core.taken)
            if not core.loop.about_to_wait():
                await core.watchers.wait()

    async def _until_refused(self) -> ChannelError:
        """Wait until nothing more can be sent, because of the other side, and return why."""
        core = self._send_core
        await checkpoint()
        while core.outlet.reason is None:
            self._check_open()
            if not core.loop.about_to_wait():
                await core.watchers.wait()
        return core.outlet.reason.error(core.taken)


class ReceiveHandle(Handle):
    """A handle on a `ReceiveCore`."""

    _receive_core: ReceiveCore

    @property
    def capacity(self) -> int | None:
        """Of a channel: how many messages may be sent and not yet taken."""
        return self._receive_core.capacity

    def _check_movable(self, receiver: object, path: str) -> None:
        super()._check_movable(receiver, path)
        if self._receive_core is receiver:
            raise EncodeError("a receiver can't be sent through its own channel", path)

    async def _get(self, limit: int = 0) -> Any:
        """The next message, or up to `limit` bytes."""
        core = self._receive_core
        await core.step()
        if self._void is not None:
            self._check_open()
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
            self._check_open()
            item = core.take(limit)
            if item is not EMPTY:
                return item

    def _get_nowait(self, limit: int = 0) -> Any:
        """The next message or bytes; raises `anyio.WouldBlock` when there is none now."""
        self._check_open()
        core = self._receive_core
        item = core.take(limit)
        if item is EMPTY and core.loop.settle():
            item = core.take(limit)
        if item is EMPTY:
            raise anyio.WouldBlock
        return item
