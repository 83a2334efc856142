"""What local applications say to the daemon."""

import os
import socket
from pathlib import Path

import anyio
import msgpack
import pytest

import chanlink
from chanlink.daemon import desk, outgoing
from chanlink.daemon.bounds import ADVERTISED, CONNECTIONS, REQUESTS
from chanlink.daemon.handing import OURS
from chanlink.handover.messages import Advertise, Attach, Attached, Ended, HandedOver, Over, Refused
from chanlink.handover.passing import Line

from .places import Host, asking, serving, taken


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


async def gone(line: Line) -> None:
    """The daemon has ended the line."""
    with pytest.raises(chanlink.ConnectionLost):
        await line.receive(Refused)
    line.close()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "packet",
    [b"\0", b"x" * 70_000, msgpack.packb({"what": "what"}), msgpack.packb([1]), Ended(id=bytes(16)).packed()],
    ids=["null", "long", "unknown", "list", "not-now"],
)
@pytest.mark.parametrize("direction", ["ipc", "import"])
async def test_what_is_no_request_ends_the_line(host: Host, packet: bytes, direction: str) -> None:
    async with host.running():
        line = await host.line(direction)
        line.raw_socket.setblocking(True)
        line.raw_socket.sendall(packet)
        line.raw_socket.setblocking(False)
        await gone(line)


@pytest.mark.anyio
@pytest.mark.parametrize("direction", ["ipc", "import"])
async def test_a_descriptor_that_is_sent_to_the_daemon_is_not_kept_and_ends_the_line(
    host: Host, direction: str
) -> None:
    async with host.running():
        line = await host.line(direction)
        before = len(os.listdir("/proc/self/fd"))
        reading, writing = os.pipe()
        packed = asking().packed() if direction == "ipc" else Advertise(features=sorted(OURS)).packed()
        socket.send_fds(line.raw_socket, [packed], [writing] * 100)
        os.close(writing)
        await gone(line)
        assert os.read(reading, 1) == b""  # nobody has the other end
        os.close(reading)
        assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.anyio
async def test_who_says_nothing_is_not_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "PATIENCE", 0.05)
    async with host.running():
        await gone(await host.line())
        await gone(await host.line("import"))


@pytest.mark.anyio
async def test_half_requests_of_a_user_are_bounded_and_say_busy(host: Host) -> None:
    async with host.running():
        lines = [await host.line() for _ in range(REQUESTS.of_user)]
        one_more = await host.line()
        said = await one_more.receive(Refused)
        assert said.code == "busy"
        lines.pop().close()
        async with serving(host.user_key) as web1:
            host.know(web1=web1)
            while True:
                got = await host.connect()
                got.close()
                if isinstance(got.message, HandedOver):
                    break
        for line in (*lines, one_more):
            line.close()


