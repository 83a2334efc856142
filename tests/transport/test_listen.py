"""Listening: on all addresses of a name with one port, and on a path that nobody else listens on."""

import errno
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from chanlink import ConfigError, ConnectFailed
from chanlink.transport.address import Address, parse_address
from chanlink.transport.listen import ListeningSockets, listening_sockets

from .places import make_stale, names, port_of

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def listening(address: str) -> AsyncIterator[ListeningSockets]:
    opened = await listening_sockets(parse_address(address))
    try:
        yield opened
    finally:
        opened.close()


def accepts(address: str) -> bool:
    """Whether somebody listens there."""
    parsed = parse_address(address)
    family = socket.AF_UNIX if parsed.path else socket.AF_INET6 if ":" in parsed.host else socket.AF_INET
    with socket.socket(family) as sock:
        return sock.connect_ex(parsed.path or (parsed.host, parsed.port)) == 0


has_ipv6 = pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("[::1]", marks=has_ipv6)])
async def test_port_0_is_resolved(host: str) -> None:
    async with listening(f"tcp://{host}:0") as opened:
        (address,) = opened.addresses
        assert address.startswith(f"tcp://{host}:")
        assert not address.endswith(":0")
        assert accepts(address)
    assert not accepts(address)
    assert opened.addresses == [address]


@has_ipv6
@pytest.mark.parametrize(("four_host", "six_host"), [("127.0.0.1", "::1"), ("0.0.0.0", "::")])
async def test_a_name_is_listened_on_at_all_of_its_addresses_with_one_port(
    monkeypatch: pytest.MonkeyPatch, four_host: str, six_host: str
) -> None:
    names(
        monkeypatch,
        (socket.AF_INET, (four_host, 0)),
        (socket.AF_INET6, (six_host, 0)),
        (socket.AF_INET, (four_host, 0)),  # as a careless hosts file has it
    )
    async with listening("tcp://name:0") as opened:
        four, six = opened.addresses
        assert four.startswith(f"tcp://{four_host}:")
        assert six.startswith(f"tcp://[{six_host}]:")
        assert parse_address(four).port == parse_address(six).port
        assert accepts(four)
        assert accepts(six)


async def test_an_address_that_this_machine_lacks_is_passed_over_if_there_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lacking = [(socket.AF_INET, ("192.0.2.1", 0)), (socket.AF_APPLETALK, ("x", 0))]
    names(monkeypatch, *lacking, (socket.AF_INET, ("127.0.0.1", 0)))
    async with listening("tcp://name:0") as opened:
        assert [accepts(address) for address in opened.addresses] == [True]
    names(monkeypatch, *lacking)
    with pytest.raises(ConnectFailed, match="can't listen on tcp://name:0: "):
        await listening_sockets(Address("name", 0))


async def test_a_port_in_use_is_a_failure_and_nothing_stays_open(
    monkeypatch: pytest.MonkeyPatch, server: socket.socket
) -> None:
    used = (socket.AF_INET, ("127.0.0.1", port_of(server)))
    with pytest.raises(ConnectFailed, match=f"can't listen on tcp://127.0.0.1:{port_of(server)}: .*in use") as caught:
        await listening_sockets(Address("127.0.0.1", port_of(server)))
    assert caught.value.code == "listen"
    names(monkeypatch, (socket.AF_INET, ("127.0.0.1", 0)), used)
    with pytest.raises(ConnectFailed, match="in use"):  # the first of them is closed: else a ResourceWarning
        await listening_sockets(Address("name", 0))


async def test_a_host_that_is_not_ours_is_a_failure() -> None:
    with pytest.raises(ConnectFailed):
        await listening_sockets(Address("192.0.2.1", 0))
    with pytest.raises(ConnectFailed, match="no such host"):
        await listening_sockets(Address("no-such-host.invalid", 0))


async def test_closing_wakes_who_waits_for_a_connection() -> None:
    opened = await listening_sockets(parse_address("tcp://127.0.0.1:0"))

    async def wait() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await anyio.wait_readable(opened.sockets[0])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        opened.close()


async def test_a_unix_socket_is_removed_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with listening(f"unix:{path}") as opened:
        assert opened.addresses == [f"unix:{path}"]
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert accepts(f"unix:{path}")
    assert not path.exists()
    opened.close()  # once more is harmless


async def test_a_unix_socket_of_somebody_else_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with listening(f"unix:{path}") as ours:
        path.unlink()
        async with listening(f"unix:{path}"):
            ours.close()
            assert accepts(f"unix:{path}")
    assert not path.exists()
    async with listening(f"unix:{path}"):
        path.unlink()
        path.write_text("not a socket")
    assert path.read_text() == "not a socket"


async def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    make_stale(path)
    async with listening(f"unix:{path}"):
        assert accepts(f"unix:{path}")


async def test_a_live_unix_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with listening(f"unix:{path}"):
        before = path.stat().st_ino
        with pytest.raises(ConnectFailed, match="in use"):
            await listening_sockets(Address("", 0, str(path)))
        assert path.stat().st_ino == before
        assert accepts(f"unix:{path}")


async def test_a_live_unix_socket_with_a_full_backlog_is_not_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        clients = []
        while True:
            client = socket.socket(socket.AF_UNIX)
            clients.append(client)
            client.setblocking(False)
            if client.connect_ex(path) == errno.EAGAIN:
                break
        with pytest.raises(ConnectFailed, match="in use"):
            await listening_sockets(Address("", 0, path))
        for client in clients:
            client.close()


@pytest.mark.parametrize("kind", ["file", "directory", "link to nothing", "link to a stale socket"])
async def test_what_is_no_socket_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_bytes(b"")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "target")
        if kind == "link to a stale socket":
            make_stale(tmp_path / "target")
    before = path.lstat().st_ino
    with pytest.raises(ConnectFailed, match="in use"):
        await listening_sockets(Address("", 0, str(path)))
    assert path.lstat().st_ino == before


async def test_a_path_where_nothing_can_be_made_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in tmp_path / "no" / "s", tmp_path / "file" / "s":
        with pytest.raises(ConnectFailed, match="can't listen on unix:"):
            await listening_sockets(Address("", 0, str(path)))


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system gives a port to one process only")
async def test_a_port_that_is_shared_has_several_who_listen_and_no_one_else_gets_in_between() -> None:
    first = await listening_sockets(parse_address("tcp://127.0.0.1:0"), shared=True)
    address = parse_address(first.addresses[0])
    second = await listening_sockets(address, shared=True)
    try:
        assert second.addresses == first.addresses
        with pytest.raises(ConnectFailed, match="in use"):
            await listening_sockets(address)
        first.close()
        assert accepts(second.addresses[0])
    finally:
        first.close()
        second.close()


async def test_a_path_is_not_shared(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only a port of TCP"):
        await listening_sockets(parse_address(f"unix:{tmp_path}/socket"), shared=True)
    assert not list(tmp_path.iterdir())
