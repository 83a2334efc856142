"""Sessions by WebSocket: as any other, to who says how they are reached; and one line where that is not possible."""

import logging
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("websockets")

import chanlink
from chanlink import (
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    HandshakeError,
    Identity,
    KnownPeers,
    Limits,
    SessionClosed,
    Trust,
    WebSocket,
    WebSocketListener,
)
from chanlink.session.greeter import Greeter
from chanlink.transport.address import Address
from chanlink.transport.carried import Means
from chanlink.transport.dial import target_of
from chanlink.transport.reaching import connect_socket
from chanlink.transport.target import parse_remote
from tests.echo import ask, echo
from tests.patience import PATIENCE, until

from .tls import contexts

pytestmark = pytest.mark.anyio

ALICE, MALLORY, SERVER = (Identity.generate(name) for name in ("alice", "mallory", "server"))


@asynccontextmanager
async def listening(address: Any = "ws://127.0.0.1:0/chan", **options: Any) -> AsyncIterator[chanlink.Listener]:
    options.setdefault("services", {"echo": echo})
    async with chanlink.listen(address, identity=SERVER, trust=Trust.of(ALICE.public_key), **options) as listener:
        yield listener


def connect(address: Any, **options: Any) -> Any:
    return chanlink.connect(address, **{"identity": ALICE, "peer": SERVER.public_key} | options)


def tcp_of(listener: chanlink.Listener) -> str:
    """Where it listens, without WebSocket."""
    return listener.addresses[0].replace("ws://", "tcp://").removesuffix("/chan")


# --- sessions ---------------------------------------------------------------------------------------------


async def test_a_text_is_an_address_as_any_other(tmp_path: Path) -> None:
    known = tmp_path / "known_peers"
    async with listening() as listener:
        (address,) = listener.addresses
        known.write_text(f"{address} {SERVER.public_key}\n")
        async with connect(address, peer=None, trust=KnownPeers.load(known)) as session:
            assert await ask(session, "over the web") == "over the web"
            (other,) = listener.sessions
            assert other.peer.address.startswith("127.0.0.1:")
        why = await session.wait_closed()
        assert (type(why), why.code) == (SessionClosed, "")


async def test_over_tls_with_a_context_of_each_side() -> None:
    theirs = WebSocketListener("wss://localhost:0/chan", ssl=contexts().server)
    async with listening(theirs) as listener:
        port = listener.addresses[0].removesuffix("/chan").rpartition(":")[2]
        assert listener.addresses[0].startswith("wss://")
        url = f"wss://localhost:{port}/chan"
        async with connect(WebSocket(url, ssl=contexts().client)) as session:
            assert await ask(session) == "hello"
        with pytest.raises(ConnectFailed, match=f"^{url}: its TLS certificate is not trusted"):
            async with connect(url):
                pass


async def test_both_sides_may_say_much_at_the_same_time() -> None:
    data = bytes(range(256)) * 4_096
    async with listening(services=None) as listener, connect(listener.addresses[0]) as client:
        server = await listener.accept()
        near, far = await client.open_stream("both ways"), (await server.accept()).end

        async def send(stream: Any) -> None:
            await stream.send(data)
            await stream.send_eof()

        async def check(stream: Any) -> None:
            assert b"".join([part async for part in stream]) == data

        async with anyio.create_task_group() as tasks:
            for stream in near, far:
                tasks.start_soon(send, stream)
                tasks.start_soon(check, stream)


@pytest.mark.parametrize("side", ["client", "server"])
async def test_the_end_in_order_arrives_from_either_side(side: str) -> None:
    async with listening(services=None) as listener, connect(listener.addresses[0]) as client:
        server = await listener.accept()
        one, other = (client, server) if side == "client" else (server, client)
        sender = await one.open("last words")
        await sender.send("as late as can be")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.aclose)
            assert await (await other.accept()).end.receive() == "as late as can be"
        for session in client, server:
            why = await session.wait_closed()
            assert (type(why), why.code) == (SessionClosed, "")


async def test_an_end_without_the_close_record_is_a_lost_connection() -> None:
    async with listening(services=None) as listener, connect(listener.addresses[0]) as client:
        server = await listener.accept()
        client.abort()
        assert type(await server.wait_closed()) is ConnectionLost


async def test_a_session_is_resumed_over_another_websocket() -> None:
    async with listening() as listener, connect(listener.addresses[0], resume=PATIENCE) as session:
        assert await ask(session, 1) == 1
        session._below._connection._transport.close_now()  # type: ignore[attr-defined]
        assert await ask(session, 2) == 2


# --- what is said about it --------------------------------------------------------------------------------