@pytest.mark.anyio
async def test_a_user_without_an_identity_is_told_what_makes_one(host: Host) -> None:
    for file in sorted((host.folder.path / "users").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    async with host.running():
        got = await host.connect()
        got.close()
        assert got.message.code == "no-identity"
        assert "chanlink daemon user add" in got.message.text


@pytest.mark.anyio
async def test_another_version_is_refused(host: Host) -> None:
    async with host.running():
        for direction, request in (("ipc", asking(version=2)), ("import", Advertise(version=2, features=sorted(OURS)))):
            line = await host.line(direction)
            await line.send(request)
            assert (await line.receive(Refused)).code == "version"
            line.close()


@pytest.mark.anyio
async def test_an_application_without_a_feature_of_the_daemon_does_not_serve(host: Host) -> None:
    async with host.running():
        line = await host.line("import")
        await line.send(Advertise(features=["trace-context"]))
        assert (await line.receive(Refused)).code == "version"
        line.close()


@pytest.mark.anyio
async def test_an_id_belongs_to_one_session(host: Host) -> None:
    async with serving(host.user_key) as web1, host.running():
        host.know(web1=web1)
        id_ = os.urandom(16)
        got = await host.connect(id=id_)
        again = await host.connect(id=id_)
        assert again.message.code == "id-taken"
        again.close()
        got.close()


@pytest.mark.anyio
async def test_who_comes_back_to_what_is_not_there_is_told_so(host: Host) -> None:
    async with serving(host.user_key) as web1, host.running():
        host.know(web1=web1, web2=web1)
        got = await host.connect()
        for host_name, id_ in (("web1", bytes(16)), ("web2", got.id)):
            other = await host.connect(host_name, id=id_, session=bytes(16))
            assert other.message.code == "unknown-session"
            other.close()
        got.close()


@pytest.mark.anyio
async def test_a_return_that_is_attached_is_the_line_from_then_on(host: Host) -> None:
    async with serving(host.user_key) as web1, host.running() as daemon:
        host.know(web1=web1)
        got = await host.connect(resume=60_000)
        again = await host.connect(id=got.id, session=bytes(16))
        assert isinstance(again.message, HandedOver)
        await again.line.send(Attach(id=got.id))
        assert await again.line.receive(Attached) == Attached(id=got.id)
        got.close()
        await anyio.sleep(0.05)
        assert len(daemon) == 1
        again.close()
        while len(daemon):
            await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_a_line_of_one_session_is_not_that_of_another_one(host: Host) -> None:
    async with serving(host.user_key) as web1, host.running() as daemon:
        host.know(web1=web1)
        one, other = await host.connect(), await host.connect()
        await one.line.send(Attach(id=other.id))
        with pytest.raises(chanlink.ConnectionLost):
            await one.line.receive(Attached)
        other.close()
        while len(daemon):
            await anyio.sleep(0.01)
        one.close()


@pytest.mark.anyio
async def test_a_return_of_which_nothing_has_come_ends_nothing(host: Host) -> None:
    async with serving(host.user_key) as web1, host.running() as daemon:
        host.know(web1=web1)
        got = await host.connect(resume=60_000)
        for _ in range(3):
            again = await host.connect(id=got.id, session=bytes(16))
            assert isinstance(again.message, HandedOver)
            again.close()
        await anyio.sleep(0.05)
        assert len(daemon) == 1
        got.close()
        while len(daemon):
            await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_a_line_is_attached_by_its_own_service_and_direction_only(host: Host) -> None:
    async with serving(host.user_key) as web1, host.running():
        host.know(web1=web1)
        got = await host.connect()
        for direction, service in (("ipc", "echo"), ("import", "ping")):
            line = await host.line(direction, service)
            if direction == "import":
                line.close()
                line = await host.advertise()
            await line.send(Attach(id=got.id))
            over = await line.receive(Over, Attached)
            assert isinstance(over, Over)
            assert over.code == "unknown-session"
            line.close()
        got.close()


@pytest.mark.anyio
async def test_a_session_ends_with_its_line(host: Host) -> None:
    async with serving(host.user_key) as web1, host.running() as daemon:
        host.know(web1=web1)
        got = await host.connect()
        assert len(daemon) == 1
        got.close()
        while len(daemon):
            await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_who_says_something_on_the_line_of_a_session_has_none_any_more(host: Host) -> None:
    async with serving(host.user_key) as web1, host.running() as daemon:
        host.know(web1=web1)
        got = await host.connect()
        await got.line.send(asking())
        await gone(got.line)
        while len(daemon):
            await anyio.sleep(0.01)
        got.close()


@pytest.mark.anyio
async def test_one_slow_host_keeps_nobody_waiting(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "LONGEST", 1_000.0)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        async with serving(host.user_key) as web1, host.running():
            host.know(web1=web1, slow=(f"tcp://127.0.0.1:{silent.getsockname()[1]}", host.key))
            lines = [await host.line() for _ in range(20)]
            for line in lines:
                await line.send(asking("slow"))
            got = await host.connect()
            assert isinstance(got.message, HandedOver)
            got.close()
            for line in lines:
                line.close()


def test_the_bounds_leave_room_for_what_they_bound() -> None:
    assert REQUESTS.of_user < REQUESTS.in_all < CONNECTIONS.in_all
    assert ADVERTISED.of_user < ADVERTISED.in_all < CONNECTIONS.in_all


@pytest.mark.anyio
async def test_an_application_that_has_gone_serves_no_more(host: Host) -> None:
    async with host.running() as daemon:
        line = await host.advertise()
        assert len(daemon.applications) == 1
        line.close()
        while len(daemon.applications):
            await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_what_is_said_of_a_session_of_others_changes_nothing(host: Host) -> None:
    client = chanlink.Identity.generate("client")
    host.trust(client.public_key)
    async with host.running() as daemon:
        line, other = await host.advertise(), await host.advertise()

        async def connect() -> None:
            async with chanlink.connect(daemon.addresses[0], identity=client, peer=host.key, service="ping"):
                await done.wait()

        done = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connect)
            got = await taken(line)
            stream = await got.welcomes()
            await other.send(Ended(id=got.id))
            await other.send(Attach(id=bytes(16)))
            assert (await other.receive(Over)).id == bytes(16)
            assert len(daemon) == 1
            done.set()
            await stream.aclose()
        line.close()
        other.close()
