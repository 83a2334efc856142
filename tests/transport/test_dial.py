"""Connecting to an address, again and again if need be; to what carries bytes by itself, and to names."""

import socket
import ssl

import anyio
import pytest
from anyio.abc import ByteStream, ByteStreamConnectable

import chanlink
from chanlink import ConnectFailed, HandshakeError, SessionError, UntrustedPeer, WrongPeer
from chanlink.transport import dial
from chanlink.transport.address import Address
from chanlink.transport.sockets import SocketTransport
from tests.patience import PATIENCE

from .places import names, port_of

pytestmark = pytest.mark.anyio


async def test_each_address_of_a_name_is_reached_once_and_then_the_problem_stays(
    monkeypatch: pytest.MonkeyPatch, server: socket.socket
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        names(monkeypatch, *((socket.AF_INET, ("127.0.0.1", port_of(sock))) for sock in (server, other)))
        dialled, problem = dial.Dial("tcp://name"), HandshakeError("it is another server")
        for sock in (server, other):
            stream = await (dialled.reach() if sock is server else dialled.reach_another(problem))
            sock.accept()[0].close()
            await stream.aclose()
        with pytest.raises(HandshakeError) as caught:
            await dialled.reach_another(problem)
        assert caught.value is problem


@pytest.mark.parametrize(
    "problem", [WrongPeer("its key", "ours"), UntrustedPeer("our key")], ids=["wrong", "untrusted"]
)
async def test_a_problem_of_keys_is_no_reason_to_try_another_address(
    monkeypatch: pytest.MonkeyPatch, server: socket.socket, problem: SessionError
) -> None:
    names(monkeypatch, *[(socket.AF_INET, ("127.0.0.1", port_of(server))), (socket.AF_INET6, ("::1", 1))])
    dialled = dial.Dial("tcp://name")
    await (await dialled.reach()).aclose()
    with pytest.raises(type(problem)):
        await dialled.reach_another(problem)


async def test_a_stream_is_reached_by_itself_and_there_is_no_other() -> None:
    near, far = chanlink.byte_pipe()
    dialled = dial.Dial(near)
    transport = await dialled.reach()
    await transport.send(b"by itself")
    assert await far.receive() == b"by itself"
    with pytest.raises(HandshakeError):
        await dialled.reach_another(HandshakeError("no"))
    for end in near, far:
        end.close()
    one, other = map(SocketTransport, socket.socketpair())
    assert await dial.Dial(one).reach() is one
    for sock in one, other:
        await sock.aclose()


class Failing(ByteStreamConnectable):
    """Where a handshake below ours fails."""

    def __init__(self, problem: Exception) -> None:
        self.problem = problem

    async def connect(self) -> ByteStream:
        raise self.problem


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (ssl.SSLError(1, "no common cipher"), "Failing: no common cipher"),
        (anyio.BrokenResourceError(), "Failing: BrokenResourceError"),
        (anyio.EndOfStream(), "Failing: EndOfStream"),
    ],
    ids=["tls", "broken", "end"],
)
async def test_what_fails_below_is_no_connection(problem: Exception, words: str) -> None:
    with pytest.raises(ConnectFailed, match=words):
        await dial.Dial(Failing(problem)).reach()


# --- names in a directory -----------------------------------------------------------------------


class Directory:
    """What is told of a name: at first what somebody has kept, then what is so now."""

    def __init__(self, kept: list[int], now: list[int] | None = None) -> None:
        self.kept, self.now = kept, kept if now is None else now
        self.asked: list[bool] = []

    async def find(self, fresh: bool) -> list[Address]:
        self.asked.append(fresh)
        ports = self.now if fresh else self.kept
        if not ports:
            raise ConnectFailed("no such name") from LookupError()
        return [Address("127.0.0.1", port) for port in ports]

    def dial(self) -> dial.Dial:
        return dial.Dial("chanlink://web1", self.find)


async def test_a_name_leads_to_one_of_its_addresses_that_answers(server: socket.socket, closed_port: int) -> None:
    directory = Directory([closed_port, port_of(server)])
    await (await directory.dial().reach()).aclose()
    assert directory.asked == [False]


async def test_where_nobody_is_any_more_the_directory_is_asked_anew(server: socket.socket, closed_port: int) -> None:
    directory = Directory([closed_port], [port_of(server)])
    dialled = directory.dial()
    for asked in [False, True], [False, True, True]:  # what was kept is of no use any more
        await (await dialled.reach()).aclose()
        assert directory.asked == asked


async def test_a_name_that_leads_nowhere_is_a_failure(closed_port: int) -> None:
    directory = Directory([])
    with pytest.raises(ConnectFailed, match="no such name"):
        await directory.dial().reach()
    assert directory.asked == [False]
    with pytest.raises(ConnectFailed, match="refused"):
        await Directory([closed_port]).dial().reach()
    with pytest.raises(ConnectFailed, match="no such name"):
        await Directory([closed_port], []).dial().reach()


async def test_a_name_that_may_come_is_waited_for(server: socket.socket) -> None:
    directory = Directory([])

    async def find(fresh: bool) -> list[Address]:
        directory.kept = [port_of(server)] if len(directory.asked) == 2 else []
        return await directory.find(fresh)

    await (await dial.Dial("chanlink://web1", find).reach(wait=PATIENCE)).aclose()
    assert len(directory.asked) == 3


@pytest.mark.parametrize("problem", [WrongPeer("its key", "ours"), HandshakeError("no")], ids=["wrong", "handshake"])
async def test_who_is_not_the_right_server_is_one_that_came_later(server: socket.socket, problem: SessionError) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        directory = Directory([port_of(server)], [port_of(other)])
        dialled = directory.dial()
        await (await dialled.reach()).aclose()
        await (await dialled.reach_another(problem)).aclose()
        other.accept()[0].close()
        assert directory.asked == [False, True]
        with pytest.raises(type(problem)) as caught:
            await dialled.reach_another(problem)
        assert caught.value is problem
        assert directory.asked == [False, True]


async def test_another_server_of_the_name_is_tried_before_the_directory_is_asked(server: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        directory = Directory([port_of(server), port_of(other)])
        dialled = directory.dial()
        await (await dialled.reach()).aclose()
        await (await dialled.reach_another(HandshakeError("no"))).aclose()
        other.accept()[0].close()
        assert directory.asked == [False]


async def test_a_server_that_does_not_trust_us_is_the_right_one(server: socket.socket) -> None:
    directory = Directory([port_of(server)])
    dialled = directory.dial()
    await (await dialled.reach()).aclose()
    with pytest.raises(UntrustedPeer):
        await dialled.reach_another(UntrustedPeer("our key"))
    assert directory.asked == [False]
