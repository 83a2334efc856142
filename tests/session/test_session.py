"""Sessions: opening, accepting, services, closing, and what becomes of tasks that wait when a session dies."""

import asyncio
import contextlib
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import (
    ByteStream,
    ChannelFailed,
    ChannelRefused,
    ConnectionLost,
    LimitReached,
    Limits,
    PeerTimeout,
    Receiver,
    Session,
    SessionClosed,
    SessionLost,
)
from chanlink.testing import session_over
from chanlink.wire.opening import Opening
from tests.channels.pairs import PEER, session_pair, settle
from tests.echo import ask, echo
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio


# --- opening and accepting ------------------------------------------------------------------------------


async def test_either_side_opens_channels_and_byte_streams() -> None:
    async with session_pair() as (client, server):
        for one, other in [(client, server), (server, client)]:
            sender = await one.open("messages")
            await sender.send("hello")
            service, end, peer = await other.accept()
            assert (service, peer) == ("messages", PEER)
            assert await end.receive() == "hello"
            stream = await one.open_stream("bytes")
            await stream.send(b"hello")
            service, end, _ = await other.accept()
            assert service == "bytes"
            assert await end.receive() == b"hello"


async def test_opening_takes_no_round_trip() -> None:
    async with session_pair() as (client, server):
        sender = await client.open("service")
        sender.send_nowait("in the same turn")
        assert await (await server.accept()).end.receive() == "in the same turn"


async def test_iterating_a_session_ends_when_it_is_closed() -> None:
    async with session_pair() as (client, server):
        for n in range(3):
            await client.open(f"service-{n}")
        await client.aclose()
        assert [incoming.service async for incoming in server] == ["service-0", "service-1", "service-2"]


async def test_a_cancelled_accept_loses_no_channel() -> None:
    async with session_pair() as (client, server):
        for _ in range(20):
            scope = anyio.CancelScope()
            accepted: list[chanlink.Incoming] = []

            async def accept(scope: anyio.CancelScope, accepted: list[chanlink.Incoming]) -> None:
                with scope:
                    accepted.append(await server.accept())

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(accept, scope, accepted)
                await settle()
                sender = await client.open("service")
                scope.cancel()
            end = (accepted or [await server.accept()])[0].end
            await sender.send(1)
            assert await end.receive() == 1


async def test_unaccepted_channels_are_bounded_and_the_rest_refused_busy() -> None:
    async with session_pair(Limits(unaccepted=3)) as (client, server):
        senders = [await client.open("service") for _ in range(4)]
        reason = await senders[3].wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "busy"
        assert server.statistics().unaccepted == 3


async def test_an_unaccepted_channel_does_not_block_others() -> None:
    async with session_pair(services={"echo": echo}) as (client, server):
        waiting = await server.open("nobody accepts this")
        await waiting.send("x")
        assert await ask(client, 1) == 1


async def test_too_many_channels_raise_and_there_is_room_again_after_closing() -> None:
    async with session_pair(Limits(open_channels=2)) as (client, server):
        senders = [await client.open("service") for _ in range(2)]
        with pytest.raises(LimitReached) as caught:
            await client.open("service")
        assert caught.value.limit == "open_channels"
        senders[0].close()
        (await server.accept()).end.close()
        await settle()
        await client.open("service")


async def test_names_of_services_are_checked_before_anything_is_sent() -> None:
    async with session_pair() as (client, _server):
        for name in ("", "x" * 256):
            with pytest.raises(ValueError, match="name of a service"):
                await client.open(name)


async def test_a_capacity_below_zero_is_refused_here_and_not_by_the_peer() -> None:
    async with session_pair() as (client, server):
        with pytest.raises(ValueError, match="capacity"):
            await client.open("service", capacity=-1)
        await client.ping()
        assert not server.closed


# --- the end --------------------------------------------------------------------------------------------


async def test_ping_measures_a_round_trip() -> None:
    async with session_pair() as (client, server):
        assert 0 < await client.ping() < 10
        assert 0 < await server.ping() < 10


