"""`watch`: one value that changes, and all who want to know what it is now."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from chanlink.channels.channel import Receiver, Sender, pipe
from chanlink.channels.encoded import Encoded
from chanlink.channels.pushing import Pusher
from chanlink.errors import ChannelClosed
from chanlink.session.ends.encoding import encode
from chanlink.session.peer import Peer
from chanlink.session.session import Session

from .audience import Audience, joined

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")


@asynccontextmanager
async def watch(value: T, item_type: Any = Any) -> "AsyncGenerator[Watch[T], None]":
    """A value that changes, and is told to all who want to know it; gives a `Watch`.

    When the block is left, each subscriber gets the last value, if it has not seen it, and then the end; by an
    exception, the channel fails as that of a `Sender` does whose block is left. Nobody waits for those who are slow,
    but as long as their sessions live they get it.

    `item_type` is that of the channels, as of `pipe`, so that the value may be an object. Raises as that, and
    `EncodeError` for a value that can't be sent.
    """
    watched = Watch(value, item_type)
    async with watched._audience.block():
        yield watched


class Watch(Generic[T]):
    """The side of `watch` that tells. Made by that.

    It is also a service, ``services={"state": w}``: others `follow` it. All of it belongs to the event loop of the
    block.
    """

    def __init__(self, value: T, item_type: Any) -> None:
        self._value = value
        self._item_type = item_type
        self._latest = _Latest(encode(value, item_type))
        self._audience = self._latest.audience

    def __repr__(self) -> str:
        return f"<Watch with {self.subscribers} subscribers>"

    @property
    def value(self) -> T:
        """What it is now: the object that was set."""
        return self._value

    @property
    def subscribers(self) -> int:
        """How many are told, and not known to be gone."""
        return len(self._audience)

    def set(self, value: T) -> None:
        """Change it, and tell all subscribers who have room; the others get what it is once they have.

        The value is encoded here and now: it may hold no ends, and what is changed inside it later is not told.
        Raises `EncodeError` (nothing has changed) and, behind the block, `ChannelClosed`. A subscriber whose session
        does not take it fails with code ``too-large``, ``limit-reached`` or ``not-sent``.
        """
        if self._audience.ended is not None:
            raise ChannelClosed("the block of this watch was left")
        self._latest.change(encode(value, self._item_type))
        self._value = value
        self._audience.push()

    def subscribe(self) -> Receiver[T]:
        """A receiver that gets what the value is now, and then each change, or a later one if it is slow.

        No more than one value waits in it, so one that it gets is the newest or was replaced while it lay there, and
        the next one is newer than all that were set before this one was taken. Close it when it is not wanted any more;
        it may be sent away in a message.
        """
        sender, receiver = pipe(1, item_type=self._item_type)
        self.add(sender)
        return receiver

    def add(self, sender: Sender[T]) -> None:
        """Tell it to this sender, too, as to those of `subscribe`; it moves here.

        Its receiver sees values that are as old as its channel is long: its capacity should be 1. Raises
        `ChannelClosed` and `anyio.BusyResourceError` if it can't be moved.
        """
        self._audience.join(sender, _NOTHING)

    async def __call__(self, requests: Receiver[Any], peer: Peer) -> None:
        """The service: each message is a `Sender` that is told as well. See `follow`."""
        await self._audience.serve(requests, self.add)


@overload
async def follow(session: Session, service: str) -> Receiver[Any]: ...


@overload
async def follow(session: Session, service: str, item_type: type[T]) -> Receiver[T]: ...


@overload
async def follow(session: Session, service: str, item_type: "TypeForm[T]") -> Receiver[T]: ...


async def follow(session: Session, service: str, item_type: Any = Any) -> Receiver[Any]:
    """Subscribe to a `Watch` that is a service of the peer: as `Watch.subscribe`.

    Raises as `Session.open`, `ChannelRefused` (there is no such service, say) and `SessionLost`. Cancelled: nothing has
    happened.
    """
    return await joined(session, service, 1, item_type)


_NOTHING = 0
"""The position of one who has seen nothing."""


class _Latest:
    """What a watch has for its subscribers: their position is the number of the change that they saw last."""

    def __init__(self, message: Encoded) -> None:
        self.audience = Audience(self)
        self._message = message
        self._number = _NOTHING + 1

    def change(self, message: Encoded) -> None:
        self._message = message
        self._number += 1

    def after(self, position: int) -> tuple[Encoded, int] | None:
        """As a `Supply`."""
        return None if position == self._number else (self._message, self._number)

    def served(self, pusher: Pusher) -> None:
        """As a `Supply`."""
        self.audience.sort(pusher)
