"""`broadcast`: each message to each subscriber, and what becomes of those who are too slow for that."""

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import anyio

from chanlink.arguments import expect
from chanlink.channels.channel import Receiver, Sender, pipe
from chanlink.channels.encoded import Encoded
from chanlink.channels.pushing import Pusher
from chanlink.channels.waiting import YIELD_AFTER, Loop, Steps, within
from chanlink.errors import ChannelClosed, Reason
from chanlink.session.ends.encoding import encode
from chanlink.session.peer import Peer
from chanlink.session.session import Session

from .audience import Audience, joined
from .subscription import Subscription

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")
PUSHES_A_STEP = 10
"""What is sent to this many is counted as one more of the steps after which a task lets others run."""

# --- what becomes of those who are slow -----------------------------------------------------------


class Policy:
    """What becomes of subscribers who have no room: `drop_oldest`, `cut` or `wait`.

    So many messages are kept for all of them together. Raises `ValueError` for less than one.
    """

    def __init__(self, messages: int) -> None:
        expect("messages", messages, int)
        if messages < 1:
            raise ValueError("at least one message has to be kept for those who are slow")
        self.messages = messages


class drop_oldest(Policy):
    """Who is slow misses the oldest of what is kept, and is told so in their place: by `Lagged`, with their number."""


class cut(Policy):
    """Who is slow gets what comes before the first message that was missed, and has failed then: ``lagged``."""

    def __init__(self, messages: int = 64) -> None:
        super().__init__(messages)


class wait(Policy):
    """`Broadcast.send` waits for those who are slow, so many seconds. Who has no room then is cut, as by `cut`."""

    def __init__(self, seconds: float, messages: int = 64) -> None:
        super().__init__(messages)
        expect("seconds", seconds, int, float)
        self.seconds = seconds


# --- the side that sends --------------------------------------------------------------------------


@overload
def broadcast(policy: Policy) -> "AbstractAsyncContextManager[Broadcast[Any]]": ...


@overload
def broadcast(policy: Policy, item_type: type[T]) -> "AbstractAsyncContextManager[Broadcast[T]]": ...


@overload
def broadcast(policy: Policy, item_type: "TypeForm[T]") -> "AbstractAsyncContextManager[Broadcast[T]]": ...


def broadcast(policy: Policy, item_type: Any = Any) -> "AbstractAsyncContextManager[Broadcast[Any]]":
    """An async context manager; gives a `Broadcast`, which sends each message to each of its subscribers.

    `policy` says what becomes of those who are slow, once the room of their own channels is full: `drop_oldest(n)`,
    `cut()` or `wait(seconds)`. When the block is left, each subscriber gets what was kept for it, and then the end; by
    an exception, the channel fails as that of a `Sender` does whose block is left. Nobody waits for that.

    `item_type` is that of the channels, as of `pipe`; raises as that.
    """
    expect("policy", policy, Policy)
    return _block(Broadcast(policy, item_type))


@asynccontextmanager
async def _block(channel: "Broadcast[Any]") -> "AsyncGenerator[Broadcast[Any], None]":
    async with channel._log.audience.block():
        yield channel


