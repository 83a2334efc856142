"""Addresses of TLS: sessions through the tunnel, and how they are written."""

import logging
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

import chanlink
from chanlink import AddressError, ConnectFailed, KnownPeers, Tls, TlsListener
from chanlink.transport.address import Address
from chanlink.transport.base import Transport
from chanlink.transport.carried import Means
from chanlink.transport.reaching import connect_socket
from chanlink.transport.target import parse_remote, parse_target
from tests.patience import PATIENCE, until
from tests.session.endpoints import ALICE, EVERYBODY, SERVER, SERVICES, ask

from .tls import contexts

pytestmark = pytest.mark.anyio


@pytest.fixture
async def listener() -> AsyncIterator[Any]:
    where = TlsListener("tls://127.0.0.1:0", contexts().server)
    with anyio.fail_after(PATIENCE):
        async with chanlink.listen(where, identity=SERVER, trust=EVERYBODY, services=SERVICES) as listener:
            yield listener


def port_of(listener: Any) -> int:
    scheme, _, port = listener.addresses[0].rpartition(":")
    assert scheme == "tls://127.0.0.1"
    return int(port)


def of(listener: Any, context: ssl.SSLContext | None = None) -> Tls:
    return Tls("localhost", port_of(listener), ssl_context=context or contexts().client)


async def test_a_session_goes_through_the_tunnel_and_knows_where_it_comes_from(listener: Any) -> None:
    async with chanlink.connect(of(listener), identity=ALICE, peer=SERVER.public_key) as session:
        answer = await ask(session)
        assert (answer["pong"], answer["you"]) == (7, ALICE.public_key.comment)
        assert answer["from"].startswith("127.0.0.1:")
        assert session.peer.address == f"tls://localhost:{port_of(listener)}"
    assert (await session.wait_closed()).code == ""


class Kept(Tls):
    """Keeps what it has connected."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.streams: list[Transport] = []

    async def connect_with(self, means: Means) -> Transport:
        self.streams.append(await super().connect_with(means))
        return self.streams[-1]


async def test_a_session_comes_back_through_the_tunnel(listener: Any) -> None:
    way = Kept("localhost", port_of(listener), ssl_context=contexts().client)
    async with chanlink.connect(way, identity=ALICE, peer=SERVER.public_key, resume=PATIENCE) as session:
        assert (await ask(session))["pong"] == 7
        way.streams[0].extra(SocketAttribute.raw_socket).shutdown(socket.SHUT_RDWR)
        await until(lambda: len(way.streams) == 2)
        assert (await ask(session))["pong"] == 7


async def test_the_text_is_the_address_and_the_name_among_known_peers(
    listener: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "authority.pem").write_text(contexts().certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    address = f"tls://localhost:{port_of(listener)}"
    (tmp_path / "known_peers").write_text(f"{address} {SERVER.public_key}\n")
    known = KnownPeers.load(tmp_path / "known_peers")
    async with chanlink.connect(address, identity=ALICE, trust=known) as session:
        assert (await ask(session))["pong"] == 7


async def test_a_certificate_that_is_not_trusted_is_a_line(listener: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(ConnectFailed, match=r"^tls://localhost:\d+: its TLS certificate is not trusted .*ssl_context"):
        async with chanlink.connect(of(listener, ssl.create_default_context()), identity=ALICE, peer=SERVER.public_key):
            pass
    await until(lambda: "it refused the handshake of TLS" in caplog.text)
    async with chanlink.connect(of(listener), identity=ALICE, peer=SERVER.public_key) as session:
        assert (await ask(session))["pong"] == 7  # others are served


async def test_who_says_something_else_is_closed(listener: Any) -> None:
    with socket.create_connection(("127.0.0.1", port_of(listener))) as sock:
        sock.setblocking(False)
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        stream = await anyio.abc.SocketStream.from_socket(sock)
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            while True:
                await stream.receive()  # an alert of TLS, and the end
        await stream.aclose()


async def test_the_means_of_whoever_connects_are_used(listener: Any) -> None:
    asked: list[Address] = []

    async def tcp(address: Address) -> Any:
        asked.append(address)
        return await connect_socket(address)

    stream = await of(listener).connect_with(Means(tcp=tcp))
    await stream.aclose()
    assert asked == [Address("localhost", port_of(listener))]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("tls://host.example", "tls://host.example:443"),
        ("tls://host.example:9", "tls://host.example:9"),
        ("tls://[2001:db8::1]", "tls://[2001:db8::1]:443"),
    ],
)
def test_it_is_always_written_in_the_same_way(text: str, written: str) -> None:
    target = parse_target(text)
    assert isinstance(target, Tls)
    assert str(target) == written == str(parse_remote(written))
    assert repr(target) == f"Tls({written!r})"


@pytest.mark.parametrize("text", ["tls://", "tls:host", "tls://a b", "tls://a:70000", "tls://a/path", "tls://u@h"])
def test_what_is_none_is_said(text: str) -> None:
    with pytest.raises(AddressError, match=r"write tls://host:port"):
        parse_target(text)


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a:b:zz"])
def test_a_host_is_one(host: str) -> None:
    with pytest.raises(AddressError):
        Tls(host)


def test_one_listens_on_an_address_of_tls() -> None:
    with pytest.raises(AddressError, match="tls://"):
        TlsListener("tcp://127.0.0.1:0", contexts().server)
