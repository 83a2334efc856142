"""A connection and a byte stream that are joined: all that passes, and how each of them ends."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

import chanlink
from chanlink import AddressError, ByteStream, ChannelFailed, ChannelRefused
from chanlink.command.actions import forwarding
from chanlink.command.actions.forwarding import Forwarder, forwarder, give_up, join, parse_target, service_of
from chanlink.command.problems import Usage
from chanlink.testing import session_over, session_pair
from chanlink.transport.sockets import SocketTransport
from tests.patience import PATIENCE, until
from tests.vouched import issued

pytestmark = pytest.mark.anyio
TARGET = parse_target("tcp://127.0.0.1:80")


def test_a_target_says_its_port() -> None:
    assert str(parse_target("tcp://[::1]:80")) == "tcp://[::1]:80"
    assert str(parse_target("unix:/run/x")) == "unix:/run/x"
    for text in ("tcp://build", "tcp://build:0"):
        with pytest.raises(Usage, match="write the port, too"):
            parse_target(text)
    with pytest.raises(AddressError):
        parse_target("build:80")


def test_what_a_key_may_reach_is_a_service() -> None:
    assert service_of(TARGET) == "forward:tcp://127.0.0.1:80"


async def connected() -> tuple[SocketTransport, SocketTransport]:
    """Over TCP: a Unix socket knows no reset."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return SocketTransport(near), SocketTransport(listener.accept()[0])


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[SocketTransport, ByteStream, list[object]]]:
    """What is outside of the two that are joined, and what `join` returns once it has."""
    near, far = await connected()
    stream, other = chanlink.byte_pipe()
    returned: list[object] = []

    async def run() -> None:
        returned.append(await join(far, stream))

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks, near:
            tasks.start_soon(run)
            yield near, other, returned
            await until(lambda: returned)


async def test_bytes_and_half_closes_pass_both_ways() -> None:
    async with joined() as (near, other, returned):
        await near.send(b"there")
        assert await other.receive() == b"there"
        await other.send(b"back")
        await other.send_eof()
        assert await near.receive() == b"back"
        with pytest.raises(anyio.EndOfStream):
            await near.receive()
        await near.send(b"still")
        await near.send_eof()
        assert await other.receive() == b"still"
        with pytest.raises(chanlink.EndOfChannel):
            await other.receive()
        other.close()
    assert returned == [None]


async def test_a_connection_that_breaks_is_a_reset_at_the_far_side() -> None:
    async with joined() as (near, other, returned):
        near.reset_when_closed()
        await near.aclose()
        with pytest.raises(ChannelFailed) as caught:
            await other.receive()
        assert caught.value.code == "reset"
        other.close()
    assert returned == [None]


async def test_why_the_far_side_gave_up_is_returned_unless_it_was_a_reset() -> None:
    async with joined() as (_, other, returned):
        give_up(other, "connect-failed", "nobody is there")
    (reason,) = returned
    assert isinstance(reason, ChannelFailed | ChannelRefused)
    assert reason.code == "connect-failed"
    async with joined() as (_, other, returned):
        give_up(other, "reset")
    assert returned == [None]


async def test_a_target_that_does_not_answer_is_told_to_the_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        target = parse_target(f"tcp://127.0.0.1:{unused.getsockname()[1]}")
    services = {service_of(target): forwarder(target)}
    async with session_pair(services=services) as (client, _):
        stream = await client.open_stream(service_of(target))
        with pytest.raises(ChannelFailed) as caught:
            await stream.receive()
        assert caught.value.code == "connect-failed"
        assert str(target) in caught.value.text


async def test_without_a_session_a_connection_waits_for_one_and_then_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    forward = Forwarder(said.append)
    with anyio.fail_after(PATIENCE), socket.create_server(("127.0.0.1", 0)) as local:
        local.setblocking(False)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forward.accept_loop, local, TARGET)
            monkeypatch.setattr(forwarding, "PATIENCE", 0.01)
            async with await anyio.connect_tcp(*local.getsockname()) as waiting:
                with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
                    await waiting.receive()
            assert said == [f"{TARGET}: there is no connection to the server"]
            monkeypatch.setattr(forwarding, "PATIENCE", PATIENCE)
            async with await anyio.connect_tcp(*local.getsockname()) as patient:
                await patient.send(b"hello")
                async with session_pair(services={service_of(TARGET): chanlink.streams(echo)}) as (client, _):
                    forward.use(client)
                    assert await patient.receive() == b"hello"
                    forward.use(None)
            tasks.cancel_scope.cancel()


async def echo(stream: ByteStream, peer: chanlink.Peer) -> None:
    async for data in stream:
        await stream.send(data)


@pytest.mark.parametrize(
    ("options", "extensions", "code"),
    [
        ((), ("permit-port-forwarding",), "connect-failed"),  # nobody listens there: it has tried
        ((), ("permit-pty",), "not-permitted"),
        (("force-command",), ("permit-port-forwarding",), "no-such-service"),
    ],
)
async def test_a_credential_has_to_permit_forwarding(
    options: tuple[str, ...], extensions: tuple[str, ...], code: str
) -> None:
    by = issued(*options, extensions=extensions)
    peer = chanlink.Peer(by.credential.key, "alice@example", "192.0.2.7:1", issued=by)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = parse_target("tcp://{}:{}".format(*listener.getsockname()))
    one, two = chanlink.byte_pipe()
    services = {service_of(target): forwarder(target)}
    with anyio.fail_after(PATIENCE):
        server = session_over(two, client_side=False, peer=peer, services=services)
        async with session_over(one, client_side=True) as client, server:
            stream = await client.open_stream(service_of(target))
            reason = await stream.wait_closed()
            assert isinstance(reason, ChannelRefused)
            assert reason.code == code
            stream.close()
