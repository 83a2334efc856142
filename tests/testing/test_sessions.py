"""A pair of sessions in memory; sessions in the clear, which leave the machine in no way."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from anyio.abc import ByteStream, SocketStream, UNIXSocketStream
from anyio.streams.stapled import StapledByteStream

import chanlink
from chanlink import ConfigError, Limits, Peer, Session
from chanlink.testing import session_over, session_pair
from chanlink.transport.sockets import SocketTransport
from tests.echo import ask, echo

pytestmark = pytest.mark.anyio


async def test_both_sides_of_a_pair_may_serve() -> None:
    async with session_pair(services={"echo": echo}, client_services={"echo": echo}) as pair:
        for session in pair:
            assert await ask(session) == "hello"


async def test_each_side_of_a_pair_has_its_own_limits() -> None:
    async with session_pair(Limits(message_size=10), Limits(message_size=1_000)) as (client, server):
        async with await client.open("service") as sender:
            await sender.send(bytes(900))
            with pytest.raises(chanlink.MessageTooLarge):
                await sender.send(bytes(1_100))
        (await server.accept()).end.close()
        async with await server.open("service") as sender:
            with pytest.raises(chanlink.MessageTooLarge):
                await sender.send(bytes(11))
        (await client.accept()).end.close()


async def test_an_exception_leaves_the_block_of_a_pair_as_it_is() -> None:
    with pytest.raises(LookupError, match="mine"):
        async with session_pair():
            raise LookupError("mine")


# --- in the clear -----------------------------------------------------------------------------------------


def tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return socket.create_connection(server.getsockname()), server.accept()[0]


@asynccontextmanager
async def over_tcp(way: str) -> AsyncIterator[ByteStream]:
    """One end of a connection of TCP, as anyio has it, in pieces, or as ours."""
    near, far = tcp()
    with near, far:
        if way == "ours":
            yield SocketTransport(near)
            return
        async with await SocketStream.from_socket(near) as stream:
            yield StapledByteStream(stream, stream) if way == "stapled" else stream


@pytest.mark.parametrize("way", ["anyio", "stapled", "ours"])
async def test_there_is_no_session_in_the_clear_over_a_network(way: str) -> None:
    async with over_tcp(way) as stream:
        with pytest.raises(ConfigError, match="does not go over a network"):
            session_over(stream, client_side=True)
        with pytest.raises(ConfigError, match=r"would be in the clear: connect and accept"):
            Session(stream, client_side=True, peer=Peer(None, "anybody", ""))  # type: ignore[arg-type]


async def test_nor_within_a_protocol_that_says_nothing_of_who_we_are() -> None:
    class Tls(StapledByteStream):
        """Has the attributes of the stream below, as that of anyio."""

    async with over_tcp("anyio") as below:
        with pytest.raises(ConfigError, match="also within another protocol"):
            session_over(Tls(below, below), client_side=False)


async def test_a_session_is_not_made_of_any_byte_stream() -> None:
    near, far = chanlink.byte_pipe()
    with pytest.raises(ConfigError, match=r"a session over a ByteStream .* chanlink.testing.session_over"):
        Session(near, client_side=True, peer=Peer(None, "anybody", ""))  # type: ignore[arg-type]
    for end in near, far:
        end.close()


async def test_over_a_unix_socket_and_in_memory_there_is_one_for_tests() -> None:
    sockets = [await UNIXSocketStream.from_socket(sock) for sock in socket.socketpair()]
    for near, far in ([SocketTransport(sock) for sock in socket.socketpair()], sockets, chanlink.byte_pipe()):
        async with (
            session_over(far, client_side=False, services={"echo": echo}) as server,
            session_over(near, client_side=True, peer=Peer(None, "the server", "here")) as client,
        ):
            assert await ask(client) == "hello"
            assert (client.peer.name, client.peer.key) == ("the server", None)
            assert server.peer is not client.peer
            await client.aclose()
