"""Who takes connections, in tests of what gives them."""

from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import ByteStream, TaskGroup

from chanlink.transport.base import Transport


class Taking:
    """An acceptor that keeps what it gets, in tasks of its own."""

    def __init__(self, tasks: TaskGroup) -> None:
        self.tasks = tasks
        self.transports: list[Transport] = []
        self.addresses: list[object] = []
        self.streams: list[ByteStream] = []
        self.problems: list[int | None] = []

    def accepted(self, transport: Transport, address: object) -> None:
        self.transports.append(transport)
        self.addresses.append(address)

    def preparing(self, prepare: Callable[[], Awaitable[object]], address: object) -> None:
        self.addresses.append(address)
        self.tasks.start_soon(prepare)

    async def prepared(self, stream: ByteStream) -> None:
        self.streams.append(stream)

    def no_room(self, problem: OSError) -> float:
        self.problems.append(problem.errno)
        return 0.01

    async def close(self) -> None:
        for stream in (*self.transports, *self.streams):
            await anyio.aclose_forcefully(stream)
