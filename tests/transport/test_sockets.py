"""Addresses, and sockets before a peer is authenticated: where to connect, where to listen, and how little to read."""

import asyncio
import contextlib
import errno
import math
import os
import select
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvloop

from chanlink import AddressError, ConfigError, ConnectFailed
from chanlink.transport import racing, sockets
from chanlink.transport.sockets import (
    Address,
    ListeningSockets,
    RawStream,
    connect_socket,
    listening_sockets,
    parse_address,
)
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])


# --- addresses ------------------------------------------------------------------------------------------

GOOD_ADDRESSES = [
    ("tcp://host", Address("host", 9323)),
    ("tcp://host:0", Address("host", 0)),
    ("tcp://host:1", Address("host", 1)),
    ("tcp://host:65535", Address("host", 65_535)),
    ("tcp://127.0.0.1:80", Address("127.0.0.1", 80)),
    ("tcp://a-b.example:80", Address("a-b.example", 80)),
    ("tcp://bücher.example:80", Address("bücher.example", 80)),
    ("tcp://[::1]", Address("::1", 9323)),
    ("tcp://[::1]:80", Address("::1", 80)),
    ("tcp://[::ffff:127.0.0.1]:80", Address("::ffff:127.0.0.1", 80)),
    ("tcp://[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
    ("unix:/run/chanlink", Address("", 0, "/run/chanlink")),
    ("unix:relative", Address("", 0, "relative")),
    ("unix:/with space/and:colon", Address("", 0, "/with space/and:colon")),
    ("unix:/" + "x" * 106, Address("", 0, "/" + "x" * 106)),
]


@pytest.mark.parametrize(("text", "address"), GOOD_ADDRESSES, ids=lambda value: str(value)[:40])
def test_an_address_is_read_and_written_again(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


BAD_ADDRESSES = [
    "",
    "host",
    "host:80",
    "127.0.0.1:80",
    "tcp:host:80",
    "tcp:/host:80",
    "tcp://",
    "tcp://:80",
    "tcp://host:",
    "tcp://host:x",
    "tcp://host:-1",
    "tcp://host:+1",
    "tcp://host:65536",
    "tcp://host:999999",
    "tcp://host:1.5",
    "tcp://host:٣",
    "tcp://host:80:80",
    "tcp://host:80/",
    "tcp://host/path",
    "tcp://host:80?x=1",
    "tcp://host?",
    "tcp://host#",
    "tcp://user@host:80",
    "tcp://:password@host:80",
    "tcp://@host:80",
    "tcp://::1",
    "tcp://::1:80",
    "tcp://[::1",
    "tcp://[::1]x",
    "tcp://[]:80",
    "tcp://[host]:80",
    "tcp://[127.0.0.1]:80",
    "tcp://ho st:80",
    "tcp://ho\nst:80",
    "tcp://host:80\n",
    " tcp://host:80",
    "tcp://host:80 ",
    "tcp://ho\0st:80",
    "tcp://ho\ud800st:80",
    "TCP://host:80",
    "tls://host:80",
    "http://host:80",
    "ssh-ed25519 AAAA",
    "unix:",
    "unix:/a\0b",
    "unix:/\ud800",
    "unix:/" + "x" * 107,
    "unix:/" + "é" * 54,
    "UNIX:/path",
]


@pytest.mark.parametrize("text", BAD_ADDRESSES, ids=ascii)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert isinstance(caught.value, ConfigError)
    assert str(caught.value).isprintable()


def test_a_path_may_begin_at_home_and_is_measured_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_address("unix:~/s") == Address("", 0, "/home/me/s")
    monkeypatch.setenv("HOME", "/" + "x" * 106)
    with pytest.raises(AddressError):
        parse_address("unix:~/s")


# --- connecting -----------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and nobody else gets meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield port_of(sock)


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


def make_stale(path: Path) -> None:
    """What a killed process leaves."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def names(monkeypatch: pytest.MonkeyPatch, *found: tuple[int, tuple[str, int]]) -> None:
    """Let every name have these addresses."""

    async def getaddrinfo(*args: object, **kwargs: object) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 0, "", address) for family, address in found]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)


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
        monkeypatch.setattr(sockets, "_establish", silent_but_for(port_of(server)))
    names(monkeypatch, *silent, (socket.AF_INET, ("127.0.0.1", port_of(server))))
    stream = await connect_socket(Address("name", 1))
    assert stream.place == (socket.AF_INET, ("127.0.0.1", port_of(server)))
    server.accept()[0].close()
    await stream.aclose()


def silent_but_for(port: int) -> Callable[[socket.socket, Any], Any]:
    establish = sockets._establish

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

    monkeypatch.setattr(sockets, "_establish", at_the_same_time)
    monkeypatch.setattr(racing, "HEAD_START", 0.0)
    names(monkeypatch, (socket.AF_INET, ("127.0.0.1", 1)), (socket.AF_INET, ("127.0.0.1", 2)))
    stream = await connect_socket(Address("name", 1))
    open_ones = [sock for sock in made if sock.fileno() >= 0]
    assert open_ones == [stream._sock]
    await stream.aclose()


def test_both_kinds_of_addresses_are_tried_in_turn() -> None:
    six, four = [(socket.AF_INET6, n) for n in range(4)], [(socket.AF_INET, n) for n in range(2)]
    assert sockets._alternating([*six, *four]) == [six[0], four[0], six[1], four[1], six[2], six[3]]
    assert sockets._alternating([*four, *six])[:2] == [four[0], six[0]]
    assert sockets._alternating([]) == []


@pytest.mark.parametrize("count", [1, 3])
async def test_cancelling_closes_the_socket(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    made: list[socket.socket] = []

    async def never(sock: socket.socket, sockaddr: Any) -> None:
        made.append(sock)
        await anyio.sleep_forever()

    monkeypatch.setattr(sockets, "_establish", never)
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


# --- listening ------------------------------------------------------------------------------------------


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


ZONE = """
import anyio, chanlink

async def main():
    alice, server = chanlink.Identity.generate("alice"), chanlink.Identity.generate("server")
    trust = chanlink.Trust.of(alice.public_key)
    async with chanlink.listen("tcp://[fe80::1%lo]:0", identity=server, trust=trust) as here:
        async with chanlink.connect(here.addresses[0], identity=alice, peer=server.public_key) as session:
            print(here.addresses[0], (await here.accept()).peer.address)

anyio.run(main)
"""
NAMESPACE = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c"]


def own_network(*words: str) -> subprocess.CompletedProcess[str]:
    """A command with a loopback interface of its own, which has a link-local address."""
    script = 'ip link set lo up && ip address add fe80::1/64 dev lo && exec "$@"'
    return subprocess.run([*NAMESPACE, script, "sh", *words], capture_output=True, text=True, timeout=PATIENCE)


@one_backend
async def test_an_address_of_one_link_is_said_with_its_zone() -> None:
    if not (shutil.which("unshare") and shutil.which("ip")) or own_network("true").returncode:
        pytest.skip("needs a network namespace")
    done = own_network(sys.executable, "-c", ZONE)
    assert done.returncode == 0, done.stderr
    listened, source = done.stdout.split()
    assert listened.startswith("tcp://[fe80::1%lo]:")
    assert source.startswith("[fe80::1%lo]:")


def test_a_zone_that_an_address_can_not_be_written_with_is_said_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_indextoname", lambda number: {7: "eth0", 8: "a strange:name"}[number])
    for zone, said in [(0, "fe80::1"), (7, "fe80::1%eth0"), (8, "fe80::1%8")]:
        address = Address.of(("fe80::1", 80, 0, zone))
        assert address == Address(said, 80)
        assert parse_address(str(address)) == address
    assert Address.of(("127.0.0.1", 80)) == Address("127.0.0.1", 80)


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


# --- raw streams ----------------------------------------------------------------------------------------


@asynccontextmanager
async def raw_pair(family: int) -> AsyncIterator[tuple[RawStream, socket.socket]]:
    """A raw stream, and the non-blocking socket at its other side."""
    host: Any = "" if family == socket.AF_UNIX else "127.0.0.1"
    with socket.socket(family) as server:
        server.bind((host, 0) if host else host)
        server.listen(1)
        far = socket.socket(family)
        far.connect(server.getsockname())
        near, _ = server.accept()
    far.setblocking(False)
    stream = RawStream(near)
    try:
        yield stream, far
    finally:
        await stream.aclose()
        far.close()


both_families = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])


@both_families
async def test_it_takes_no_more_than_it_is_asked_for(family: int) -> None:
    async with raw_pair(family) as (stream, far):
        far.send(b"0123456789")
        assert await stream.receive(3) == b"012"
        await anyio.wait_all_tasks_blocked()
        assert stream._sock.recv(100, socket.MSG_PEEK) == b"3456789"


@both_families
async def test_a_stranger_who_floods_fills_the_buffers_of_the_kernel_and_no_more(family: int) -> None:
    async with raw_pair(family) as (stream, far):
        full = fill(far)
        assert await stream.receive(9) == bytes(9)
        more = 0
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
            more += fill(far)
        assert more < max(full, 1_000_000)  # the kernel may move some from one buffer to the other


def fill(sock: socket.socket) -> int:
    """Send until nothing more is taken."""
    sent = 0
    with suppress(BlockingIOError):
        while sent < 64_000_000:
            sent += sock.send(bytes(65_536))
    return sent


@both_families
async def test_receiving_waits_and_lets_others_run_though_there_is_always_something(family: int) -> None:
    async with raw_pair(family) as (stream, far):
        far.send(bytes(1_000))
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            for _ in range(1_000):
                assert await stream.receive(1) == b"\0"
            tasks.cancel_scope.cancel()
        assert turns > 500


@both_families
async def test_a_large_item_is_sent_whole_as_the_peer_takes_it(family: int) -> None:
    async with raw_pair(family) as (stream, far):
        data = os.urandom(8_000_000)
        got = bytearray()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send, data)
            while len(got) < len(data):
                await anyio.wait_readable(far)
                got += far.recv(1_000_000)
        assert got == data


@both_families
async def test_the_end_and_half_ends(family: int) -> None:
    async with raw_pair(family) as (stream, far):
        await stream.send_eof()
        await stream.send_eof()
        await anyio.wait_readable(far)
        assert far.recv(1) == b""
        far.send(b"x")
        assert await stream.receive() == b"x"
        far.close()
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        await stream.send_eof()


def reset(sock: socket.socket) -> None:
    """Close a TCP connection so that the other side sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


async def test_a_reset_is_a_broken_resource_in_all_it_does() -> None:
    async with raw_pair(socket.AF_INET) as (stream, far):
        reset(far)
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.send(b"x")
        await stream.send_eof()


async def test_a_connection_that_was_reset_before_it_is_looked_at_makes_no_trouble() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        reset(client)
        await anyio.wait_readable(server)
        stream = RawStream(server.accept()[0])
    with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
        await stream.receive()
    await stream.aclose()


class DeadSocket(socket.socket):
    """What macOS gives for a connection that was reset before it was accepted."""

    def setsockopt(self, *args: Any) -> None:
        raise OSError(errno.EINVAL, "invalid argument")


@one_backend
async def test_a_connection_that_takes_no_options_makes_no_trouble() -> None:
    stream = RawStream(DeadSocket())
    with pytest.raises(anyio.BrokenResourceError):
        await stream.receive()
    await stream.aclose()


@both_families
async def test_a_closed_stream_says_so(family: int) -> None:
    async with raw_pair(family) as (stream, far):
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()
        with pytest.raises(anyio.ClosedResourceError):
            await stream.send(b"x")
        assert far.recv(1) == b""


@both_families
async def test_closing_wakes_who_waits(family: int) -> None:
    async with raw_pair(family) as (stream, _):

        async def wait() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await stream.receive()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()


@both_families
async def test_a_cancelled_receive_has_taken_nothing(family: int) -> None:
    async with raw_pair(family) as (stream, far):
        with anyio.move_on_after(0.01):
            await stream.receive()
        far.send(b"x")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await stream.receive()
        assert scope.cancelled_caught
        assert await stream.receive() == b"x"


# --- without waiting ------------------------------------------------------------------------------------


@both_families
async def test_what_can_be_received_now_is_and_the_end_is_nothing(family: int) -> None:
    buffer = memoryview(bytearray(3))
    async with raw_pair(family) as (stream, far):
        assert stream.receive_now(buffer) is None
        far.send(b"0123")
        await stream.wait_readable()
        assert stream.receive_now(buffer) == 3
        assert stream.receive_now(buffer[:2]) == 1
        assert bytes(buffer) == b"312"
        assert stream.receive_now(buffer) is None
        far.close()
        await stream.wait_readable()
        assert stream.receive_now(buffer) == 0


@both_families
async def test_what_can_be_sent_now_is_and_no_more(family: int) -> None:
    async with raw_pair(family) as (stream, far):
        sent = 0
        while count := stream.send_now(memoryview(bytes(100_000))):
            sent += count
        received = 0
        while received < sent:
            received += len(far.recv(1_000_000))
        await stream.send(b"and on")
        assert far.recv(10) == b"and on"


async def test_a_connection_that_was_reset_is_broken_for_all_of_them() -> None:
    async with raw_pair(socket.AF_INET) as (stream, far):
        reset(far)
        with pytest.raises(anyio.BrokenResourceError):
            await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            stream.send_now(b"x")


@both_families
async def test_what_is_closed_is_closed_for_all_of_them(family: int) -> None:
    async with raw_pair(family) as (stream, _far):
        await stream.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            stream.receive_now(memoryview(bytearray(1)))
        with pytest.raises(anyio.ClosedResourceError):
            stream.send_now(b"x")
        for _ in range(2):
            with pytest.raises(anyio.ClosedResourceError):
                await stream.wait_readable()


# --- each time ------------------------------------------------------------------------------------------


class Enough(Exception):
    pass


@both_families
async def test_it_is_looked_at_each_time_that_something_comes_until_that_raises(family: int) -> None:
    got, buffer = bytearray(), memoryview(bytearray(2))
    async with raw_pair(family) as (stream, far):

        def look() -> None:
            size = stream.receive_now(buffer)
            got.extend(buffer[:size])
            if b"." in got:
                raise Enough

        async def say() -> None:
            for character in b"12345.":
                await anyio.wait_all_tasks_blocked()
                far.send(bytes([character]))

        far.send(b"more than fits ")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(say)
            with pytest.raises(Enough):
                await stream.each_time_readable(look)
            far.send(b"nobody looks")
            await anyio.wait_all_tasks_blocked()
        assert bytes(got) == b"more than fits 12345."
        assert await stream.receive() == b"nobody looks"


@both_families
async def test_others_run_while_there_is_always_something_to_look_at(family: int) -> None:
    async with raw_pair(family) as (stream, far):
        far.send(bytes(1_000))
        turns, left, byte = 0, 1_000, memoryview(bytearray(1))

        def look() -> None:
            nonlocal left
            stream.receive_now(byte)
            left -= 1
            if not left:
                raise Enough

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            with pytest.raises(Enough):
                await stream.each_time_readable(look)
            tasks.cancel_scope.cancel()
        assert turns > 500


@both_families
async def test_who_is_cancelled_looks_no_more(family: int) -> None:
    async with raw_pair(family) as (stream, far):
        with anyio.move_on_after(0.01):
            await stream.each_time_readable(lambda: pytest.fail("nothing has come"))
        far.send(b"x")
        assert await stream.receive() == b"x"


@both_families
async def test_closing_wakes_who_looks_and_what_has_the_same_number_next_is_left_alone(family: int) -> None:
    async with raw_pair(family) as (stream, _):
        number = stream._sock.fileno()

        async def watch() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await stream.each_time_readable(lambda: pytest.fail("nothing has come"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
            async with raw_pair(family) as (other, far):
                assert number in (other._sock.fileno(), far.fileno())
                await anyio.wait_all_tasks_blocked()
                far.send(b"x")
                assert await other.receive() == b"x"
        with pytest.raises(anyio.ClosedResourceError):
            await stream.each_time_readable(lambda: None)


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_after_an_interruption_nothing_is_looked_at_any_more(
    make_loop: Callable[[], asyncio.AbstractEventLoop], interrupt: type[BaseException]
) -> None:
    """It leaves the event loop, which a program may let run on: what was read is lost, and nothing may follow it."""

    async def watch(stream: RawStream) -> None:
        buffer = memoryview(bytearray(9))

        def look() -> None:
            size = stream.receive_now(buffer)
            assert bytes(buffer[:size]) == b"lost"
            raise interrupt

        with pytest.raises(anyio.BrokenResourceError):
            await stream.each_time_readable(look)
        assert await stream.receive() == b"more"

    near, far = socket.socketpair()
    with contextlib.closing(near), contextlib.closing(far), contextlib.closing(make_loop()) as loop:
        watching = loop.create_task(watch(RawStream(near)))
        far.send(b"lost")
        with pytest.raises(interrupt):
            loop.run_until_complete(watching)
        far.send(b"more")
        loop.run_until_complete(asyncio.wait_for(watching, 10))
