"""Connecting to the address of a socket: whichever of its places answers first."""

import contextlib
import math
import select
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from chanlink import ConnectFailed
from chanlink.transport import racing, reaching
from chanlink.transport.address import Address
from chanlink.transport.reaching import connect_socket
from tests.patience import PATIENCE

from .places import make_stale, names, port_of

pytestmark = pytest.mark.anyio


async def test_it_connects_and_bytes_pass(server: socket.socket) -> None:
    stream = await connect_socket(Address("127.0.0.1", port_of(server)))
    connection, _ = server.accept()
    with connection:
        await stream.send(b"hello")
        assert connection.recv(100) == b"hello"
        assert stream._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await stream.aclose()


async def test_a_port_that_nobody_listens_on_is_a_failure(closed_port: int) -> None:
    with pytest.raises(ConnectFailed, match=f"tcp://127.0.0.1:{closed_port}: .*refused"):
        await connect_socket(Address("127.0.0.1", closed_port))


async def test_a_host_that_does_not_exist_is_a_failure() -> None:
    with pytest.raises(ConnectFailed, match="no such host"):
        await connect_socket(Address("no-such-host.invalid", 80))


@pytest.mark.parametrize("host", ["x" * 64, "a..b", "x" * 300])
async def test_a_name_that_no_host_can_have_is_a_failure(host: str) -> None:
    with pytest.raises(ConnectFailed, match="no such host"):
        await connect_socket(Address(host, 80))


@pytest.mark.parametrize("kind", ["missing", "file", "nobody listens", "no directory", "too long"])
async def test_a_path_without_a_listener_is_a_failure(tmp_path: Path, kind: str) -> None:
    path = {"no directory": tmp_path / "no" / "s", "too long": tmp_path / ("x" * 200)}.get(kind, tmp_path / "s")
    if kind == "file":
        path.write_bytes(b"")
    if kind == "nobody listens":
        make_stale(path)
    with pytest.raises(ConnectFailed, match="unix:"):
        await connect_socket(Address("", 0, str(path)))


async def test_the_addresses_of_a_name_are_tried_until_one_answers(
    monkeypatch: pytest.MonkeyPatch, server: socket.socket, closed_port: int
) -> None:
    refused = (socket.AF_INET, ("127.0.0.1", closed_port))
    names(monkeypatch, refused, refused, (socket.AF_INET, ("127.0.0.1", port_of(server))))
    stream = await connect_socket(Address("name", 1))
    server.accept()[0].close()
    await stream.aclose()


async def test_a_family_that_this_machine_lacks_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, server: socket.socket
) -> None:
    names(monkeypatch, (socket.AF_APPLETALK, ("::1", 1)), (socket.AF_INET, ("127.0.0.1", port_of(server))))
    stream = await connect_socket(Address("name", 1))
    server.accept()[0].close()
    await stream.aclose()


async def test_when_no_address_answers_the_last_problem_is_raised(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    names(monkeypatch, (socket.AF_APPLETALK, ("::1", 1)), (socket.AF_INET, ("127.0.0.1", closed_port)))
    with pytest.raises(ConnectFailed, match="refused"):
        await connect_socket(Address("name", 1))
    names(monkeypatch)
    with pytest.raises(ConnectFailed, match="no such host"):
        await connect_socket(Address("name", 1))


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """A server whose backlog is full: it drops what comes, as a firewall does."""
    with socket.socket() as sock, contextlib.ExitStack() as stack:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        while True:
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(sock.getsockname())
            if not select.select([], [one], [], 0.05)[1]:
                break
        yield sock


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, where a full backlog drops what comes")
@pytest.mark.parametrize("count", [1, 3])
async def test_an_address_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, server: socket.socket, deaf: socket.socket, count: int
) -> None:
    """The caller has set no time, and the silent ones have nobody to end their waiting."""
    silent = [(socket.AF_INET, (f"127.0.0.{1 + number}", port_of(deaf))) for number in range(count)]
    if count > 1:
        monkeypatch.setattr(reaching, "establish", silent_but_for(port_of(server)))
    names(monkeypatch, *silent, (socket.AF_INET, ("127.0.0.1", port_of(server))))
    stream = await connect_socket(Address("name", 1))
    assert stream.place == (socket.AF_INET, ("127.0.0.1", port_of(server)))
    server.accept()[0].close()
    await stream.aclose()


