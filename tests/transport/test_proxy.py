"""Proxies of any kind: those that are not there, those that are asked again, and how they are written."""

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from chanlink import AddressError, ConnectFailed
from chanlink.transport.address import Address
from chanlink.transport.carried import Means
from chanlink.transport.dial import Dial
from chanlink.transport.proxy import parse_proxy
from tests.patience import PATIENCE

from .proxies import THERE, YES

pytestmark = pytest.mark.anyio


async def test_a_proxy_that_is_not_there_is_not_the_server(closed_port: int) -> None:
    one = parse_proxy(f"socks5://127.0.0.1:{closed_port}")
    with pytest.raises(ConnectFailed, match=r"^tcp://host.example:9323 by socks5://.*: the proxy can't be reached \("):
        await Dial(str(THERE), means=Means(tcp=one.connect, by=str(one))).reach(wait=PATIENCE)


async def test_whoever_waits_for_a_server_asks_again() -> None:
    answers = iter([b"\x05\x05\x00\x01", YES])

    async def serve(client: SocketStream) -> None:
        async with client:
            await client.receive()
            await client.send(b"\x05\x00")
            await client.receive()
            await client.send(next(answers))
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await client.receive()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        one = parse_proxy(f"socks5://127.0.0.1:{listener.extra(SocketAttribute.local_port)}")
        with anyio.fail_after(PATIENCE):
            transport = await Dial(str(THERE), means=Means(tcp=one.connect)).reach(wait=PATIENCE)
        await transport.aclose()
        tasks.cancel_scope.cancel()


async def test_an_address_of_one_link_is_none_for_a_proxy() -> None:
    with pytest.raises(ConnectFailed, match="good on one link"):
        await parse_proxy("socks5://127.0.0.1").connect(Address("fe80::1%lo", 1))


def test_it_is_read_and_its_password_is_in_no_text() -> None:
    one = parse_proxy("http://me:se%40cret@proxy.example:3128/")
    assert one == ("http", Address("proxy.example", 3128), "me", "se@cret")
    assert str(one) == "http://proxy.example:3128"
    assert repr(one) == "Proxy('http://proxy.example:3128')"
    assert "cret" not in f"{one} {one!r}"
    assert parse_proxy("socks5://proxy.example").address.port == 1080
    assert parse_proxy("http://[::1]").address == Address("::1", 8080)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "host:1",
            "socks4://h:1",
            "https://h:1",
            "socks5://",
            "http://h:x",
            "http://h/secret",
            "http://:secret@h",
        ),
        *(
            "http://a:secret@:1",
            f"socks5://{'secret' * 50}@h",
            "http://[::1",
            "http://a:%ff@h",
            "socks5://a%3asecret@h",
        ),
    ],
)
def test_what_is_none_is_said_without_the_password(text: str) -> None:
    with pytest.raises(AddressError, match="write socks5://") as caught:
        parse_proxy(text)
    assert "secret" not in str(caught.value)
