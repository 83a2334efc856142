"""A way from clients to a server that can be cut, stopped, and lead somewhere else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import SocketAttribute, SocketStream

from chanlink import Listener


class Way:
    """Connects each connection to ``port`` of this machine, as long as it is open."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.address = ""
        self.source: str | None = None
        """The address from which it connects to the server; any, if it is None."""
        self.is_open = True
        """Whether those who connect get anywhere; else they are reset."""
        self.passes = anyio.Event()
        """While it is not set nothing gets through, and nobody is told."""
        self.passes.set()
        self.taken = 0
        """How many connections there were."""
        self.connections: set[anyio.CancelScope] = set()

    def cut(self) -> None:
        """Break all connections."""
        for scope in list(self.connections):
            scope.cancel()

    def close(self) -> None:
        """Break all, and let nobody through any more."""
        self.is_open = False
        self.cut()

    def stop(self) -> None:
        """Let nothing through; the connections stay."""
        self.passes = anyio.Event()

    async def serve(self, near: SocketStream) -> None:
        self.taken += 1
        async with near:
            if not self.is_open:
                return
            try:
                far = await anyio.connect_tcp("127.0.0.1", self.port, local_host=self.source)
            except OSError:
                return
            async with far:
                with anyio.CancelScope() as scope:
                    self.connections.add(scope)
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._pass_on, near, far)
                        await self._pass_on(far, near)
                self.connections.discard(scope)
                await anyio.aclose_forcefully(far)
                await anyio.aclose_forcefully(near)

    async def _pass_on(self, source: SocketStream, to: SocketStream) -> None:
        try:
            while True:
                data = await source.receive()
                await self.passes.wait()
                await to.send(data)
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            with suppress(OSError, RuntimeError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await to.send_eof()


@asynccontextmanager
async def way_to(listener: Listener | int) -> AsyncIterator[Way]:
    port = listener if isinstance(listener, int) else int(listener.addresses[0].rpartition(":")[2])
    sockets = await anyio.create_tcp_listener(local_host="127.0.0.1")
    way = Way(port)
    way.address = f"tcp://127.0.0.1:{sockets.extra(SocketAttribute.local_port)}"
    async with sockets, anyio.create_task_group() as tasks:
        tasks.start_soon(sockets.serve, way.serve)
        yield way
        tasks.cancel_scope.cancel()
