"""`Subscription`: what a subscriber of a broadcast holds."""

from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from anyio.abc import ObjectReceiveStream

from chanlink.arguments import expect
from chanlink.channels.cases import Opener
from chanlink.channels.channel import Receiver
from chanlink.channels.handle import Closing
from chanlink.channels.objects import ends_in
from chanlink.errors import EndOfChannel, Lagged, MessageTypeError

T_co = TypeVar("T_co", covariant=True)


class Subscription(Opener, ObjectReceiveStream[T_co], Generic[T_co]):
    """Receives what is broadcast, and learns what it has missed.

    An async context manager and iterator, and a case for `select`. It is made of a receiver that is fed by a
    `Broadcast`, and nobody else should use that: `Broadcast.subscribe` and `subscribe` make both.

    Iterating stops at the orderly end. It raises `Lagged` where messages are missing; a new loop goes on behind them.
    """

    def __init__(self, receiver: Receiver[Any]) -> None:
        expect("receiver", receiver, Receiver)
        self._receiver = receiver

    def __repr__(self) -> str:
        return f"<Subscription by {self._receiver!r}>"

    @property
    def receiver(self) -> Receiver[Any]:
        """Where its messages come from, in their envelopes (protocol section 13): to send the subscription away."""
        return self._receiver

    async def receive(self) -> T_co:
        """The next message.

        Raises `Lagged` where some are missing, because this side was too slow: once, with their number, and the next
        call brings what follows. At the end, and when the channel breaks, as `Receiver.receive`; `ChannelFailed` with
        code ``lagged`` when the broadcast does not wait for those who are slow. Cancelled: no message is lost.
        """
        return self._opened(await self._receiver.receive())  # type: ignore[no-any-return]

    def receive_nowait(self) -> T_co:
        """As `receive`, but raises `anyio.WouldBlock` instead of waiting."""
        return self._opened(self._receiver.receive_nowait())  # type: ignore[no-any-return]

    async def __anext__(self) -> T_co:
        try:
            return await self.receive()
        except EndOfChannel:
            raise StopAsyncIteration from None

    def _opened(self, item: Any) -> Any:
        if type(item) is list and len(item) == 1:
            return item[0]
        if type(item) is int and item > 0:
            raise Lagged(item)
        for end, _ in ends_in(item).values():
            end._forsake("not-taken", "it came in what is no message of a broadcast")
        raise MessageTypeError("what came is no message of a broadcast")

    def closing(self) -> Closing:
        """A case for `select`: ready when it is over: everything was taken, and nothing will come any more."""
        return self._receiver.closing()

    def close(self) -> None:
        """Nothing more is wanted. Twice is harmless."""
        self._receiver.close()

    async def aclose(self) -> None:
        """As `close`."""
        await self._receiver.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._receiver.__aexit__(exc_type, exc, tb)