def silent_but_for(port: int) -> Callable[[socket.socket, Any], Any]:
    establish = reaching.establish

    async def some(sock: socket.socket, sockaddr: Any) -> None:
        if sockaddr[1] != port:
            await anyio.sleep_forever()
        await establish(sock, sockaddr)

    return some


async def test_an_address_that_answers_at_once_is_the_only_one_that_is_asked(
    monkeypatch: pytest.MonkeyPatch, server: socket.socket
) -> None:
    monkeypatch.setattr(racing, "HEAD_START", math.inf)
    with socket.create_server(("127.0.0.1", 0)) as second:
        second.setblocking(False)
        names(monkeypatch, *((socket.AF_INET, ("127.0.0.1", port_of(sock))) for sock in (server, second)))
        stream = await connect_socket(Address("name", 1))
        server.accept()[0].close()
        with pytest.raises(BlockingIOError):
            second.accept()
        await stream.aclose()


async def test_of_two_that_answer_at_the_same_time_one_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    begun = anyio.Event()

    async def at_the_same_time(sock: socket.socket, sockaddr: Any) -> None:
        made.append(sock)
        if len(made) == 2:
            begun.set()
        await begun.wait()

    monkeypatch.setattr(reaching, "establish", at_the_same_time)
    monkeypatch.setattr(racing, "HEAD_START", 0.0)
    names(monkeypatch, (socket.AF_INET, ("127.0.0.1", 1)), (socket.AF_INET, ("127.0.0.1", 2)))
    stream = await connect_socket(Address("name", 1))
    open_ones = [sock for sock in made if sock.fileno() >= 0]
    assert open_ones == [stream._sock]
    await stream.aclose()


def test_both_kinds_of_addresses_are_tried_in_turn() -> None:
    six, four = [(socket.AF_INET6, n) for n in range(4)], [(socket.AF_INET, n) for n in range(2)]
    assert reaching._alternating([*six, *four]) == [six[0], four[0], six[1], four[1], six[2], six[3]]
    assert reaching._alternating([*four, *six])[:2] == [four[0], six[0]]
    assert reaching._alternating([]) == []


@pytest.mark.parametrize("count", [1, 3])
async def test_cancelling_closes_the_socket(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    made: list[socket.socket] = []

    async def never(sock: socket.socket, sockaddr: Any) -> None:
        made.append(sock)
        await anyio.sleep_forever()

    monkeypatch.setattr(reaching, "establish", never)
    monkeypatch.setattr(racing, "HEAD_START", 0.0)
    names(monkeypatch, *((socket.AF_INET, ("127.0.0.1", 1 + number)) for number in range(count)))
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connect_socket, Address("name", 1))
            while len(made) < count:
                await anyio.lowlevel.checkpoint()
            scope.cancel()
    assert scope.cancelled_caught
    assert [sock.fileno() for sock in made] == [-1] * count


async def test_a_full_backlog_of_a_unix_socket_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        waiting = [await connect_socket(Address("", 0, path))]
        with anyio.move_on_after(0.1) as scope:
            while len(waiting) < 100:
                waiting.append(await connect_socket(Address("", 0, path)))
        assert scope.cancelled_caught, "the backlog did not fill"
        server.setblocking(False)
        accepted: list[socket.socket] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept_into, accepted, server)
            with anyio.fail_after(PATIENCE):
                stream = await connect_socket(Address("", 0, path))
                await stream.send(b"x")
            while len(accepted) <= len(waiting):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert accepted[-1].recv(1) == b"x"  # it is really connected
        for each in [*waiting, stream]:
            await each.aclose()
        for sock in accepted:
            sock.close()


async def accept_into(accepted: list[socket.socket], server: socket.socket) -> None:
    while True:
        await anyio.wait_readable(server)
        accepted.append(server.accept()[0])
