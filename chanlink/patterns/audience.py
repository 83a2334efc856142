"""The subscribers of a pattern: how they come, in this process and over sessions, and how they go."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from chanlink.arguments import expect
from chanlink.channels.channel import Receiver, Sender, failure, pipe
from chanlink.channels.pushing import Pusher, Supply
from chanlink.errors import END, EndOfChannel, Reason
from chanlink.session.session import Session, until_draining


class Audience:
    """Those who get what a supply has: a pusher for each."""

    def __init__(self, supply: Supply) -> None:
        self.ready: dict[Pusher, None] = {}
        """Those who have got everything."""
        self.slow: dict[Pusher, None] = {}
        """Those who have no room for what comes next."""
        self.ended: Reason | None = None
        self._supply = supply

    def __len__(self) -> int:
        return len(self.ready) + len(self.slow)

    def join(self, sender: Sender[Any], position: int) -> None:
        """One more, who was sent all up to this position. The sender moves here."""
        expect("sender", sender, Sender)
        pusher = Pusher(sender, self._supply, position)
        pusher.push()
        if self.ended is not None:
            pusher.end(self.ended)
        self.sort(pusher)

    def push(self) -> None:
        """There is something new."""
        for pusher in list(self.ready):
            pusher.push()
            if pusher.waits or pusher.over:
                self.sort(pusher)

    def sort(self, pusher: Pusher) -> None:
        """Something may have become of it."""
        self.ready.pop(pusher, None)
        self.slow.pop(pusher, None)
        if not pusher.over:
            (self.slow if pusher.waits else self.ready)[pusher] = None

    def end(self, reason: Reason) -> None:
        """There will be nothing new. Those who are slow get the rest, and then the end, when they have room."""
        self.ended = reason
        for pusher in [*self.ready, *self.slow]:
            pusher.end(reason)
            self._supply.served(pusher)

    @asynccontextmanager
    async def block(self) -> AsyncGenerator[None, None]:
        """What lasts as long as this block, and ends as a `Sender` does whose block is left."""
        reason = END
        try:
            yield
        except BaseException as exc:
            reason = failure(type(exc)) or END
            raise
        finally:
            self.end(reason)

    async def serve(self, requests: Receiver[Any], add: Callable[[Sender[Any]], None]) -> None:
        """As a service: each message is the sender of one who wants to be told, too."""
        while (sender := await next_sender(requests)) is not None:
            add(sender)


async def next_sender(requests: Receiver[Any]) -> Sender[Any] | None:
    """The next message to a service that takes senders. None when there will be none, and who asks knows why: because
    another thing came, or because the session of the service drains."""
    with until_draining():
        try:
            request = await requests.receive()
        except EndOfChannel:
            return None
        if isinstance(request, Sender):
            return request
        requests.refuse("bad-request", "a message to this service is a sender")
        return None
    requests.refuse("draining", "this service takes no more requests")
    return None


async def joined(session: Session, service: str, capacity: int | None, item_type: Any) -> Receiver[Any]:
    """What comes from a service of the peer that `serve` is behind, from now on. Raises why it is not to be had."""
    expect("session", session, Session)
    sender, receiver = pipe(capacity, item_type=item_type)
    try:
        async with await session.open(service) as requests:
            await requests.send(sender)
            await requests.flush()  # once it was taken, it is one of the audience: nothing in between is missed
    except BaseException:
        sender.close()
        receiver.close()
        raise
    return receiver
