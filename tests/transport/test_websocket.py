"""A byte stream in frames of WebSocket, against a plain socket that makes and reads these by hand."""

import socket
from contextlib import closing

import anyio
import pytest

pytest.importorskip("websockets")

from anyio.abc import SocketAttribute

from chanlink.transport.base import BROKEN
from chanlink.transport.websocket import EMPTY, FRAME, SLICE, WebSocketTransport
from tests.patience import PATIENCE

from .ws_frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, Frame, opened, packed, protocol_of, unpacked

pytestmark = pytest.mark.anyio

SIDES = pytest.mark.parametrize("side", ["client", "server"])


async def read(sock: socket.socket, wanted: int) -> bytes:
    """So many bytes of a plain socket."""
    data = b""
    with anyio.fail_after(PATIENCE):
        while len(data) < wanted:
            await anyio.wait_readable(sock)
            data += sock.recv(wanted - len(data))
    return data


async def read_all(sock: socket.socket) -> bytes:
    data = b""
    with anyio.fail_after(PATIENCE):
        while True:
            await anyio.wait_readable(sock)
            if not (got := sock.recv(65_536)):
                return data
            data += got


@SIDES
async def test_bytes_leave_in_binary_frames_that_only_a_client_masks(side: str) -> None:
    transport, sock = opened(side)
    with closing(sock):
        await transport.send(b"hello")
        await transport.send(bytes(range(256)))
        await transport.aclose()
        found = unpacked(await read_all(sock))
    assert [one.payload for one in found] == [b"hello", bytes(range(256)), b"\x03\xe8"]
    assert [one.opcode for one in found] == [BINARY, BINARY, CLOSE]
    assert {one.masked for one in found} == {side == "client"}
    assert all(one.fin for one in found)


@SIDES
async def test_much_leaves_in_frames_of_a_bound_size_however_slowly_it_is_read(side: str) -> None:
    transport, sock = opened(side)
    data = bytes(range(251)) * 4_000
    with closing(sock):
        got: list[bytes] = []

        async def take() -> None:
            got.append(await read_all(sock))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            left = memoryview(data)
            while left:  # as records are sent: what was not taken comes again
                sent = transport.send_now(left)
                left = left[sent:]
                if left and not sent:
                    await transport.wait_writable()
            await transport.send(b"the end")
            await transport.aclose()
    found = unpacked(got[0])
    assert b"".join(one.payload for one in found[:-1]) == data + b"the end"
    assert max(len(one.payload) for one in found) <= FRAME


@SIDES
async def test_boundaries_of_frames_and_messages_mean_nothing(side: str) -> None:
    transport, sock = opened(side)
    mask = side == "server"
    with closing(sock):
        sock.sendall(
            packed(BINARY, b"a", fin=False, mask=mask)
            + packed(CONT, b"", fin=False, mask=mask)
            + packed(PING, b"now", mask=mask)
            + packed(CONT, b"bc", mask=mask)
            + packed(BINARY, b"", mask=mask)
            + packed(PONG, b"nobody has asked", mask=mask)
            + packed(BINARY, b"defg", mask=mask)
        )
        got = b""
        while len(got) < 7:
            got += await transport.receive(2)
        assert got == b"abcdefg"
        (pong,) = unpacked(await read(sock, len(packed(PONG, b"now", mask=side == "client"))))
        assert pong == Frame(PONG, b"now", True, side == "client")
        await transport.aclose()


async def test_a_frame_that_comes_byte_by_byte_is_one() -> None:
    transport, sock = opened("server")
    with closing(sock):
        for byte in packed(BINARY, b"slowly"):
            assert transport.receive_now(memoryview(bytearray(100))) is None
            sock.sendall(bytes([byte]))
            await transport.wait_readable()
        assert await transport.receive() == b"slowly"
        await transport.aclose()


