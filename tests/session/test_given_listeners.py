"""`listen` over listeners that the program has made: TLS, in memory, sockets; and strangers who come to them."""

import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, Listener, SocketAttribute, TaskGroup
from anyio.streams.stapled import MultiListener
from anyio.streams.tls import TLSConnectable, TLSListener, TLSStream

import chanlink
from chanlink import ConnectFailed, HandshakeError, UntrustedPeer, WrongPeer
from chanlink.transport.base import as_transport, close_at_once
from tests.bench import certificates
from tests.patience import PATIENCE, until
from tests.security.wires import HELLO
from tests.session.endpoints import ALICE, BOB, EVERYBODY, SERVER, SERVICES, ask, connect, greeter_of, listen, serving

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server, and of clients that know it."""
    path: Path = tmp_path_factory.mktemp("tls") / "server.pem"
    pem = certificates.p256("localhost")
    certificates.write(path, pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cadata=pem.certificate.decode())


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


async def tls(contexts: Contexts, count: int = 1) -> TLSListener:
    below = [await anyio.create_tcp_listener(local_host="127.0.0.1") for _ in range(count)]
    return TLSListener(MultiListener(below), contexts[0])


def ports_of(listener: TLSListener) -> list[int]:
    below: Any = listener.listener
    # that of anyio may be one or several of its own
    parts = [part for one in below.listeners for part in getattr(one, "listeners", [one])]
    return [part.extra(SocketAttribute.local_port) for part in parts]


async def reach(port: int, contexts: Contexts) -> TLSStream:
    return await anyio.connect_tcp("127.0.0.1", port, ssl_context=contexts[1], tls_hostname="localhost")


class Rendezvous(Listener[Any]):
    """In memory: whoever calls `connect` gets one end of a byte pipe, and the handler the other."""

    def __init__(self) -> None:
        self._sender, self._receiver = anyio.create_memory_object_stream[ByteStream](100)

    async def connect(self) -> ByteStream:
        near, far = chanlink.byte_pipe()
        await self._sender.send(far)
        return near

    async def serve(self, handler: Callable[[Any], Any], task_group: TaskGroup | None = None) -> None:
        assert task_group is not None
        async for stream in self._receiver:
            task_group.start_soon(handler, stream)

    async def aclose(self) -> None:
        self._sender.close()
        self._receiver.close()


# --- sessions ---------------------------------------------------------------------------------------------


async def test_a_client_is_served_over_tls(contexts: Contexts) -> None:
    theirs = await tls(contexts, 2)
    ports = ports_of(theirs)
    async with serving(theirs) as listener:
        assert listener.addresses == []
        for port in ports:
            async with connect(await reach(port, contexts)) as session:
                answer = await ask(session)
                assert (answer["pong"], answer["you"]) == (7, "alice@laptop")
                assert answer["from"].startswith("127.0.0.1:")
                assert session.peer.address == "TLSStream"
            why = await session.wait_closed()
            assert (why.code, type(why)) == ("", chanlink.SessionClosed)
    for port in ports:
        with pytest.raises(OSError, match="connect"):
            await reach(port, contexts)


async def test_a_connectable_of_tls_leads_to_it(contexts: Contexts) -> None:
    theirs = await tls(contexts)
    below = anyio.as_connectable(("127.0.0.1", ports_of(theirs)[0]))
    over_tls = TLSConnectable(below, hostname="localhost", ssl_context=contexts[1])
    async with serving(theirs), connect(over_tls) as session:
        assert (await ask(session))["pong"] == 7
    with pytest.raises(ConnectFailed):
        async with connect(over_tls):
            pass


@pytest.mark.parametrize("side", ["client", "server"])
async def test_the_end_in_order_arrives_over_tls_which_cannot_end_one_half(contexts: Contexts, side: str) -> None:
    theirs = await tls(contexts)
    async with listen(theirs) as listener, connect(await reach(ports_of(theirs)[0], contexts)) as client:
        server = await listener.accept()
        sender = await (client if side == "client" else server).open("last words")
        await sender.send("as late as can be")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon((client if side == "client" else server).aclose)
            incoming = await (server if side == "client" else client).accept()
            assert await incoming.end.receive() == "as late as can be"
        for session in client, server:
            why = await session.wait_closed()
            assert (type(why), why.code) == (chanlink.SessionClosed, "")


async def test_megabytes_go_both_ways_over_tls(contexts: Contexts) -> None:
    theirs, data = await tls(contexts), bytes(range(256)) * 8_192
    async with listen(theirs) as listener, connect(await reach(ports_of(theirs)[0], contexts)) as client:
        server = await listener.accept()
        near = await client.open_stream("both ways")
        far = (await server.accept()).end

        async def send(stream: Any) -> None:
            await stream.send(data)
            await stream.send_eof()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, near)
            tasks.start_soon(send, far)
            for stream in near, far:
                got = bytearray()
                async for piece in stream:
                    got += piece
                assert bytes(got) == data


async def test_listeners_of_sockets_have_addresses_that_connect_takes(tmp_path: Path) -> None:
    for theirs in (
        await anyio.create_tcp_listener(local_host="127.0.0.1"),
        await anyio.create_unix_listener(tmp_path / "s"),
    ):
        async with serving(theirs) as listener, connect(listener.addresses[0]) as session:
            assert (await ask(session))["pong"] == 7


async def test_a_listener_need_not_be_one_of_sockets() -> None:
    theirs = Rendezvous()
    async with serving(theirs), connect(await theirs.connect()) as session:
        answer = await ask(session)
        assert (answer["pong"], answer["from"]) == (7, "ByteStream")


async def test_serve_takes_one_too(contexts: Contexts) -> None:
    theirs = await tls(contexts)
    port = ports_of(theirs)[0]
    async with anyio.create_task_group() as tasks:
        listener = await tasks.start(partial(chanlink.serve, SERVICES, theirs, identity=SERVER, trust=EVERYBODY))
        assert listener.addresses == []
        async with connect(await reach(port, contexts)) as session:
            assert (await ask(session))["pong"] == 7
        tasks.cancel_scope.cancel()


async def test_a_listener_of_the_programs_drains_as_ours_does(contexts: Contexts) -> None:
    theirs = await tls(contexts)
    port = ports_of(theirs)[0]
    async with serving(theirs) as listener, connect(await reach(port, contexts)) as session:
        assert (await ask(session))["pong"] == 7
        with anyio.fail_after(PATIENCE):
            await listener.drain(5)
        with pytest.raises(OSError, match="connect"):
            await reach(port, contexts)
        assert (await session.wait_closed()).code == ""


async def test_what_is_no_listener_of_byte_streams_is_said_at_once() -> None:
    for wrong in (7, None, object()):
        with pytest.raises(TypeError, match=r"address must be str or anyio.abc.Listener\[ByteStream\], not"):
            async with listen(wrong):  # type: ignore[arg-type]
                pass
    async with listen() as ours:
        with pytest.raises(TypeError, match="not Listener"):
            async with listen(ours):  # type: ignore[arg-type]
                pass


async def test_a_listener_that_fails_ends_the_block() -> None:
    class Broken(Rendezvous):
        async def serve(self, handler: Callable[[Any], Any], task_group: TaskGroup | None = None) -> None:
            raise LookupError("a defect of the program's")

    with pytest.raises(BaseExceptionGroup) as caught:
        async with listen(Broken()):
            await anyio.sleep(PATIENCE)
    assert caught.value.split(LookupError)[1] is None


async def test_it_is_closed_with_ours() -> None:
    theirs = Rendezvous()
    async with serving(theirs):
        pass
    with pytest.raises(anyio.ClosedResourceError):
        await theirs.connect()


# --- strangers --------------------------------------------------------------------------------------------


@asynccontextmanager
async def over_tls(contexts: Contexts, **limits: Any) -> AsyncIterator[tuple[Any, int]]:
    theirs = await tls(contexts)
    (port,) = ports_of(theirs)
    async with serving(theirs, limits=chanlink.Limits(**limits)) as listener:
        yield listener, port


async def closed(stream: ByteStream) -> None:
    with anyio.fail_after(PATIENCE), suppress(anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError):
        while True:
            await stream.receive()


async def test_who_is_slow_in_either_handshake_is_closed_at_the_end_of_its_time(
    contexts: Contexts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chanlink")
    async with over_tls(contexts, handshake=1) as (listener, port), AsyncExitStack() as stack:
        silent = await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", port))
        half = await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", port))
        await half.send(bytes.fromhex("16030100f8010000f40303"))  # the beginning of a hello of TLS
        inside = [await reach(port, contexts) for _ in range(2)]
        await inside[1].send(HELLO[:12])
        await until(lambda: len(greeter_of(listener).admission) == 4)
        async with connect(await reach(port, contexts)) as session:
            assert (await ask(session))["pong"] == 7
        for stream in (silent, half, *inside):
            await closed(stream)
            await close_at_once(as_transport(stream))
        await until(lambda: not greeter_of(listener).admission)
    assert caplog.text.count("no handshake within 1 s") == 4
    assert caplog.text.count("127.0.0.1:") >= 4


async def test_a_good_client_is_served_while_silent_strangers_fill_the_room(contexts: Contexts) -> None:
    async with (
        over_tls(contexts, unauthenticated=10, handshake=600) as (listener, port),
        AsyncExitStack() as stack,
    ):
        for _ in range(50):
            await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", port))
        await until(lambda: len(greeter_of(listener).admission) == 10)
        for _ in range(3):
            with anyio.fail_after(PATIENCE):
                async with connect(await reach(port, contexts)) as session:
                    assert (await ask(session))["pong"] == 7
        assert len(greeter_of(listener).admission) <= 10


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", bytes(1_000), HELLO], ids=["http", "zeros", "ours"])
async def test_who_does_not_speak_tls_is_closed_and_others_are_served(
    contexts: Contexts, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chanlink")
    async with over_tls(contexts, handshake=600) as (listener, port):
        async with await anyio.connect_tcp("127.0.0.1", port) as stranger:
            await stranger.send(said)
            await closed(stranger)
        await until(lambda: not greeter_of(listener).admission)
        with pytest.raises(HandshakeError):
            async with chanlink.connect(f"tcp://127.0.0.1:{port}", identity=ALICE, peer=SERVER.public_key):
                pass
        line = "its listener is done with it, and has handed over no byte stream"
        await until(lambda: caplog.text.count(line) == 2)
        async with connect(await reach(port, contexts)) as session:
            assert (await ask(session))["pong"] == 7


async def test_a_connection_that_breaks_in_the_middle_of_tls_is_one_that_is_lost(contexts: Contexts) -> None:
    theirs = await tls(contexts)
    async with listen(theirs) as listener:
        stream = await reach(ports_of(theirs)[0], contexts)
        async with connect(stream) as client:
            server = await listener.accept()
            await stream.transport_stream.send(bytes(100))  # what is no record of TLS
            with anyio.fail_after(PATIENCE):
                assert isinstance(await server.wait_closed(), chanlink.ConnectionLost)
                await client.wait_closed()


async def test_keys_decide_over_tls_as_everywhere(contexts: Contexts) -> None:
    async with over_tls(contexts) as (_, port):
        with pytest.raises(UntrustedPeer):
            async with connect(await reach(port, contexts), identity=chanlink.Identity.generate()):
                pass
        with pytest.raises(WrongPeer):
            async with connect(await reach(port, contexts), peer=BOB.public_key):
                pass


async def test_a_listener_that_fails_with_one_connection_serves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Rendezvous):
        failed = 0

        async def serve(self, handler: Callable[[Any], Any], task_group: TaskGroup | None = None) -> None:
            async def fail_first(stream: ByteStream) -> None:
                if not self.failed:
                    self.failed += 1
                    await stream.aclose()
                    raise LookupError("a defect of the program's")
                await handler(stream)

            await super().serve(fail_first, task_group)

    theirs = Failing()
    async with serving(theirs) as listener:
        first = await theirs.connect()
        await closed(first)
        await first.aclose()
        async with connect(await theirs.connect()) as session:
            assert (await ask(session))["pong"] == 7
        assert "a defect of the program's" in caplog.text
        await until(lambda: not greeter_of(listener).admission)


async def test_one_that_hands_over_in_another_task_is_bounded_in_time_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "chanlink")

    class Aside(Rendezvous):
        async def serve(self, handler: Callable[[Any], Any], task_group: TaskGroup | None = None) -> None:
            async with anyio.create_task_group() as tasks:

                async def hand_over(stream: ByteStream) -> None:
                    tasks.start_soon(handler, stream)

                await super().serve(hand_over, task_group)

    theirs = Aside()
    async with serving(theirs, limits=chanlink.Limits(handshake=1.0)) as listener:
        stream = await theirs.connect()
        await closed(stream)  # which says nothing
        await stream.aclose()
        async with connect(await theirs.connect()) as session:
            assert (await ask(session))["pong"] == 7
        await until(lambda: not greeter_of(listener).admission)
    assert caplog.text.count("no handshake within 1 s") == 1


async def test_one_that_calls_for_each_stream_in_one_task_is_bounded_in_time_all_the_same() -> None:
    class Serial(Rendezvous):
        async def serve(self, handler: Callable[[Any], Any], task_group: TaskGroup | None = None) -> None:
            async for stream in self._receiver:
                await handler(stream)

    theirs = Serial()
    async with serving(theirs, limits=chanlink.Limits(handshake=1.0)) as listener:
        for _ in range(2):
            stream = await theirs.connect()
            await closed(stream)  # which says nothing
            await stream.aclose()
        async with connect(await theirs.connect()) as session:
            assert (await ask(session))["pong"] == 7
        await until(lambda: not greeter_of(listener).admission)
