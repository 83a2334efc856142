"""Listeners and their clients, for tests of how a connection becomes a session."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgpack
import pytest
from anyio.abc import ByteStream

import chanlink
from chanlink import (
    ChannelRefused,
    Identity,
    Limits,
    Listener,
    Peer,
    Receiver,
    Sender,
    Session,
    Trust,
)
from chanlink.security.handshake import Authenticated
from chanlink.security.keys.authority import Authority
from chanlink.security.keys.certificate import Role, certify
from chanlink.security.statics import Statics
from chanlink.session.greeter import Greeter
from chanlink.transport.address import parse_address
from chanlink.transport.listen import ListeningSockets, listening_sockets

ALICE = Identity.generate("alice@laptop")


BOB = Identity.generate("bob")


SERVER = Identity.generate("server.example")


EVERYBODY = Trust.of(ALICE.public_key, BOB.public_key)


TCP = "tcp://127.0.0.1:0"


async def ping(requests: Receiver[Any], peer: Peer) -> None:
    async for request in requests:
        async with request["reply"] as reply:
            await reply.send({"pong": request["ping"], "you": peer.name, "from": peer.address})


async def ask(session: Session, service: str = "ping") -> Any:
    requests: Sender[Any] = await session.open(service)
    async with requests:
        reply: Sender[Any]
        replies: Receiver[Any]
        reply, replies = chanlink.pipe()
        await requests.send({"ping": 7, "reply": reply})
        return await replies.receive()


SERVICES = {"ping": ping}


def listen(address: str = TCP, **options: Any) -> Any:
    defaults: dict[str, Any] = {"identity": SERVER, "trust": EVERYBODY}
    return chanlink.listen(address, **defaults | options)


def connect(address: Any, **options: Any) -> Any:
    defaults: dict[str, Any] = {"identity": ALICE, "peer": SERVER.public_key}
    return chanlink.connect(address, **defaults | options)


@asynccontextmanager
async def serving(address: str = TCP, **options: Any) -> AsyncIterator[Listener]:
    """A listener that serves, of which nothing is left afterwards."""
    async with listen(address, **{"services": SERVICES} | options) as listener:
        yield listener
    assert_empty(listener)


def assert_empty(listener: Listener) -> None:
    assert not listener.sessions
    assert not listener._accepted
    assert not len(listener._accepting)
    assert_gone(greeter_of(listener))


def greeter_of(listener: Listener) -> Greeter:
    return listener._greeter


@asynccontextmanager
async def greeting(
    sockets: ListeningSockets | None = None,
    *,
    identity: Identity = SERVER,
    trust: Trust = EVERYBODY,
    psk: bytes | None = None,
    **limits: Any,
) -> AsyncIterator[Greeter]:
    """A greeter by itself, of which nothing is left afterwards: whoever is let in gets a session with `SERVICES`."""
    sockets = sockets or await listening_sockets(parse_address(TCP))
    greeter = Greeter(sockets, Statics(identity, Role.SERVER, psk), Authority(trust), Limits(**limits))

    async def host(authenticated: Authenticated, address: str) -> None:
        peer = Peer(authenticated.key, authenticated.grant.name, address)
        options: dict[str, Any] = {"limits": Limits(**limits), "peer_limits": authenticated.peer_limits}
        async with Session(authenticated.stream, client_side=False, peer=peer, services=SERVICES, **options) as session:
            await session.wait_closed()

    async with anyio.create_task_group() as tasks:
        greeter.start(tasks, host)
        yield greeter
        greeter.stop()
        tasks.cancel_scope.cancel()
    assert_gone(greeter)


def assert_gone(greeter: Greeter) -> None:
    assert not greeter.admission
    assert not greeter.seats
    if isinstance(greeter.listening, ListeningSockets):
        assert all(sock.fileno() == -1 for sock in greeter.listening.sockets)


def port_of(place: Listener | Greeter) -> int:
    return int(place.addresses[0].rpartition(":")[2])


async def dial(place: Listener | Greeter) -> ByteStream:
    return await anyio.connect_tcp("127.0.0.1", port_of(place))


async def refusal(session: Session, service: str) -> ChannelRefused:
    sender: Sender[Any] = await session.open(service)
    with pytest.raises(ChannelRefused) as caught:
        await sender.wait_closed()
        await sender.send("anything")
    sender.close()
    return caught.value


async def answer_of(identity: Identity, static: bytes) -> bytes:
    certificate = await certify(identity, static, Role.CLIENT, int(time.time()))
    answer: bytes = msgpack.packb({"certificate": certificate.to_map(), "peer": SERVER.public_key.raw, "limits": {}})
    return answer
