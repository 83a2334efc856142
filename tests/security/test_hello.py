"""How a handshake begins (protocol section 1), and the bytes of its messages."""

import anyio
import pytest

from chanlink import HandshakeError
from chanlink.security.early.prekey import Prekey
from chanlink.security.hello import (
    MAX_HANDSHAKE_MESSAGE,
    VERSION,
    Hello,
    hello_of,
    offered,
    receive_hello,
    receive_ordinary,
    receive_prefixed,
    send,
)
from chanlink.security.keys.certificate import Role
from chanlink.security.records import prefixed
from chanlink.security.statics import Statics
from tests.patience import PATIENCE

from .early_pairs import Server
from .handshakes import SERVER, one_backend
from .wires import make_hello, wires

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]
WITH_KEY = Statics(SERVER, Role.SERVER, bytes(32))


async def heard(*data: bytes, statics: Statics | None = None, ordinary: bool = False) -> Hello:
    near, far = wires()
    for one in data:
        await near.send(one)
    await near.send_eof()
    receive = receive_ordinary if ordinary else receive_hello
    return await receive(far, statics or Statics(SERVER, Role.SERVER))


@one_backend
async def test_a_hello_is_the_prologue_as_it_came() -> None:
    hello = await heard(hello_of("XX") + b"more")
    assert (hello.passed, hello.suite.name, hello.prekey) == (hello_of("XX"), "chachapoly", b"")


@one_backend
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "does not speak chanlink"),
        (b"chanlink" + bytes([VERSION + 1]), "speaks version 2"),
        (make_hello(offer={"pattern": "XX", "suites": ["rot13"]}), "no record suite"),
        (make_hello(offer={"pattern": "NN", "suites": ["chachapoly"]}), "wants another pattern"),
        (make_hello(offer={"pattern": "XXpsk0", "suites": ["chachapoly"]}), "do not both have a pre-shared key"),
        (make_hello(offer={"pattern": "IK", "suites": ["chachapoly"]}), "names a prekey, and does not begin by it"),
        (make_hello(offer={"pattern": "XX", "suites": ["chachapoly"], "prekey": bytes(8)}), "does not begin by it"),
        (b"chanlink" + bytes([VERSION]) + b"\xff\xff", "too long"),
        (b"chanli", "closed the connection"),
    ],
)
async def test_what_no_hello_can_be_fails(data: bytes, words: str) -> None:
    with pytest.raises(HandshakeError, match=words):
        await heard(data)


@one_backend
async def test_who_has_a_pre_shared_key_hears_only_those_that_have_one() -> None:
    assert (await heard(hello_of("XXpsk0"), statics=WITH_KEY)).prekey == b""
    with pytest.raises(HandshakeError, match="pre-shared key"):
        await heard(hello_of("XX"), statics=WITH_KEY)


@one_backend
async def test_a_client_with_a_prekey_is_declined_where_nobody_takes_that() -> None:
    prekey: Prekey = await Server().prekey()
    hello = hello_of("IK", prekey=prekey.name)
    message = prefixed(bytes(100))
    found = await heard(hello, message, ordinary=True)
    assert (found.prekey, found.passed, found.declined) == (b"", hello + message + prefixed(b""), None)


@one_backend
async def test_a_suite_that_was_not_offered_is_not_taken() -> None:
    assert offered("chachapoly").name == "chachapoly"
    with pytest.raises(HandshakeError, match="was not offered"):
        offered("rot13")


async def test_messages_have_a_length_in_front() -> None:
    near, far = wires(piece=1)
    with anyio.fail_after(PATIENCE):
        await send(near, prefixed(b"message") + prefixed(bytes(MAX_HANDSHAKE_MESSAGE + 1)))
        assert await receive_prefixed(far, MAX_HANDSHAKE_MESSAGE) == b"message"
        with pytest.raises(HandshakeError, match="too long"):
            await receive_prefixed(far, MAX_HANDSHAKE_MESSAGE)
    near, far = wires()
    await near.send_eof()
    with anyio.fail_after(PATIENCE), pytest.raises(HandshakeError, match="closed the connection"):
        await receive_prefixed(far, MAX_HANDSHAKE_MESSAGE)
