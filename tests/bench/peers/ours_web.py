"""chanlink: bytes by WebSocket, with TLS below it and without, beside the same over TCP."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import chanlink
from tests.bench import certificates
from tests.bench.meter import Meter, Missing
from tests.bench.payload import PIECE, pour

from .ours import Where
from .services import SERVICES

WAYS = "tcp", "ws", "wss"


async def source(stream: chanlink.ByteStream, peer: chanlink.Peer) -> None:
    """As many pieces as the client has said."""
    count = int.from_bytes(await stream.receive(), "big")
    piece = bytes(PIECE)
    for _ in range(count):
        await stream.send(piece)
    await stream.send_eof()


@asynccontextmanager
async def serve(folder: Path) -> AsyncIterator[Where]:
    """An address for each way."""
    if not _has_library():
        raise Missing("needs websockets: pip install websockets")
    server, client = chanlink.Identity.generate(), chanlink.Identity.generate()
    client.save(folder / "client")
    certificates.write(folder / "pem", certificates.p256("localhost"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem")
    services = {**SERVICES, "source": chanlink.streams(source)}
    places = {
        "tcp": "tcp://127.0.0.1:0",
        "ws": "ws://127.0.0.1:0/bench",
        "wss": chanlink.WebSocketListener("wss://127.0.0.1:0/bench", ssl=context),
    }
    async with AsyncExitStack() as stack:
        addresses = {}
        for way, place in places.items():
            listening = chanlink.listen(
                place, identity=server, trust=chanlink.Trust.of(client.public_key), services=services
            )
            addresses[way] = (await stack.enter_async_context(listening)).addresses[0]
        keys = {"key": str(server.public_key), "identity": str(folder / "client"), "pem": str(folder / "pem")}
        yield {"addresses": addresses, **keys, "host": "", "port": 0}


def _has_library() -> bool:
    try:
        import websockets  # noqa: F401
    except ImportError:
        return False
    return True


@asynccontextmanager
async def _connect(where: Where, way: str) -> AsyncIterator[chanlink.Session]:
    address = where["addresses"][way]
    if way == "wss":
        ours = ssl.create_default_context(cafile=where["pem"])
        address = chanlink.WebSocket(address.replace("127.0.0.1", "localhost"), ssl=ours)
    key, identity = chanlink.PublicKey.parse(where["key"]), chanlink.Identity.load(where["identity"])
    async with chanlink.connect(address, identity=identity, peer=key) as session:
        yield session


async def to_server(where: Where, meter: Meter, *, count: int, way: str) -> None:
    """Masked, where it is a WebSocket."""
    async with _connect(where, way) as session:
        await pour(await session.open_stream("discard"), meter, count)


async def to_client(where: Where, meter: Meter, *, count: int, way: str) -> None:
    async with _connect(where, way) as session:
        stream = await session.open_stream("source")
        with meter.over(count // PIECE * PIECE):
            await stream.send((count // PIECE).to_bytes(4, "big"))
            got = 0
            async for data in stream:
                got += len(data)
        assert got == count // PIECE * PIECE


WORKS = {"to_server": to_server, "to_client": to_client}
