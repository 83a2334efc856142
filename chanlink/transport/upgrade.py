"""From HTTP to a WebSocket, on both sides (RFC 6455 section 4; protocol section 20.3).

Only functions that need it import this file: ``websockets`` is an extra.
"""

import errno
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus

import anyio
from anyio.abc import ByteStream

from chanlink.errors import ConnectFailed
from chanlink.printing import printable

from .base import BROKEN, Transport, ip_of, send_whole
from .web_address import WebAddress
from .websocket import FRAME, WebSocketTransport
from .websockets_library import ClientProtocol, Request, ServerProtocol, Subprotocol, WebSocketURI

SUBPROTOCOL = Subprotocol("chanlink")
MOST_HEAD = 16 * 1024
"""Bytes of a request, or of an answer, before its body, which nobody reads."""
PIECE = 4 * 1024
LINGER = 1.0
"""Seconds for which a client that was refused is listened to: closed before that, it might not get to read why."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r)")
_QUIET = logging.Logger("websockets", logging.CRITICAL + 1)
"""What it would log are the headers, and these may be secret."""
_HELP = {
    300: "and no redirect is followed: write the address that it leads to",
    401: 'and wants to know who asks: WebSocket(url, headers={"Authorization": ...})',
    403: "and lets nobody through like that: ask who runs it",
    404: "since nothing is at this path: it has to be that of the server's ws:// address, or of the proxy in front",
    426: "since the upgrade did not get through: a proxy has to pass on Upgrade and Connection",
    502: "since the proxy there reaches no server of ours: is it running?",
}
_WHY = {
    400: "this is the beginning of no WebSocket that carries chanlink",
    404: "nothing is at this path",
    426: "only a WebSocket is served here",
    431: f"the headers are longer than {MOST_HEAD} bytes",
}


class BadHead(Exception):
    """What came is the head of no request, or of no answer."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status = status


async def upgrade_as_client(transport: Transport, address: WebAddress, headers: Mapping[str, str]) -> Transport:
    """Open a WebSocket over a connection, which belongs to the result; if there is none, the caller closes it.

    Raises `ConnectFailed`.
    """
    protocol = client_of(address)
    request = protocol.connect()
    request.headers.update(headers)
    protocol.send_request(request)
    try:
        await send_whole(transport, b"".join(protocol.data_to_send()))
        head, ahead = await receive_head(transport, b"HTTP/1.")
    except BadHead as exc:
        raise ConnectFailed(f"{address}: it answers, but {exc}: does that port speak HTTP?") from exc
    except (anyio.EndOfStream, *BROKEN) as exc:
        raise ConnectFailed(f"{address}: it closed the connection, and did not answer as HTTP does") from exc
    judge_answer(protocol, address, head)
    return WebSocketTransport(transport, protocol, ahead)


def client_of(address: WebAddress) -> ClientProtocol:
    """A client that has asked for nothing yet."""
    host, port, _ = address.tcp
    uri = WebSocketURI(address.secure, host, port, address.path, "")
    return ClientProtocol(uri, subprotocols=[SUBPROTOCOL], max_size=(None, FRAME), logger=_QUIET)


def judge_answer(protocol: ClientProtocol, address: WebAddress, head: bytes) -> None:
    """Raise `ConnectFailed` unless this answer opens the WebSocket."""
    _check_status(address, head)
    protocol.receive_data(head)
    protocol.events_received()
    if protocol.handshake_exc is not None:
        raise ConnectFailed(f"{address}: its answer opens no WebSocket ({printable(str(protocol.handshake_exc))})")
    if protocol.subprotocol is None:
        raise ConnectFailed(f"{address}: a WebSocket is there, but not of chanlink: is the path right?")


