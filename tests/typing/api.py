"""How the public names are typed, as their users see them.  Checked by mypy, never run."""

from typing import Any, assert_type

from anyio.abc import ByteStream as AnyByteStream
from anyio.abc import Listener as AnyListener
from anyio.abc import ObjectReceiveStream, ObjectSendStream

import chanlink


async def channels() -> None:
    sender, receiver = chanlink.pipe(item_type=int)
    assert_type(sender, chanlink.Sender[int])
    assert_type(receiver, chanlink.Receiver[int])
    await sender.send(1)
    await sender.send("one")  # type: ignore[arg-type]
    assert_type(await receiver.receive(), int)
    assert_type(await receiver.receive_many(), list[int])
    async for item in receiver:
        assert_type(item, int)
    reason = await sender.wait_closed()
    assert_type(reason, chanlink.ChannelError)


async def anyio_interfaces(session: chanlink.Session, listener: chanlink.Listener) -> None:
    sender: ObjectSendStream[str] = await session.open("service", str)
    _, receiver = chanlink.pipe(item_type=str)
    takes: ObjectReceiveStream[str] = receiver
    stream: AnyByteStream = await session.open_stream("service")
    sessions: AnyListener[chanlink.Session] = listener
    await sender.aclose()
    await takes.aclose()
    await stream.aclose()
    await sessions.aclose()


async def echo(requests: chanlink.Receiver[dict[str, Any]], peer: chanlink.Peer) -> None:
    async for request in requests:
        await request["reply"].send(peer.name)


async def keys() -> None:
    assert_type(chanlink.Identity.load("id_ed25519", "secret"), chanlink.Identity)
    assert_type(await chanlink.Identity.aload("id_ed25519", b"secret"), chanlink.Identity)
    me = await chanlink.Identity.from_agent(chanlink.PublicKey.load("id_ed25519.pub"), socket="/run/agent")
    known = chanlink.KnownPeers.load(first_use=True)
    async with chanlink.connect("tcp://server", identity=me, trust=known) as session:
        assert_type(session, chanlink.Session)


async def endpoints(me: chanlink.Identity, trust: chanlink.Trust) -> None:
    async with chanlink.listen("tcp://localhost:0", identity=me, trust=trust, services={"echo": echo}) as listener:
        assert_type(listener, chanlink.Listener)
        assert_type(listener.addresses, list[str])
    async with chanlink.connect("unix:/run/it", peer=me.public_key, psk="psk") as session:
        assert_type(session, chanlink.Session)
        assert_type(await session.ping(), float)
        assert_type(session.exporter("label", 32), bytes)
        async for service, _end, _peer in session:
            assert_type(service, str)
