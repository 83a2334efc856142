"""What a session relies on below it: one set of checks for records, for plain streams, and with a layer between."""

import math
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute

from chanlink import ConnectionLost, Peer, Session, byte_pipe
from chanlink.errors import LocalProtocolError, PeerTimeout, RemoteProtocolError, SessionClosed, SessionError
from chanlink.security.rekey import Thresholds
from chanlink.security.stream import PlainStream, SecureStream, farewell
from chanlink.transport.sockets import SocketTransport
from tests.patience import PATIENCE, until

from .through import Through
from .wires import Wire, sealed_pair

pytestmark = pytest.mark.anyio

Ends = tuple[SecureStream, SecureStream]


def records_over_sockets() -> Ends:
    return sealed_pair()


def records_through_a_layer() -> Ends:
    one, two = sealed_pair()
    return Through(one), Through(two)


def plain_over_sockets() -> Ends:
    one, two = socket.socketpair()
    return PlainStream(SocketTransport(one)), PlainStream(SocketTransport(two))


def plain_over_a_pipe() -> Ends:
    one, two = byte_pipe()
    return PlainStream(one), PlainStream(two)


def plain_through_layers() -> Ends:
    one, two = plain_over_a_pipe()
    return Through(Through(one)), Through(Through(two))


every_stream = pytest.mark.parametrize(
    "make",
    [records_over_sockets, records_through_a_layer, plain_over_sockets, plain_over_a_pipe, plain_through_layers],
)
Make = Callable[[], Ends]


@asynccontextmanager
async def made(make: Make) -> AsyncIterator[Ends]:
    ends = make()
    try:
        with anyio.fail_after(PATIENCE):
            yield ends
    finally:
        for end in ends:
            await anyio.aclose_forcefully(end)