class Broadcast(Generic[T]):
    """The side of `broadcast` that sends. Made by that.

    It is also a service, ``services={"news": b}``, to which others `subscribe`. All of it belongs to the event loop of
    the block.
    """

    def __init__(self, policy: Policy, item_type: Any) -> None:
        self._policy = policy
        self._envelope = _envelope(item_type)
        if item_type is not Any:
            encode([], self._envelope)  # what can't be the type of a message is said here, and not by the first one
        self._log = _Log(policy, self._envelope)
        self._turn = anyio.Lock(fast_acquire=True)
        self._steps = Steps(Loop())

    def __repr__(self) -> str:
        return f"<Broadcast with {self.subscribers} subscribers>"

    @property
    def subscribers(self) -> int:
        """How many there are, and are not known to be gone."""
        return len(self._log.audience)

    async def send(self, item: T) -> None:
        """Send one message to all who are subscribed now; returns when each has it, or it is kept for them.

        It is encoded once, and may hold no ends. Only `wait` lets this wait, for the slowest; then messages of several
        tasks go in the order in which they came. Raises `EncodeError` (nothing was sent), and `ChannelClosed` behind
        the block. Whose session does not take it fails with ``too-large``, ``limit-reached`` or ``not-sent``.
        Cancelled: it was sent to all or to nobody.
        """
        message = encode([item], self._envelope)
        await self._steps.step()
        if isinstance(self._policy, wait):
            async with self._turn:
                await self._log.until_room(self._policy.seconds)
                self._send(message)
        else:
            self._send(message)
        audience = self._log.audience
        # Not after each message: what several of them are to one session leaves together.
        self._steps.worked(YIELD_AFTER if audience.slow else len(audience) // PUSHES_A_STEP)

    def send_nowait(self, item: T) -> None:
        """As `send`, but raises `anyio.WouldBlock` instead of waiting."""
        message = encode([item], self._envelope)
        if isinstance(self._policy, wait) and (self._turn.locked() or self._log.is_full()):
            raise anyio.WouldBlock
        self._send(message)

    def _send(self, message: Encoded) -> None:
        if self._log.audience.ended is not None:
            raise ChannelClosed("the block of this broadcast was left")
        self._log.append(message)

    def subscribe(self, capacity: int | None = None) -> Subscription[T]:
        """Subscribe: to what is sent from now on. `capacity` is that of its channel, as of `pipe`, and at least 1."""
        sender, receiver = pipe(capacity, item_type=self._envelope)
        try:
            self.add(sender)
        except ValueError:
            sender.close()
            receiver.close()
            raise
        return Subscription(receiver)

    def add(self, sender: Sender[Any]) -> None:
        """Send to this one, too; it moves here. Who holds its receiver makes a `Subscription` of that.

        Raises `ChannelClosed` and `anyio.BusyResourceError` if it can't be moved, and `ValueError` for one end of a
        rendezvous in this process.
        """
        self._log.audience.join(sender, self._log.end)

    async def __call__(self, requests: Receiver[Any], peer: Peer) -> None:
        """The service: each message is a `Sender` that is sent to as well. See `subscribe`."""
        await self._log.audience.serve(requests, self.add)


@overload
async def subscribe(session: Session, service: str, *, capacity: int | None = None) -> Subscription[Any]: ...


@overload
async def subscribe(
    session: Session, service: str, item_type: type[T], *, capacity: int | None = None
) -> Subscription[T]: ...


@overload
async def subscribe(
    session: Session, service: str, item_type: "TypeForm[T]", *, capacity: int | None = None
) -> Subscription[T]: ...


async def subscribe(
    session: Session, service: str, item_type: Any = Any, *, capacity: int | None = None
) -> Subscription[Any]:
    """Subscribe to a `Broadcast` that is a service of the peer: to what it sends from the return of this call on.

    Raises as `Session.open`, `ChannelRefused` (there is no such service, say) and `SessionLost`. Cancelled: nothing has
    happened.
    """
    return Subscription(await joined(session, service, capacity, _envelope(item_type)))


def _envelope(item_type: Any) -> Any:
    """The type of what is sent: a list of one message, or how many are missing (protocol section 13)."""
    return Any if item_type is Any else GenericAlias(list, (item_type,)) | int


# --- what is kept ---------------------------------------------------------------------------------


class _Log:
    """What is kept for those who are slow. A position counts the messages of the broadcast, from the first one on."""

    def __init__(self, policy: Policy, envelope: Any) -> None:
        self.audience = Audience(self)
        self._policy = policy
        self._envelope = envelope
        self._messages: deque[Encoded] = deque()
        self._first = 0
        """The position of the first one that is kept."""
        self._room: anyio.Event | None = None

    @property
    def end(self) -> int:
        """The position behind the last message."""
        return self._first + len(self._messages)

    def append(self, message: Encoded) -> None:
        """One more, for everybody."""
        if isinstance(self._policy, drop_oldest):
            self._drop_to(self.end + 1 - self._policy.messages)
        elif self.is_full():
            self._drop_to(self._first + 1)
            self._cut()
        self._messages.append(message)
        self.audience.push()
        self._forget_if_all_have_it()

    def is_full(self) -> bool:
        """Whether the oldest message has to be dropped before another one is kept, though somebody needs it."""
        if len(self._messages) < self._policy.messages:
            return False
        self._drop_to(min(pusher.position for pusher in self.audience.slow))
        return len(self._messages) >= self._policy.messages

    def _forget_if_all_have_it(self) -> None:
        if not self.audience.slow:
            self._drop_to(self.end)

    def _drop_to(self, position: int) -> None:
        while self._first < position:
            self._messages.popleft()
            self._first += 1

    def _cut(self) -> None:
        for pusher in list(self.audience.slow):
            if pusher.position < self._first:
                pusher.cut(Reason("failed", "lagged", f"{self._policy.messages} messages more were not taken in time"))
                self.audience.sort(pusher)

    async def until_room(self, seconds: float) -> None:
        """Wait until nobody who is slow needs the oldest message, so many seconds, or until all is over."""
        if not self.is_full():
            return
        async with within(seconds):
            while self.is_full() and self.audience.ended is None:
                self._room = anyio.Event()
                await self._room.wait()

    # --- as a supply ---

    def after(self, position: int) -> tuple[Encoded, int] | None:
        if position < self._first:
            return encode(self._first - position, self._envelope), self._first
        if position == self.end:
            return None
        return self._messages[position - self._first], position + 1

    def served(self, pusher: Pusher) -> None:
        self.audience.sort(pusher)
        self._forget_if_all_have_it()
        if self._room is not None:
            self._room.set()