BAD = {
    "a text": (packed(TEXT, b"hello"), 1003),
    "the beginning of a text": (packed(TEXT, b"hel", fin=False), 1003),
    "not masked": (packed(BINARY, b"x", mask=False), 1002),
    "a reserved bit": (bytes([0xC2]) + packed(BINARY, b"x")[1:], 1002),
    "no known opcode": (packed(5, b"x"), 1002),
    "a continuation of nothing": (packed(CONT, b"x"), 1002),
    "a new message in one": (packed(BINARY, b"", fin=False) + packed(BINARY, b"x"), 1002),
    "a ping in parts": (packed(PING, b"x", fin=False), 1002),
    "a long ping": (packed(PING, bytes(126)), 1002),
    "more than a frame may have": (packed(BINARY, b"", length=FRAME + 1), 1009),
    "as much as a frame can say": (packed(BINARY, b"", length=2**63 - 1), 1009),
    "a close of one byte": (packed(CLOSE, b"x"), 1002),
    "a close that is no UTF-8": (packed(CLOSE, b"\x03\xe8\xff"), 1007),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_breaks_the_rules_is_the_end_and_nothing_before_it_is_lost(name: str) -> None:
    bad, code = BAD[name]
    transport, sock = opened("server")
    with closing(sock):
        sock.sendall(packed(BINARY, b"before") + bad)
        got = b""
        while len(got) < 6:
            got += await transport.receive()
        assert got == b"before"
        with pytest.raises(anyio.BrokenResourceError):
            await transport.receive()
        with pytest.raises(BROKEN):
            await transport.send(b"more")
        await transport.aclose()
        (said,) = unpacked(await read_all(sock))
    assert (said.opcode, int.from_bytes(said.payload[:2], "big")) == (CLOSE, code)


async def test_a_client_takes_no_frame_that_is_masked() -> None:
    transport, sock = opened("client")
    with closing(sock):
        sock.sendall(packed(BINARY, b"x"))
        with pytest.raises(anyio.BrokenResourceError):
            await transport.receive()
        await transport.aclose()


@SIDES
async def test_a_close_frame_is_the_end_of_both_halves_and_is_answered(side: str) -> None:
    transport, sock = opened(side)
    with closing(sock):
        sock.sendall(packed(BINARY, b"last", mask=side == "server") + packed(CLOSE, b"\x03\xe8", mask=side == "server"))
        assert await transport.receive() == b"last"
        with pytest.raises(anyio.EndOfStream):
            await transport.receive()
        assert not await transport.readable()
        with pytest.raises(anyio.BrokenResourceError):
            await transport.send(b"more")
        await transport.aclose()
        assert [(one.opcode, one.payload) for one in unpacked(await read_all(sock))] == [(CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize("begun", [b"", packed(BINARY, b"half a frame")[:9]], ids=["between", "within a frame"])
async def test_an_end_without_a_close_frame_is_no_end(begun: bytes) -> None:
    transport, sock = opened("server")
    with closing(sock):
        sock.sendall(packed(BINARY, b"last") + begun)
        sock.shutdown(socket.SHUT_WR)
        assert await transport.receive() == b"last"
        with pytest.raises(anyio.BrokenResourceError):
            await transport.receive()
        await transport.aclose()


async def test_to_end_one_half_says_nothing_and_the_other_goes_on() -> None:
    transport, sock = opened("server")
    with closing(sock):
        await transport.send(b"bye")
        await transport.send_eof()
        sock.sendall(packed(BINARY, b"not yet"))
        assert await transport.receive() == b"not yet"
        await transport.aclose()
        assert [one.opcode for one in unpacked(await read_all(sock))] == [BINARY, CLOSE]
        with pytest.raises(anyio.ClosedResourceError):
            await transport.send_eof()


@pytest.mark.parametrize(
    "frame", [packed(PING, bytes(125)), packed(PONG), packed(BINARY)], ids=["ping", "pong", "empty"]
)
async def test_who_sends_frames_with_nothing_in_them_is_cut(frame: bytes) -> None:
    """They cost us time, and answers."""
    transport, sock = opened("server")
    sock.setblocking(True)
    with closing(sock):
        sock.sendall(packed(BINARY, b"before") + frame * (2 * EMPTY))
        assert await transport.receive() == b"before"
        with pytest.raises(anyio.BrokenResourceError, match="too many frames without data"), anyio.fail_after(PATIENCE):
            await transport.receive()
        sock.setblocking(False)
        await transport.aclose()
        said = unpacked(await read_all(sock))[-1]
    assert (said.opcode, int.from_bytes(said.payload[:2], "big")) == (CLOSE, 1008)


async def test_frames_of_one_byte_are_read_as_far_as_somebody_asks() -> None:
    transport, sock = opened("server")
    sock.setblocking(True)
    with closing(sock):
        frame = packed(BINARY, b"x")
        sock.sendall(frame * (2 * SLICE // len(frame)))
        assert await transport.receive(10) == 10 * b"x"
        assert len(transport._unread) >= SLICE // 2
        await transport.aclose()


async def test_what_came_with_the_upgrade_is_the_first_to_be_received() -> None:
    transport, sock = opened("server")
    again = WebSocketTransport(
        transport._below, protocol_of("server"), packed(BINARY, b"early") + packed(BINARY, b"x")[:3]
    )
    with closing(sock):
        assert await again.readable()
        assert await again.receive(3) == b"ear"
        sock.sendall(packed(BINARY, b"x")[3:])
        assert await again.receive() == b"ly"
        assert await again.receive() == b"x"
        assert not again.peer_acknowledges(100.0)  # it may be a proxy's machine
        await again.aclose()


async def test_the_address_is_the_one_that_a_proxy_has_told() -> None:
    transport, sock = opened("server")
    told = WebSocketTransport(transport._below, protocol_of("server"), b"", "203.0.113.9")
    with closing(sock):
        assert told.extra(SocketAttribute.remote_address) == ("203.0.113.9", 0)
        assert transport.extra(SocketAttribute.remote_address) == transport._below.extra(SocketAttribute.remote_address)
        await told.aclose()
