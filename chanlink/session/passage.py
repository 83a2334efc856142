"""A byte stream through a gateway, as the transport of a session: what is said in it the gateway can't read.

Why it ended the gateway says by a code, which the handshake inside knows nothing of: so it is kept here. What the far
end does looks as it does with a socket: an end, or a reset.
"""

from collections.abc import Callable
from typing import Any

import anyio
from anyio import TypedAttributeSet, typed_attribute
from anyio.lowlevel import checkpoint

from chanlink.channels.bytestream import ByteStream
from chanlink.errors import ChannelError, ChannelFailed, ChannelRefused, EndOfChannel, HopFailed
from chanlink.transport.base import BufferedTransport

RESET = "reset"
"""The code of what was not ended in order, at either end (protocol section 19.1)."""
CLOSED = "closed"


class PassageAttribute(TypedAttributeSet):
    """What a stream through a gateway knows."""

    problem: HopFailed = typed_attribute()
    """Why the gateway has ended it, if it was the gateway."""


class Passage(BufferedTransport):
    """Over a byte stream that a gateway has taken."""

    def __init__(self, stream: ByteStream, hop: str, done: Callable[["Passage"], object] | None = None) -> None:
        """``done`` is called once nobody uses it any more."""
        super().__init__(stream)
        self._done = done
        self.closed = anyio.Event()
        """That nobody uses it any more."""
        self._stream = stream
        self._hop = hop
        self._problem: ChannelError | None = None
        self._resets = False

    async def _receive(self, max_bytes: int) -> bytes:
        try:
            return await self._stream.receive(max_bytes)
        except EndOfChannel:
            raise
        except ChannelError as exc:
            self._problem = exc
            raise

    async def send(self, item: bytes) -> None:
        try:
            await super().send(item)
        except ChannelError as exc:  # the reason comes by the other direction, too, and may be more than "closed"
            self._problem = self._problem or exc
            raise

    def reset_when_closed(self) -> None:
        self._resets = True

    def close_now(self) -> bool:
        if self._resets:
            reset(self._stream)
        self._stream.close()
        self.closed.set()
        if self._done is not None:
            self._done(self)
        return True

    async def aclose(self) -> None:
        self.close_now()
        await checkpoint()

    @property
    def extra_attributes(self) -> Any:
        problem = self._problem
        if isinstance(problem, ChannelFailed | ChannelRefused) and problem.code not in (RESET, CLOSED):
            return {PassageAttribute.problem: lambda: HopFailed(self._hop, problem)}
        return {}


def reset(stream: ByteStream, code: str = RESET, text: str = "") -> None:
    """End both directions, and not in order: with this code, unless they have ended before."""
    stream.fail(code, text)
    stream.refuse(code, text)
