"""From HTTP to a WebSocket: what is no upgrade is answered by a line, on both sides, and nothing is waited for long."""

import base64
import hashlib
import re
import socket
from collections.abc import Iterator
from contextlib import closing

import anyio
import pytest

pytest.importorskip("websockets")

from anyio.abc import SocketAttribute

from chanlink import ConnectFailed
from chanlink.transport.sockets import SocketTransport
from chanlink.transport.upgrade import MOST_HEAD, upgrade_as_client, upgrade_as_server
from chanlink.transport.web_address import parse_web_address
from tests.patience import PATIENCE

from .test_websocket import read_all
from .ws_frames import BINARY, packed

pytestmark = pytest.mark.anyio

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # that of RFC 6455, whose answer is there, too
GOOD = {
    "Host": "example.org",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "chanlink",
}


def request(first: str = "GET /chan HTTP/1.1", **changed: str | None) -> bytes:
    headers = {**GOOD, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [first, *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.fixture
def pair() -> Iterator[tuple[SocketTransport, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with closing(ours), closing(theirs):
        yield SocketTransport(ours), theirs


# --- servers ----------------------------------------------------------------------------------------------


async def test_a_good_request_is_answered_as_rfc_6455_says(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, sock = pair
    sock.sendall(request(Sec_WebSocket_Extensions="permessage-deflate") + packed(BINARY, b"at once"))
    opened = await upgrade_as_server(transport, "/chan")
    assert await opened.receive() == b"at once"
    await opened.send(b"answer")
    await opened.aclose()
    head, _, rest = (await read_all(sock)).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 101 Switching Protocols"
    assert {"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "Sec-WebSocket-Protocol: chanlink"} <= {*lines}
    assert "deflate" not in head.decode()
    assert rest.startswith(packed(BINARY, b"answer", mask=False))


REFUSED = {
    "another path": (request("GET /other HTTP/1.1"), 404),
    "no upgrade": (request(Upgrade=None, Connection=None), 426),
    "an upgrade to something else": (request(Upgrade="h2c"), 426),
    "another version": (request(Sec_WebSocket_Version="8"), 400),
    "no key": (request(Sec_WebSocket_Key=None), 400),
    "a short key": (request(Sec_WebSocket_Key="c2hvcnQ="), 400),
    "no subprotocol": (request(Sec_WebSocket_Protocol=None), 400),
    "another subprotocol": (request(Sec_WebSocket_Protocol="chat"), 400),
    "another method": (request("POST /chan HTTP/1.1"), 400),
    "another HTTP": (request("GET /chan HTTP/1.0"), 400),
    "no header": (b"GET /chan HTTP/1.1\r\nthis is none\r\n\r\n", 400),
    "a body": (request(Content_Length="5") + b"hello", 400),
    "chanlink without WebSocket": (b"chanlink\x01\x00\x05hello", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "headers without end": (request(Cookie=(MOST_HEAD + 1) * "x"), 431),
    "a line without end": (b"GET /" + MOST_HEAD * b"x", 431),
    "many headers": (b"GET /chan HTTP/1.1\r\n" + 3_000 * b"a: b\r\n", 431),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_upgrade_gets_an_answer_of_one_line(
    pair: tuple[SocketTransport, socket.socket], name: str
) -> None:
    said, status = REFUSED[name]
    transport, sock = pair
    sock.sendall(said)
    sock.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectFailed, match=f"told {status}"):
        await upgrade_as_server(transport, "/chan")
    await transport.aclose()
    answer = (await read_all(sock)).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert re.fullmatch(r"[a-zA-Z0-9 ]+\n", body)
    assert f"Content-Length: {len(body)}" in head
    assert ("Upgrade: websocket" in head) == (status == 426)


async def test_who_ends_before_its_request_has_is_no_client(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, sock = pair
    sock.sendall(request()[:-1])
    sock.shutdown(socket.SHUT_WR)
    with pytest.raises(anyio.EndOfStream):
        await upgrade_as_server(transport, "/chan")


async def test_a_request_that_comes_in_pieces_is_one(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, sock = pair

    async def dribble() -> None:
        for byte in request("GET /chan?what=ever HTTP/1.1"):
            sock.sendall(bytes([byte]))
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dribble)
        with anyio.fail_after(PATIENCE):
            opened = await upgrade_as_server(transport, "/chan")
    await opened.aclose()


@pytest.mark.parametrize(
    ("told", "source"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("127.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("203.0.113.9, unknown", ""),
        ("", ""),
        (None, ""),
    ],
)
async def test_a_proxy_is_believed_where_that_was_asked_for(
    pair: tuple[SocketTransport, socket.socket], told: str | None, source: str
) -> None:
    transport, sock = pair
    own = transport.extra(SocketAttribute.remote_address)
    sock.sendall(request(X_Forwarded_For=told))
    opened = await upgrade_as_server(transport, "/chan", forwarded=True)
    assert opened.extra(SocketAttribute.remote_address) == ((source, 0) if source else own)


async def test_a_proxy_is_not_believed_unasked(pair: tuple[SocketTransport, socket.socket]) -> None:
    transport, sock = pair
    own = transport.extra(SocketAttribute.remote_address)
    sock.sendall(request(X_Forwarded_For="203.0.113.9"))
    opened = await upgrade_as_server(transport, "/chan")
    assert opened.extra(SocketAttribute.remote_address) == own


# --- clients ----------------------------------------------------------------------------------------------

ADDRESS = parse_web_address("ws://example.org:8080/chan")


def accepting(asked: bytes, status: str = "101 Switching Protocols", **changed: str | None) -> bytes:
    """A good answer to a request, but for what is changed."""
    key = re.search(rb"Sec-WebSocket-Key: (\S+)\r\n", asked)
    assert key is not None
    digest = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    headers: dict[str, str | None] = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
        "Sec-WebSocket-Protocol": "chanlink",
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def answered(pair: tuple[SocketTransport, socket.socket], answer: object) -> tuple[object, bytes]:
    """What a client makes of an answer (bytes, or what makes it of the request), and what it has asked."""
    transport, sock = pair
    asked = b""

    async def reply() -> None:
        nonlocal asked
        while not asked.endswith(b"\r\n\r\n"):
            await anyio.wait_readable(sock)
            asked += sock.recv(65_536)
        left = answer(asked) if callable(answer) else answer
        assert isinstance(left, bytes)
        while left:
            await anyio.wait_writable(sock)
            try:
                left = left[sock.send(left) :]
            except OSError:  # it has seen enough
                return
        sock.shutdown(socket.SHUT_WR)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reply)
        with anyio.fail_after(PATIENCE):
            try:
                made: object = await upgrade_as_client(transport, ADDRESS, {"X-Token": "of a proxy"})
            except ConnectFailed as exc:
                made = exc
                await transport.aclose()
    return made, asked


async def test_a_client_asks_as_rfc_6455_says(pair: tuple[SocketTransport, socket.socket]) -> None:
    opened, asked = await answered(pair, lambda asked: accepting(asked) + packed(BINARY, b"at once", mask=False))
    assert await opened.receive() == b"at once"  # type: ignore[attr-defined]
    first, *headers = asked.decode().strip().split("\r\n")
    assert first == "GET /chan HTTP/1.1"
    names = {line.partition(": ")[0]: line.partition(": ")[2] for line in headers}
    assert len(base64.b64decode(names.pop("Sec-WebSocket-Key"))) == 16
    assert names == {
        "Host": "example.org:8080",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "chanlink",
        "X-Token": "of a proxy",
    }


def plain(status: str, body: bytes = b"<html>no</html>") -> bytes:
    return f"HTTP/1.1 {status}\r\nLocation: /elsewhere\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


ANSWERS = {
    "200": (plain("200 OK"), "answers 200 OK, and opens no WebSocket"),
    "301": (plain("301 Moved Permanently"), "answers 301 .*no redirect is followed: write the address"),
    "401": (plain("401 Unauthorized"), "answers 401 .*headers="),
    "403": (plain("403 Forbidden"), "answers 403 .*ask who runs it"),
    "404": (plain("404 Not Found"), "answers 404 .*nothing is at this path"),
    "426": (plain("426 Upgrade Required"), "answers 426 .*pass on Upgrade and Connection"),
    "418": (plain("418 I'm a Teapot"), "answers 418 .*opens no WebSocket"),
    "499": (plain("499 Who Knows"), "answers 499, and opens no WebSocket"),
    "502": (plain("502 Bad Gateway"), "answers 502 .*is it running"),
    "503 of HTTP/1.0": (b"HTTP/1.0 503 Busy\r\n\r\n", "answers 503 .*is it running"),
    "a body without end": (plain("200 OK", 1_000_000 * b"x"), "answers 200"),
    "headers without end": (b"HTTP/1.1 101 Yes\r\n" + 5_000 * b"a: b\r\n", "more than 16384 bytes of headers"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", "does that port speak HTTP"),
    "no status": (b"HTTP/1.1 yes\r\n\r\n", "its answer is no HTTP"),
    "nothing": (b"", "closed the connection"),
    "half of it": (b"HTTP/1.1 101 Switching Pro", "closed the connection"),
    "a wrong accept": (lambda asked: accepting(asked, Sec_WebSocket_Accept="AAAA"), "opens no WebSocket .*Accept"),
    "no accept": (lambda asked: accepting(asked, Sec_WebSocket_Accept=None), "opens no WebSocket .*Accept"),
    "no upgrade": (lambda asked: accepting(asked, Upgrade="h2c"), "opens no WebSocket .*Upgrade"),
    "an extension": (
        lambda asked: accepting(asked, Sec_WebSocket_Extensions="permessage-deflate"),
        "opens no WebSocket .*extensions",
    ),
    "another subprotocol": (lambda asked: accepting(asked, Sec_WebSocket_Protocol="chat"), "opens no WebSocket .*chat"),
    "no subprotocol": (lambda asked: accepting(asked, Sec_WebSocket_Protocol=None), "but not of chanlink"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_that_is_no_upgrade_is_one_line_that_says_what_to_do(
    pair: tuple[SocketTransport, socket.socket], name: str
) -> None:
    answer, words = ANSWERS[name]
    problem, _ = await answered(pair, answer)
    assert isinstance(problem, ConnectFailed)
    assert re.search(f"^ws://example.org:8080/chan: .*{words}", str(problem)), problem
    assert "\n" not in str(problem)
    # Behind a proxy, a server that is only starting looks like that: `wait` waits for it.
    assert isinstance(problem.__cause__, ConnectionRefusedError) == ("is it running" in words)