async def test_everybody_who_waits_returns_when_the_connection_breaks() -> None:
    async with session_pair() as (client, server):
        sender = await client.open("service", capacity=1)
        receiver = (await server.accept()).end
        back, here = chanlink.pipe()
        await sender.send(back)
        full = await client.open("full", capacity=1)
        await full.send(1)
        stream = await client.open_stream("bytes")
        outcomes: list[str] = []

        async def wait(name: str, call: Any) -> None:
            try:
                outcome = await call
            except (SessionLost, SessionClosed, ConnectionLost) as exc:
                outcome = exc
            assert isinstance(outcome, SessionLost | SessionClosed | ConnectionLost)
            outcomes.append(name)

        waits = {
            "receive": here.receive(),
            "send": full.send(2),
            "flush": sender.flush(),
            "wait_closed": sender.wait_closed(),
            "accept": client.accept(),
            "byte stream": stream.receive(),
            "session": client.wait_closed(),
        }
        async with anyio.create_task_group() as tasks:
            for name, call in waits.items():
                tasks.start_soon(wait, name, call)
            await settle()
            assert outcomes == []
            await client._below.aclose()
        assert sorted(outcomes) == sorted(waits)
        assert isinstance(receiver, Receiver)


async def test_the_death_of_the_session_does_not_cancel_the_block() -> None:
    async with session_pair() as (client, server):
        server.abort()
        assert isinstance(await client.wait_closed(), SessionClosed | ConnectionLost)
        await anyio.sleep(0)  # a cancelled block could not do this


async def test_an_exception_leaves_the_block_unwrapped_and_fails_the_channels() -> None:
    async with session_pair() as (other, server):
        here, there = chanlink.byte_pipe()
        received: list[Exception] = []

        async def accept() -> None:
            async with session_over(there, client_side=False, peer=PEER) as session:
                receiver = (await session.accept()).end
                assert await receiver.receive() == "before"
                try:
                    await receiver.receive()
                except ChannelFailed as exc:
                    received.append(exc)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept)
            with pytest.raises(LookupError):
                async with session_over(here, client_side=True, peer=PEER) as session:
                    sender = await session.open("service")
                    await sender.send("before")
                    raise LookupError("internal details")
        assert [(exc.code, exc.text) for exc in received] == [("lookup-error", "")]  # type: ignore[attr-defined]
        assert other.statistics().channels == server.statistics().channels == 0


async def test_a_cancelled_block_fails_its_channels_as_cancelled() -> None:
    here, there = chanlink.byte_pipe()
    codes: list[str] = []

    async def accept() -> None:
        async with session_over(there, client_side=False, peer=PEER) as session:
            receiver = (await session.accept()).end
            try:
                await receiver.receive()
            except ChannelFailed as exc:
                codes.append(exc.code)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept)
        with anyio.CancelScope() as scope:
            async with session_over(here, client_side=True, peer=PEER) as session:
                sender = await session.open("service")
                scope.cancel()
                await sender.wait_closed()
        assert scope.cancelled_caught
    assert codes == ["cancelled"]


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})])
async def test_a_cancellation_while_the_block_is_left_also_ends_services_as_asyncio_does_it() -> None:
    here, there = chanlink.byte_pipe()
    serving = anyio.Event()
    ended: list[str] = []

    async def stubborn(receiver: Receiver[Any], peer: chanlink.Peer) -> None:
        serving.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    async def leave(other: Session) -> None:
        async with session_over(here, client_side=True, peer=PEER, services={"stubborn": stubborn}, limits=long):
            sender = await other.open("stubborn")
            await serving.wait()
            sender.close()
            asyncio.get_running_loop().call_soon(leaving.cancel)

    long = Limits(close=10 * PATIENCE)
    async with session_over(there, client_side=False, peer=PEER) as other:
        leaving = asyncio.ensure_future(leave(other))
        with pytest.raises(asyncio.CancelledError), anyio.fail_after(PATIENCE):
            await leaving
    assert ended == ["cancelled"]


async def test_closing_delivers_what_was_accepted_though_the_reader_is_slow() -> None:
    async with session_pair() as (client, server):
        sender = await client.open("service")
        for n in range(20):
            await sender.send(n)
        receiver = (await server.accept()).end
        big = bytes(100_000)
        await sender.send(big)  # more than the window: it needs a reader before it has left
        sender.close()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.aclose)
            assert [message async for message in receiver] == [*range(20), big]
        assert isinstance(await server.wait_closed(), SessionClosed)


async def test_closing_gives_up_after_its_time_and_truncates_nothing_silently() -> None:
    async with session_pair(Limits(close=0.1)) as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        await sender.send(bytes(15_000))
        await sender.send(bytes(100_000))  # needs credit that comes when it is the first, but nobody takes
        sender.close()
        await client.aclose()
        assert len(await receiver.receive()) == 15_000
        with pytest.raises(SessionLost):
            await receiver.receive()


