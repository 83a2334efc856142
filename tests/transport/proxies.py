"""A proxy that answers what a test says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketAttribute, SocketStream

from chanlink import ConnectFailed
from chanlink.transport.address import Address
from chanlink.transport.proxy import Proxy, parse_proxy
from tests.patience import PATIENCE

THERE = Address("host.example", 9323)
ASKED = b"\x05\x01\x00\x03\x0chost.example\x24\x6b"
YES = b"\x05\x00\x00\x01\x7f\0\0\1\0\1"


class Said:
    """What a proxy of the test's was told."""

    data = b""


@asynccontextmanager
async def proxy(
    *answers: bytes, user: str = "", scheme: str = "socks5", piece: int = 1
) -> AsyncIterator[tuple[Proxy, Said]]:
    """One that gives each of these after it was told something, in pieces, and then ends what it sends."""
    said = Said()

    async def serve(client: SocketStream) -> None:
        async with client:
            for answer in answers:
                said.data += await client.receive()
                for begin in range(0, len(answer), piece):
                    await client.send(answer[begin : begin + piece])
            if answers[-1:] != (YES,):
                await client.send_eof()
            try:
                while True:
                    said.data += await client.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        port = listener.extra(SocketAttribute.local_port)
        with anyio.fail_after(PATIENCE):
            yield parse_proxy(f"{scheme}://{user}127.0.0.1:{port}"), said
        tasks.cancel_scope.cancel()


async def asked(
    *answers: bytes, scheme: str = "socks5", user: str = "", there: Address = THERE, piece: int = 1
) -> tuple[str, bytes]:
    """What comes of a connection: its problem, if there is one, without names; and what the proxy was told."""
    async with proxy(*answers, scheme=scheme, user=user, piece=piece) as (one, said):
        try:
            transport = await one.connect(there)
        except ConnectFailed as exc:
            head, _, problem = str(exc).partition(f"{there} by {one}: ")
            assert head == ""
            assert "\n" not in problem
            assert "secret" not in problem
            return problem, said.data
        await transport.aclose()
        return "", said.data
