"""Messages to one peer, in their order, which wait here as long as it has no room. No task."""

from collections import deque
from collections.abc import Callable
from typing import Any

from chanlink.channels.channel import Sender
from chanlink.channels.pushing import Pusher
from chanlink.errors import END, MessageError, Reason

from .requests import Refusal


def pusher(sender: Sender[Any], supply: Any, kind: type[Pusher] = Pusher) -> Pusher:
    """What sends from now on. Raises `Refusal` if that sender can't be used so."""
    try:
        made = kind(sender, supply, 0)
    except ValueError:
        raise Refusal("bad-request", "nothing is sent to a rendezvous here") from None
    made.push()  # from now on it notices that the receiver is gone
    return made


class Outbox:
    """What is sent by one sender, which moves here. Raises `Refusal` if it can't be used."""

    def __init__(
        self,
        sender: Sender[Any],
        *,
        moved: Callable[[], None] = lambda: None,
        dropped: Callable[[Any, MessageError], None] | None = None,
    ) -> None:
        """`moved` is called when something has left that had to wait, and when the receiver is gone. `dropped` gets
        what can't be sent to it, the only one that is lost then; without it, that is the end of the channel."""
        self._moved = moved
        self._dropped = dropped
        self._messages: deque[tuple[object, int]] = deque()
        self._sent = 0
        self.size = 0
        """Bytes that wait, of the messages of which it was told."""
        self._pusher = pusher(sender, self, Pusher if dropped is None else _Dropping)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._messages)

    @property
    def over(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._pusher.over

    def send(self, message: object, size: int = 0) -> None:
        """Send it, when there is room. If all is over, nothing happens."""
        if not self._pusher.over:
            self._messages.append((message, size))
            self.size += size
            self._pusher.push()

    def end(self, reason: Reason = END) -> None:
        """End the channel when all was sent."""
        self._pusher.end(reason)

    def drop(self, error: MessageError) -> None:
        """The first one can't be sent."""
        assert self._dropped is not None
        self._dropped(self._leave(), error)

    def _leave(self) -> object:
        message, size = self._messages.popleft()
        self.size -= size
        return message

    # --- as a supply ---

    def after(self, position: int) -> tuple[object, int] | None:
        while self._sent < position:
            self._sent += 1
            self._leave()
        return (self._messages[0][0], position + 1) if self._messages else None

    def served(self, pusher: Pusher) -> None:
        if pusher.over:
            self._messages.clear()
            self.size = 0
        self._moved()


class _Dropping(Pusher):
    """Goes on behind a message that can't be sent."""

    __slots__ = ()

    def _send_next(self) -> bool:
        try:
            return super()._send_next()
        except MessageError as exc:
            assert isinstance(self._supply, Outbox)
            self._supply.drop(exc)
            return True


def answer(sender: Sender[Any], message: object) -> None:
    """Send one message, and the end. Raises as `Outbox`."""
    outbox = Outbox(sender)
    outbox.send(message)
    outbox.end()
