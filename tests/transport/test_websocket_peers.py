"""Against whole programs of ``websockets``, in threads: its client at our server, and our client at its server."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from anyio import to_thread
from anyio.abc import UNIXSocketStream

pytest.importorskip("websockets")

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as their_connect
from websockets.sync.server import serve as their_serve

import chanlink
from chanlink import Identity, Trust
from tests.echo import ask, echo

pytestmark = pytest.mark.anyio

ALICE, SERVER = (Identity.generate(name) for name in ("alice", "server"))
DATA = bytes(range(256)) * 1_000
PART = 10_000


def listen(address: str) -> Any:
    trust = Trust.of(ALICE.public_key)
    return chanlink.listen(address, identity=SERVER, trust=trust, services={"echo": echo})


def connect(where: Any) -> Any:
    return chanlink.connect(where, identity=ALICE, peer=SERVER.public_key)


def pass_on(sock: socket.socket, connection: Any) -> None:
    """Between a WebSocket and a socket, until either ends; each message is of two fragments."""

    def come() -> None:
        with suppress(OSError, ConnectionClosed):  # who closes first does not wait for what the other one says last
            while data := sock.recv(PART):
                connection.send([data[:1], data[1:]])
        connection.close()

    with sock:
        coming = threading.Thread(target=come)
        coming.start()
        with suppress(OSError, ConnectionClosed):
            for message in connection:
                sock.sendall(message)  # a text would be a TypeError
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        coming.join()


async def test_their_client_at_our_server() -> None:
    ours, theirs = socket.socketpair()

    def run(address: str) -> None:
        with their_connect(address, subprotocols=["chanlink"], compression="deflate") as connection:
            pass_on(theirs, connection)

    async with listen("ws://127.0.0.1:0/chan") as listener:
        running = threading.Thread(target=run, args=listener.addresses)
        running.start()
        async with connect(await UNIXSocketStream.from_socket(ours)) as session:
            assert await ask(session, DATA) == DATA
        why = await session.wait_closed()
        assert (type(why), why.code) == (chanlink.SessionClosed, "")
        await to_thread.run_sync(running.join)


@pytest.fixture
def bridge() -> Iterator[tuple[str, dict[str, int]]]:
    """Their server, and the port of TCP that it leads to."""
    to: dict[str, int] = {}

    def handle(connection: Any) -> None:
        pass_on(socket.create_connection(("127.0.0.1", to["port"])), connection)

    with their_serve(handle, "127.0.0.1", 0, subprotocols=["chanlink"]) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/any", to
        server.shutdown()
        serving.join()


async def test_our_client_at_their_server(bridge: tuple[str, dict[str, int]]) -> None:
    url, to = bridge
    async with listen("tcp://127.0.0.1:0") as listener:
        to["port"] = int(listener.addresses[0].rpartition(":")[2])
        async with connect(url) as session:
            assert await ask(session, DATA) == DATA
        why = await session.wait_closed()
        assert (type(why), why.code) == (chanlink.SessionClosed, "")
