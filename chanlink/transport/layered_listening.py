"""Listening where each connection is made into something else before there are bytes of ours: TLS, WebSocket."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
from anyio.abc import ByteStream, TaskGroup

from chanlink.errors import ConnectFailed
from chanlink.printing import printable_logger

from .accepting import Acceptor, Listening
from .base import BROKEN, Transport, close_at_once

logger = printable_logger(__name__)

Layer = Callable[[Transport], Awaitable[Transport]]
"""Makes a transport over this one, which it owns then. Raises `ConnectFailed` where the other side is to blame."""


class LayeredListening:
    """Listens as another one does, and puts a layer over what comes there.

    That is a part of the handshake: it happens in the acceptor's time, and who does it slowly has no other rights.
    """

    def __init__(self, below: Listening, layer: Layer, addresses: list[str]) -> None:
        self.addresses = addresses
        self._below = below
        self._layer = layer

    def start(self, tasks: TaskGroup, acceptor: Acceptor) -> None:
        """As `Listening`."""
        self._below.start(tasks, _Layering(acceptor, self._layer))

    def give_waiting(self) -> None:
        """As `Listening`."""
        self._below.give_waiting()

    def close(self) -> None:
        """As `Listening`."""
        self._below.close()


class _Layering:
    """The acceptor of what is below: passes on what a layer was put over."""

    def __init__(self, acceptor: Acceptor, layer: Layer) -> None:
        self._acceptor = acceptor
        self._layer = layer

    def accepted(self, transport: Transport, address: object) -> None:
        self._acceptor.preparing(partial(self._prepare, transport), address)

    def preparing(self, prepare: Callable[[], Awaitable[object]], address: object) -> None:
        self._acceptor.preparing(prepare, address)

    async def prepared(self, stream: ByteStream) -> None:
        await self._acceptor.prepared(stream)

    def no_room(self, problem: OSError) -> float:
        return self._acceptor.no_room(problem)

    async def _prepare(self, transport: Transport) -> None:
        try:
            layered = await self._layer(transport)
        except (ConnectFailed, OSError, anyio.EndOfStream, *BROKEN) as exc:
            logger.info("a connection was closed: %s", exc if str(exc) else "it ended in the handshake below ours")
            await close_at_once(transport)
        except BaseException:
            await close_at_once(transport)
            raise
        else:
            await self._acceptor.prepared(layered)
