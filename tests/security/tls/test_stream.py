"""Records inside TLS: kinds, and that only the close record is an end (protocol section 18.4)."""

import anyio
import pytest

from chanlink import ConnectionLost, LocalProtocolError, RemoteProtocolError, SessionError
from chanlink.security.records import CLOSE, DATA, REKEY, RESUME, WELCOME, prefixed
from chanlink.security.rekey import ASK, SHOW, START
from chanlink.security.tls.stream import TlsStream
from tests.security.handshakes import authenticated, one_backend
from tests.security.wires import wires

from .peers import Pair

pytestmark = [pytest.mark.anyio, one_backend]


async def pair() -> tuple[TlsStream, TlsStream]:
    """Both ends, after the welcome."""
    client, server = map(authenticated, await Pair().handshake(*wires()))
    assert isinstance(client.stream, TlsStream)
    assert isinstance(server.stream, TlsStream)
    return client.stream, server.stream


async def send(stream: TlsStream, *records: bytes) -> None:
    """Records, one after the other, as they are."""
    await stream._transport.send(b"".join(map(prefixed, records)))


async def test_an_end_in_order_has_its_words() -> None:
    client, server = await pair()
    await client.send(b"all")
    await client.send_close("code", "text")
    assert await server.receive() == b"all"
    with pytest.raises(anyio.EndOfStream):
        await server.receive()
    assert server.peer_close == ("code", "text")
    await server.send(b"the other half goes on")
    assert await client.receive() == b"the other half goes on"


async def test_the_end_of_tls_alone_is_a_loss() -> None:
    client, server = await pair()
    await client.send(b"all")
    await client._transport.send_eof()  # close_notify, and the end below
    assert await server.receive() == b"all"
    with pytest.raises(ConnectionLost):
        await server.receive()


async def test_the_end_below_tls_is_a_loss() -> None:
    client, server = await pair()
    await client.send(b"all")
    await client._transport._below.aclose()
    assert await server.receive() == b"all"
    with pytest.raises(ConnectionLost):
        await server.receive()


async def test_a_part_of_a_record_is_a_loss() -> None:
    client, server = await pair()
    await client._transport.send(prefixed(b"\0whole") + prefixed(b"\0cut off")[:-1])
    await client._transport.send_eof()
    assert await server.receive() == b"whole"
    with pytest.raises(ConnectionLost):
        await server.receive()


async def test_the_end_before_the_welcome_is_no_welcome() -> None:
    client, _ = map(authenticated, await Pair().handshake(*wires()))
    stream = client.stream
    assert isinstance(stream, TlsStream)
    stream.expect_welcome(client.key)
    await stream._transport._below.aclose()
    with pytest.raises(SessionError, match="welcome"):
        await stream.receive_welcome()


BAD = {
    "of no kind": b"",
    "an unknown kind": b"\x09x",
    "counts": b"\x04" + bytes(8),
    "a return": bytes([RESUME]) + bytes(48),
    "another welcome": bytes([WELCOME]) + b"\x80",
    "new keys asked for": bytes([REKEY, ASK]),
    "new keys begun": bytes([REKEY, START]) + bytes(48),
    "a credential that is none": bytes([REKEY, SHOW]),
    "a close that is none": bytes([CLOSE]) + b"\x80",
}


@pytest.mark.parametrize("record", BAD.values(), ids=BAD)
async def test_other_records_end_it(record: bytes) -> None:
    for client, server in [await pair() for _ in range(2)]:
        for near, far in (client, server), (server, client):
            if near is server or not record:
                await send(near, b"\0before", record, b"\0behind")
                assert await far.receive() == b"before"
                with pytest.raises(RemoteProtocolError):
                    await far.receive()


async def test_too_many_records_with_nothing_in_them_end_it() -> None:
    client, server = await pair()
    await send(client, *[bytes([DATA])] * 1_000)
    with pytest.raises(RemoteProtocolError, match="empty"):
        await server.receive()


async def test_a_newer_credential_can_be_shown() -> None:
    client, server = await pair()
    seen: list[bytes] = []
    server.on_credential(seen.append)
    assert client._keys.may_show
    client.show_credential(b"credential")
    await client.send(b"x")
    assert await server.receive() == b"x"
    assert seen == [b"credential"]


async def test_it_has_no_secrets_and_renews_no_keys() -> None:
    client, _ = await pair()
    with pytest.raises(ValueError, match="TLS"):
        client.export("label", 32)
    assert client.epoch == 0
    assert not client.has_output()


async def test_a_body_that_is_too_long_is_refused() -> None:
    client, _server = await pair()
    with pytest.raises(LocalProtocolError):
        await client.send_record(DATA, bytes(65_519))


async def test_a_forked_child_has_lost_it() -> None:
    client, _ = await pair()
    client.forget()
    with pytest.raises(ConnectionLost, match="fork"):
        await client.send(b"x")
    with pytest.raises(ConnectionLost, match="fork"):
        await client.receive()


async def test_what_is_on_the_wire_is_counted() -> None:
    client, server = await pair()
    before = client.volume
    await client.send(bytes(10_000))
    assert client.volume - before > 10_000
    received = 0
    while received < 10_000:
        received += len(await server.receive())
    assert server.volume > 10_000