def _check_status(address: WebAddress, head: bytes) -> None:
    match = _STATUS.match(head)
    if match is None:
        raise ConnectFailed(f"{address}: its answer is no HTTP")
    status = int(match[1])
    if status == HTTPStatus.SWITCHING_PROTOCOLS:
        return
    kind = 300 if 300 <= status < 400 else 502 if status >= 500 else status
    problem = ConnectFailed(f"{address}: it answers {_named(status)}, {_HELP.get(kind, 'and opens no WebSocket')}")
    if status >= 500:  # a server that is only starting looks like that
        raise problem from ConnectionRefusedError(errno.ECONNREFUSED, _named(status))
    raise problem


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


async def upgrade_as_server(transport: Transport, path: str, *, forwarded: bool = False) -> Transport:
    """Answer a client that opens a WebSocket at this path; the connection belongs to the result, if there is one.

    With ``forwarded``, the last address in ``X-Forwarded-For`` is where it comes from. Raises `ConnectFailed` when it
    is no such client, which is told so.
    """
    try:
        head, ahead = await receive_head(transport, b"GET ")
        protocol, request = judge_request(head, path)
    except BadHead as exc:
        await _refuse(transport, exc.status)
        raise ConnectFailed(f"no WebSocket was opened, and it was told {exc.status}: {_WHY[exc.status]}") from exc
    await send_whole(transport, b"".join(protocol.data_to_send()))
    return WebSocketTransport(transport, protocol, ahead, _source_of(request) if forwarded else "")


def judge_request(head: bytes, path: str) -> tuple[ServerProtocol, Request]:
    """The WebSocket that a request opens; it has the answer to be sent. Raises `BadHead`."""
    protocol = ServerProtocol(subprotocols=[SUBPROTOCOL], max_size=(None, FRAME), logger=_QUIET)
    protocol.receive_data(head)
    asked = protocol.events_received()
    if not asked or not isinstance(request := asked[0], Request):
        raise BadHead(HTTPStatus.BAD_REQUEST)
    if request.path.partition("?")[0] != path:
        raise BadHead(HTTPStatus.NOT_FOUND)
    response = protocol.accept(request)
    status = response.status_code
    if status != HTTPStatus.SWITCHING_PROTOCOLS:
        raise BadHead(status if status in _WHY else HTTPStatus.BAD_REQUEST)
    protocol.send_response(response)
    return protocol, request


def _source_of(request: Request) -> str:
    """The IP address that the nearest proxy has told; empty if that is none."""
    told = request.headers.get_all("X-Forwarded-For")
    return ip_of((told[-1].rpartition(",")[2].strip(), 0)) if told else ""


async def _refuse(transport: Transport, status: int) -> None:
    """Say why no WebSocket is opened."""
    body = f"{_WHY[status]}\n".encode()
    upgrade = "Upgrade: websocket\r\n" if status == HTTPStatus.UPGRADE_REQUIRED else ""
    head = (
        f"HTTP/1.1 {_named(status)}\r\n{upgrade}Connection: close\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    await send_whole(transport, head.encode() + body)
    await transport.send_eof()
    await _linger(transport)


async def _linger(transport: Transport) -> None:
    """Take what still comes, as far as that is little and comes soon."""
    left = MOST_HEAD
    with anyio.move_on_after(LINGER), suppress(anyio.EndOfStream, *BROKEN):
        while left > 0:
            left -= len(await transport.receive(PIECE))


async def receive_head(transport: ByteStream, begins: bytes) -> tuple[bytes, bytes]:
    """The head of a request or an answer, which begins like this, and what came behind it. Raises `BadHead`."""
    got = bytearray()
    while True:
        new = await transport.receive(PIECE)
        begun = max(0, len(got) - 3)
        got += new
        if not begins.startswith(got[: len(begins)]):
            raise BadHead(HTTPStatus.BAD_REQUEST, "not as HTTP does")
        end = got.find(b"\r\n\r\n", begun) + 4
        if end > MOST_HEAD or (end < 4 and len(got) > MOST_HEAD):
            raise BadHead(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"with more than {MOST_HEAD} bytes of headers")
        if end >= 4:
            return bytes(got[:end]), bytes(got[end:])