async def everything(stream: SecureStream) -> bytes:
    """All that comes until the peer's orderly end."""
    data = bytearray()

    def take(pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            assert piece
            data.extend(piece)

    with pytest.raises(anyio.EndOfStream):
        await stream.receive_all(take)
    return bytes(data)


# --- out ------------------------------------------------------------------------------------------------


@every_stream
async def test_parts_arrive_in_their_order_and_the_close_behind_them(make: Make) -> None:
    async with made(make) as (near, far):
        parts = [os.urandom(size) for size in (1, 10, 70_000, 3, 200_000)]

        async def send() -> None:
            await near.send_parts([parts[0], bytearray(parts[1]), memoryview(parts[2])])
            await near.send_parts([])
            await near.send_parts(parts[3:])
            await near.send(b"the last of it")
            await near.send_close("done", "it is over")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            assert await everything(far) == b"".join(parts) + b"the last of it"
        assert far.peer_close == (("done", "it is over") if far.suite else ("", ""))
        assert near.peer_close == ("", "")


@every_stream
async def test_what_does_not_leave_now_leaves_with_the_next_send(make: Make) -> None:
    async with made(make) as (near, far):
        if not near.can_send_now:  # not over what can't do that
            assert not near.suite
            with pytest.raises(LocalProtocolError):
                near.send_now([b"something"])
            return
        assert near.send_now([b"first"])
        assert near.can_send_now
        assert not near.has_output()
        assert not near.send_now([bytes(500_000)])
        assert not near.can_send_now
        assert near.has_output()

        async def send() -> None:
            await near.send_parts([])
            assert near.can_send_now
            assert not near.has_output()
            await near.send_eof()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            assert await everything(far) == b"first" + bytes(500_000)


@every_stream
async def test_nothing_is_sent_behind_the_close(make: Make) -> None:
    async with made(make) as (near, far):
        await near.send_close("done")
        assert not near.can_send_now
        with pytest.raises(ConnectionLost):
            await near.send_parts([b"more"])
        assert await everything(far) == b""


@every_stream
async def test_a_side_that_has_said_the_close_still_receives(make: Make) -> None:
    async with made(make) as (near, far):
        await near.send_close("")
        await far.send(b"an answer")
        assert await near.receive() == b"an answer"


# --- in -------------------------------------------------------------------------------------------------


@every_stream
async def test_what_comes_after_a_cancelled_receive_is_all_there(make: Make) -> None:
    """As a session does that reads on while it says farewell."""
    async with made(make) as (near, far):
        found = bytearray()

        def take(pieces: Iterable[bytes]) -> None:
            found.extend(b"".join(pieces))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(far.receive_all, take)
            await near.send(b"before")
            await until(lambda: bytes(found) == b"before")
            tasks.cancel_scope.cancel()
        await near.send(b"after")
        assert await far.receive(3) == b"aft"
        assert await far.receive() == b"er"


@every_stream
async def test_what_take_raises_ends_the_receiving(make: Make) -> None:
    async with made(make) as (near, far):

        def take(pieces: Iterable[bytes]) -> None:
            raise ZeroDivisionError

        await near.send(b"something")
        with pytest.raises(ZeroDivisionError):
            await far.receive_all(take)


# --- a connection that is gone --------------------------------------------------------------------------


@every_stream
async def test_a_stream_that_is_closed_here_is_a_lost_connection_to_whoever_receives(make: Make) -> None:
    async with made(make) as (near, _):
        outcome: list[Exception] = []

        async def receive() -> None:
            try:
                await near.receive_all(lambda pieces: None)
            except SessionError as exc:
                outcome.append(exc)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            await anyio.aclose_forcefully(near)
        assert [type(exc) for exc in outcome] == [ConnectionLost]


@every_stream
async def test_a_peer_that_is_gone_is_a_lost_connection_to_whoever_sends(make: Make) -> None:
    """However it sends; never an error of the socket, or of anyio's."""
    async with made(make) as (near, far):
        await anyio.aclose_forcefully(far)
        with pytest.raises(ConnectionLost):
            while True:
                await near.send_parts([bytes(100_000)])
    async with made(make) as (near, far):
        await anyio.aclose_forcefully(far)
        with pytest.raises(ConnectionLost):
            while True:
                await near.send(bytes(100_000))


async def test_a_peer_that_is_gone_is_a_lost_connection_to_whoever_sends_without_waiting() -> None:
    async with made(records_over_sockets) as (near, far):
        await anyio.aclose_forcefully(far)
        with pytest.raises(ConnectionLost, match=r"^the connection broke$"):
            near.send_now([b"something"])


async def test_a_plain_stream_says_so_at_its_close_too() -> None:
    class Broken(Wire):
        async def send_eof(self) -> None:
            raise anyio.BrokenResourceError

    with pytest.raises(ConnectionLost):
        await PlainStream(Broken(1, patient=True)).send_close("done")


# --- about the connection -------------------------------------------------------------------------------


@every_stream
async def test_secrets_are_the_same_on_both_sides_or_there_are_none(make: Make) -> None:
    async with made(make) as (near, far):
        if near.suite:
            assert near.export("label", 32) == far.export("label", 32) != near.export("another", 32)
        else:
            with pytest.raises(ValueError, match=r"^a byte stream without a handshake has no secrets$"):
                near.export("label", 32)


@every_stream
async def test_figures_go_up_where_they_are_counted(make: Make) -> None:
    async with made(make) as (near, far):
        before, sent_at = near.volume, near.sent_at
        clock = near.clock()
        await near.send(b"something")
        await far.receive()
        assert near.volume == far.volume
        if near.suite:
            assert near.volume > before
            assert clock <= near.sent_at <= near.clock()
        else:
            assert (near.volume, sent_at, near.sent_at) == (0, -math.inf, -math.inf)
            assert not near.peer_acknowledges(10.0)
        near.check_time(lambda since, limit: True)  # nothing is owed


@every_stream
async def test_nobody_is_called_while_there_is_nothing_but_data(make: Make) -> None:
    async with made(make) as (near, far):
        for end in near, far:
            end.on_output(lambda: pytest.fail("there is no output"))
        await near.send(b"something")
        assert await far.receive() == b"something"
        assert not near.has_output()
        assert not far.has_output()


@pytest.mark.parametrize("layers", [0, 2])
async def test_who_asked_for_it_is_called_when_the_stream_has_something_to_say(layers: int) -> None:
    """New keys, since too much was sent under the old ones."""
    near, far = sealed_pair(Thresholds(volume=1_000))
    for _ in range(layers):
        far = Through(far)
    async with made(lambda: (near, far)):
        called: list[None] = []
        far.on_output(lambda: called.append(None))
        await near.send(bytes(2_000))
        assert await far.receive() == bytes(2_000)
        assert called
        assert far.has_output()
        await far.send_parts([])
        assert not far.has_output()


@every_stream
async def test_attributes_are_those_of_the_connection(make: Make) -> None:
    async with made(make) as (near, _):
        assert isinstance(near, ByteStream)
        over_sockets = make in (records_over_sockets, records_through_a_layer, plain_over_sockets)
        assert near.extra(SocketAttribute.family, None) == (socket.AF_UNIX if over_sockets else None)


# --- sessions over it -----------------------------------------------------------------------------------


@every_stream
async def test_a_session_takes_each_of_them(make: Make) -> None:
    async with made(make) as (near, far):
        client = Session(near, client_side=True, peer=Peer(None, "server", "memory"))
        server = Session(far, client_side=False, peer=Peer(None, "client", "memory"))
        async with server, client:
            async with await client.open("letters") as sender:
                incoming = await server.accept()
                for n in range(100):
                    await sender.send({"n": n, "body": bytes(1_000)})
                    assert (await incoming.end.receive())["n"] == n  # type: ignore[union-attr]
            assert client.suite == near.suite
            await client.aclose()
            assert isinstance(await server.wait_closed(), SessionClosed)


# --- words at the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (SessionClosed("why", "because"), ("why", "because")),
        (RemoteProtocolError("a frame of nothing"), ("protocol-error", "a frame of nothing")),
        (PeerTimeout("it was silent"), ("peer-timeout", "it was silent")),
        (LocalProtocolError("a defect of ours"), ("internal-error", "")),
        (ConnectionLost("it broke"), None),
        (None, None),
    ],
)
def test_what_is_said_at_the_end_follows_from_its_cause(
    cause: SessionError | None, words: tuple[str, str] | None
) -> None:
    assert farewell(cause) == words
