"""What comes where a WebSocket is opened, and in one that is open: requests, answers and frames."""

from contextlib import suppress

import anyio

from chanlink.errors import ConnectFailed
from chanlink.transport import upgrade
from chanlink.transport.base import BufferedTransport
from chanlink.transport.layered import RECEIVE
from chanlink.transport.web_address import parse_web_address
from chanlink.transport.websocket import WebSocketTransport
from tests.transport.ws_frames import protocol_of

from .targets import Bytes, run, target

ADDRESS = parse_web_address("ws://example.org/chan")
LONGEST = upgrade.MOST_HEAD + upgrade.PIECE


@target(LONGEST)
def websocket_request(data: bytes) -> None:
    """Whatever a stranger says first: it is answered by 101, or refused."""
    with suppress(upgrade.BadHead, anyio.EndOfStream):
        head, _ = run(upgrade.receive_head(Bytes(data), b"GET "))
        protocol, _ = upgrade.judge_request(head, "/chan")
        (answer,) = protocol.data_to_send()
        assert answer.startswith(b"HTTP/1.1 101 ")


@target(LONGEST)
def websocket_answer(data: bytes) -> None:
    """Whatever a server answers. Nobody guesses the hash of our key: an error is all there can be."""
    protocol = upgrade.client_of(ADDRESS)
    protocol.send_request(protocol.connect())
    believed = False
    with suppress(ConnectFailed, upgrade.BadHead, anyio.EndOfStream):
        head, _ = run(upgrade.receive_head(Bytes(data), b"HTTP/1."))
        upgrade.judge_answer(protocol, ADDRESS, head)
        believed = True
    assert not believed


@target(RECEIVE, seconds=0.5)  # the smallest frames that there are, of one byte each
def websocket_frames(data: bytes) -> None:
    """Frames to either side: what is taken is no more than has come, and what is owed to the peer has a bound."""
    for side in ("client", "server"):
        transport = WebSocketTransport(BufferedTransport(Bytes(b"")), protocol_of(side), b"")
        taken, buffer = 0, memoryview(bytearray(65_536))
        with suppress(anyio.BrokenResourceError):
            for piece in (data[: len(data) // 2], data[len(data) // 2 :], b""):
                transport._feed(memoryview(piece))
                while size := transport._take(buffer):
                    taken += size
                if size == 0:
                    break
        assert taken <= len(data)
