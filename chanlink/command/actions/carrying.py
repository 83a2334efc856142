"""Bytes between our standard input and output and a server on this machine, both ways, as they are."""

import anyio
from anyio.abc import ByteStream

import chanlink
from chanlink.transport.address import parse_address
from chanlink.transport.base import BROKEN
from chanlink.transport.reaching import connect_socket

PIECE = 128 * 1024


async def carry(address: str, token: str) -> None:
    """Until both directions have ended.

    Raises `AddressError`, `ConfigError`, `ConnectFailed`, and `ConnectionLost` when one is broken: the other side sees
    the end of all, too.
    """
    server = await connect_socket(parse_address(address))
    async with server, chanlink.take_stdio(token) as client:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_copy, client, server)
                tasks.start_soon(_copy, server, client)
        except* BROKEN:
            broken = True
        else:
            broken = False
    if broken:
        raise chanlink.ConnectionLost(f"{address}: the connection has broken")


async def _copy(source: ByteStream, target: ByteStream) -> None:
    try:
        while True:
            await target.send(await source.receive(PIECE))
    except anyio.EndOfStream:
        await target.send_eof()