def test_a_text_and_its_object_are_the_same_address() -> None:
    carrier = WebSocket("wss://Example.org:443/chan", headers={"Authorization": "Bearer of a secret"})
    assert str(carrier) == "wss://example.org/chan"
    assert repr(carrier) == "<WebSocket wss://example.org/chan>"
    for target in target_of(carrier), target_of("wss://example.org/chan"), parse_remote("wss://example.org/chan"):
        assert (type(target), str(target)) == (WebSocket, "wss://example.org/chan")
    assert repr(WebSocketListener("ws://127.0.0.1:80/x")) == "<WebSocketListener ws://127.0.0.1/x>"


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Bad name": "x"}, "can't be a header"),
        ({"X": "two\r\nLines: here"}, "can't be a header"),
        ({"X": "ü"}, "can't be a header"),
        ({"host": "elsewhere"}, "said by the upgrade itself"),
        ({"Sec-WebSocket-Protocol": "chat"}, "said by the upgrade itself"),
    ],
)
def test_a_header_that_would_be_another_request_is_refused(headers: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        WebSocket("ws://example.org/", headers=headers)


def test_tls_and_its_scheme_go_together() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for make in WebSocket, WebSocketListener:
        with pytest.raises(ConfigError, match="no TLS in ws://"):
            make("ws://example.org/", ssl=context)
    with pytest.raises(ConfigError, match="needs a certificate"):
        WebSocketListener("wss://example.org/")


def test_each_argument_has_its_type() -> None:
    for make, options in [
        (WebSocket, {"ssl": "yes"}),
        (WebSocket, {"headers": ["a"]}),
        (WebSocket, {"headers": {"a": 1}}),
        (WebSocketListener, {"ssl": "yes"}),
        (WebSocketListener, {"forwarded": "yes"}),
    ]:
        with pytest.raises(TypeError, match="must be"):
            make("ws://example.org/", **options)  # type: ignore[operator]


@pytest.mark.parametrize("address", ["ws://127.0.0.1:9/chan", "wss://127.0.0.1:9/chan"])
async def test_without_the_library_it_says_how_to_get_it(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "upgrade", "websocket", "websockets_library":
        monkeypatch.delitem(sys.modules, f"chanlink.transport.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "websockets.protocol", None)
    with pytest.raises(ConfigError, match=r"pip install 'chanlink\[ws\]'"):
        async with connect(address):
            pass
    with pytest.raises(ConfigError, match=r"pip install 'chanlink\[ws\]'"):
        async with listening():
            pass


async def test_how_tcp_is_made_says_whoever_connects() -> None:
    asked: list[Address] = []

    async def tcp(address: Address) -> Any:
        asked.append(address)
        return await connect_socket(Address("127.0.0.1", int(port)))

    async with listening() as listener:
        port = tcp_of(listener).rpartition(":")[2]
        stream = await WebSocket("ws://nowhere.invalid/chan").connect_with(Means(tcp))
        assert asked == [Address("nowhere.invalid", 80)]
        await stream.aclose()


# --- bad input --------------------------------------------------------------------------------------------


async def test_a_client_without_websocket_gets_no_session_and_a_good_one_does() -> None:
    async with listening() as listener:
        with pytest.raises(HandshakeError):
            async with connect(tcp_of(listener)):
                pass
        async with connect(listener.addresses[0]) as session:
            assert await ask(session) == "hello"


async def test_a_client_with_websocket_at_a_server_without() -> None:
    async with listening("tcp://127.0.0.1:0") as listener:
        address = listener.addresses[0].replace("tcp://", "ws://")
        with pytest.raises(ConnectFailed, match=f"^{address}/: "):
            async with connect(address):
                pass


async def test_another_path_is_not_found() -> None:
    async with listening() as listener:
        with pytest.raises(ConnectFailed, match="it answers 404 Not Found, since nothing is at this path"):
            async with connect(listener.addresses[0] + "nel"):
                pass


async def test_a_slow_upgrade_ends_with_the_time_for_a_handshake(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with listening(limits=Limits(handshake=0.2)) as listener:
        silent, slow = [
            await connect_socket(Address("127.0.0.1", int(tcp_of(listener).rpartition(":")[2]))) for _ in "ab"
        ]
        await slow.send(b"GET /chan HTTP/1.1\r\n")
        for stream in silent, slow:
            with anyio.fail_after(PATIENCE), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
            await stream.aclose()
        await until(lambda: sum("no handshake within" in one.getMessage() for one in caplog.records) == 2)


@pytest.mark.parametrize("forwarded", [False, True])
async def test_who_fails_behind_a_proxy_is_charged_where_the_proxy_is_believed(forwarded: bool) -> None:
    theirs = WebSocketListener("ws://127.0.0.1:0/chan", forwarded=forwarded)
    async with listening(theirs) as listener:
        greeter = listener._greeter
        assert isinstance(greeter, Greeter)
        stream = await WebSocket(listener.addresses[0], headers={"X-Forwarded-For": "203.0.113.9"}).connect()
        await stream.send(b"no handshake of ours, and long enough to be seen as such")
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)), anyio.fail_after(PATIENCE):
            while True:
                await stream.receive()
        await stream.aclose()
        await until(lambda: not len(greeter.admission))
        assert list(greeter.admission._suspects) == (["203.0.113.9"] if forwarded else [])


async def test_a_bad_certificate_or_a_server_without_tls_is_one_line() -> None:
    async with listening() as listener:
        url = listener.addresses[0].replace("ws://", "wss://")
        with pytest.raises(ConnectFailed, match=f"^{url}: .*TLS"):
            async with connect(WebSocket(url, ssl=contexts().client)):
                pass
