"""Serves one page over HTTP on loopback, made anew for who asks."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from html import escape

import anyio
from anyio.abc import SocketAttribute, SocketStream

from chanlink.command.problems import Problem
from chanlink.observing.graph.page import POLICY
from chanlink.observing.loopback import is_for_loopback

LONGEST_REQUEST, PATIENCE, AT_ONCE = 8_192, 5.0, 8


@asynccontextmanager
async def serving(port: int, make: Callable[[], Awaitable[str]]) -> AsyncGenerator[str, None]:
    """Serve the page that `make` returns, as long as the block lasts; gives its address. Port 0 is any that is free."""
    try:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    except OSError as exc:
        raise Problem(f"can't listen on port {port}: {exc.strerror or exc}") from exc
    page = _Page(make)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, page.answer)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/"
        tasks.cancel_scope.cancel()


class _Page:
    def __init__(self, make: Callable[[], Awaitable[str]]) -> None:
        self._make = make
        self._places = anyio.CapacityLimiter(AT_ONCE)
        self._turn = anyio.Lock()

    async def answer(self, client: SocketStream) -> None:
        """One request, and the connection is over."""
        try:
            async with client, self._places:
                with anyio.move_on_after(PATIENCE):
                    request = await _request(client)
                    status, body = await self._reply(request)
                    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{_HEADERS}\r\n\r\n"
                    await client.send(head.encode() + body)
        except (anyio.BrokenResourceError, anyio.EndOfStream):
            return  # it has gone, which is its own affair

    async def _reply(self, request: str) -> tuple[str, bytes]:
        if not is_for_loopback(request):
            return "403 Forbidden", b"not for this name\n"
        if request.partition("\r\n")[0].split(" ")[:2] != ["GET", "/"]:
            return "404 Not Found", b"there is one page: /\n"
        async with self._turn:
            try:
                return "200 OK", (await self._make()).encode()
            except Problem as exc:  # the next look may find another picture
                return "503 Service Unavailable", f"{escape(str(exc))}\n".encode()


async def _request(client: SocketStream) -> str:
    request = b""
    while b"\r\n\r\n" not in request and len(request) < LONGEST_REQUEST:
        request += await client.receive()
    return request.decode("latin-1")


_HEADERS = "\r\n".join(
    [
        "Content-Type: text/html; charset=utf-8",
        f"Content-Security-Policy: {POLICY}; img-src data:",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "Connection: close",
    ]
)