async def test_a_closing_session_takes_no_new_channels() -> None:
    async with session_pair() as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        await sender.send(bytes(100_000))  # keeps the closing waiting
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.aclose)
            await settle()
            with pytest.raises(SessionClosed):
                await client.open("late")
            with pytest.raises(SessionClosed):
                await server.open("late")
            await receiver.receive()
            receiver.close()


@pytest.mark.slow
async def test_a_silent_peer_is_given_up() -> None:
    here, _there = chanlink.byte_pipe()
    limits = Limits(keepalive=0.05, peer_timeout=0.2)
    async with session_over(here, client_side=True, peer=PEER, limits=limits) as session:
        assert isinstance(await session.wait_closed(), PeerTimeout)


async def test_an_idle_session_lives_on_by_its_keepalive() -> None:
    """Each side hears of the other again and again, though nobody says anything."""
    async with session_pair(Limits(keepalive=0.05), services={"echo": echo}) as (client, server):
        for session in (client, server, client, server):
            heard = session._driver.liveness.heard
            with anyio.fail_after(PATIENCE):
                while session._driver.liveness.heard == heard:
                    await anyio.sleep(0.01)
        assert await ask(client, 1) == 1


async def test_a_chain_of_nested_streams_ends_without_recursion() -> None:
    async with session_pair() as (client, server):
        top = await client.open("service")
        await server.accept()
        parent = top._send_core.outlet.stream.id
        for _ in range(3_000):
            parent = client._mux.open(Opening("receiver", parent=parent)).id
        top.close()
        await settle()
        again = await client.open("again")
        await again.send(1)
        assert await (await server.accept()).end.receive() == 1


class BrokenBelow(ByteStream):
    """A byte stream below a session that raises what none should."""

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        raise OSError("unforeseen")


async def test_a_byte_stream_below_that_raises_something_else_ends_the_session_in_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    here, _there = chanlink.byte_pipe()
    broken = BrokenBelow(here._send_core, here._receive_core)
    async with session_over(broken, client_side=True, peer=PEER) as session:
        assert isinstance(await session.wait_closed(), ConnectionLost)
    assert "unforeseen" in caplog.text


async def test_a_byte_stream_below_that_raises_something_else_when_the_session_ends_is_no_matter_of_the_block() -> None:
    here, _there = chanlink.byte_pipe()

    class BrokenLater(ByteStream):
        async def receive(self, max_bytes: int = 65_536) -> bytes:
            try:
                return await super().receive(max_bytes)
            except BaseException as exc:
                raise OSError("unforeseen") from exc

    async with session_over(BrokenLater(here._send_core, here._receive_core), client_side=True, peer=PEER) as session:
        await anyio.wait_all_tasks_blocked()
        session.abort()
        assert (await session.wait_closed()).args == SessionClosed("aborted").args


async def test_a_session_may_be_aborted_by_who_is_asked_what_the_peer_may_use() -> None:
    asked: list[str] = []

    def allows(service: str) -> bool:
        asked.append(service)
        server.abort()
        return True

    async with session_pair(allows=allows) as (client, server):
        for n in range(3):
            sender = await client.open(f"service-{n}")
            sender.send_nowait("in the same record")
        assert (await server.wait_closed()).args == SessionClosed("aborted").args
    assert asked == ["service-0"]


async def test_closing_loses_nothing_that_was_accepted_though_a_task_keeps_sending() -> None:
    async with session_pair(Limits(close=PATIENCE)) as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        accepted, received = 0, 0

        async def send() -> None:
            nonlocal accepted
            try:
                while True:
                    await sender.send(accepted)
                    accepted += 1
                    await settle()  # so that everything leaves now and then
            except SessionLost:
                pass

        async def receive() -> None:
            nonlocal received
            with pytest.raises(SessionLost):
                while True:
                    assert await receiver.receive() == received
                    received += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            tasks.start_soon(receive)
            await settle()
            await client.aclose()
        assert accepted == received > 0


async def test_a_peer_that_breaks_the_protocol_ends_the_session_and_nothing_else() -> None:
    here, there = chanlink.byte_pipe()
    async with session_over(here, client_side=False, peer=PEER) as session:
        await there.send(b"GET / HTTP/1.1\r\n\r\n")
        assert isinstance(await session.wait_closed(), chanlink.RemoteProtocolError)


async def test_a_message_whose_table_lies_fails_its_channel_and_the_session_goes_on() -> None:
    async with session_pair() as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        # A table that names a stream which nobody opened: kind 1, stream 99.
        sender._send_core.outlet.stream.outgoing.write(
            b"\x80\x00\x00\x0a" + b"\x01\x01\x00\x00\x00\x63" + b"\xc7\x01\x01\x00"
        )
        with pytest.raises(chanlink.DecodeError):
            await receiver.receive()
        with pytest.raises(ChannelFailed):
            await receiver.receive()
        reason = await sender.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "bad-message"
        again = await client.open("again")
        await again.send(1)
        assert await (await server.accept()).end.receive() == 1


async def test_a_message_over_the_limit_fails_its_channel_and_the_session_goes_on() -> None:
    async with session_pair(Limits(message_size=1_000)) as (client, server):
        sender = await client.open("service")
        receiver = (await server.accept()).end
        sender._send_core.outlet.stream.outgoing.write((1_001).to_bytes(4, "big") + bytes(10))
        with pytest.raises(ChannelFailed) as caught:
            await receiver.receive()
        assert caught.value.code == "too-large"
        again = await client.open("again")
        await again.send(1)
        assert await (await server.accept()).end.receive() == 1


async def test_two_sides_that_close_at_once_both_deliver() -> None:
    here, there = chanlink.byte_pipe()
    got: dict[str, list[int]] = {"client": [], "server": []}
    sent: dict[str, int] = {}

    async def run(name: str, stream: chanlink.ByteStream, open_now: anyio.Event) -> None:
        async with (
            anyio.create_task_group() as tasks,
            session_over(stream, client_side=name == "client", peer=PEER) as session,
        ):
            sender = await session.open("numbers")
            incoming = await session.accept()

            async def read() -> None:
                with contextlib.suppress(SessionLost):
                    async for item in incoming.end:
                        got[name].append(item["n"])
                        await checkpoint()

            count = 0
            with contextlib.suppress(anyio.WouldBlock):
                while True:  # more than leaves before the other side reads
                    sender.send_nowait({"n": count, "padding": bytes(500)})
                    count += 1
            sent[name] = count
            await settle()
            tasks.start_soon(read)
            await open_now.wait()

    async with anyio.create_task_group() as tasks:
        both = anyio.Event()
        tasks.start_soon(run, "client", here, both)
        tasks.start_soon(run, "server", there, both)
        while len(sent) < 2:
            await checkpoint()
        both.set()
    assert got["client"] == list(range(sent["server"]))
    assert got["server"] == list(range(sent["client"]))


async def test_what_has_arrived_outlives_a_session_that_is_left_by_an_exception() -> None:
    receivers: list[chanlink.Receiver[Any]] = []
    with pytest.raises(ZeroDivisionError):
        async with session_pair() as (client, server):
            sender = await server.open("service")
            receivers.append((await client.accept()).end)
            await sender.send("arrived")
            await settle()
            raise ZeroDivisionError
    assert await receivers[0].receive() == "arrived"
    with pytest.raises(SessionLost):
        await receivers[0].receive()
    with pytest.raises(ChannelRefused) as caught:
        await sender.send("too late")
    assert caught.value.code == "zero-division-error"


async def test_a_session_says_with_whom_it_is_and_its_state_in_one_line() -> None:
    async with session_pair() as (client, server):
        server.peer.name, server.peer.address = "al\nice", "127.0.0.1:5"
        sender = await client.open("orders")
        incoming = await server.accept()
        assert repr(server) == "<Session with 'al\\nice' at '127.0.0.1:5': open, channels 1>"
        sender.close()
        incoming.end.close()
        client.abort()
        await server.wait_closed()
    assert repr(client) == "<Session with 'the other side' at 'memory': closed (SessionClosed: aborted), channels 0>"
    assert repr(server).startswith("<Session with 'al\\nice' at '127.0.0.1:5': closed (")


async def test_what_is_shared_is_one_channel_for_each_service_and_another_one_when_it_is_over() -> None:
    async with session_pair() as (client, server):
        shared = client._shared("a")
        assert client._shared("a") is shared
        assert client._shared("b") is not shared
        (await server.accept()).end.refuse("busy")
        await shared.wait_closed()
        another = client._shared("a")
        assert another is not shared
        await another.send(1)
        ends = [(await server.accept()).end for _ in range(2)]
        assert await ends[1].receive() == 1
        server.drain()
        await settle()
        assert client._shared("a") is another  # it goes on
        another.close()
        with pytest.raises(ChannelRefused):
            client._shared("a")
