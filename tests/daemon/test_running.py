"""All of the daemon: what it looks at again, and how it stops and starts."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

import chanlink
from chanlink.daemon import running as running_module
from chanlink.daemon import settings
from chanlink.daemon.given import Given
from chanlink.daemon.journal import read_rows
from chanlink.daemon.running import Daemon, Place, locked, running
from chanlink.errors import ConfigError
from chanlink.handover.messages import Attach, Attached, Changed, HandedOver, Over
from chanlink.handover.passing import Line
from chanlink.security.keys.credential import HOST
from tests.patience import until
from tests.patterns.jobs.test_sqlite import IN_SMALL_DISK, cannot_mount
from tests.security.keys.credentials import CA, save

from .places import QUICK, US, Got, Host, serving, taken

CLIENT = chanlink.Identity.generate("client")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(running_module, "LOOK", 0.05)
    host = Host(tmp_path)
    host.trust(CLIENT.public_key)
    return host


def replace(file: Path, text: str) -> None:
    file.with_name("new").write_text(text)
    os.replace(file.with_name("new"), file)


async def coming(host: Host, daemon: Daemon, left: anyio.Event) -> None:
    """A client with a session, until somebody ends it."""
    with pytest.raises(chanlink.SessionError):
        async with chanlink.connect(daemon.addresses[0], identity=CLIENT, peer=host.key, service="ping") as session:
            await left.wait()
            await session.wait_closed()
            raise chanlink.ConnectionLost("it was closed")


async def attached(line: Line, id_: bytes) -> Attached | Over:
    await line.send(Attach(id=id_))
    answer = await line.receive(Attached, Over)
    assert isinstance(answer, Attached | Over)
    return answer


@pytest.mark.anyio
async def test_a_restart_ends_no_session(host: Host) -> None:
    async with serving(host.user_key) as web1:
        host.know(web1=web1)
        async with host.running():
            got = await host.connect()
            stream = await got.welcomed()
        assert [row.id for row in read_rows(host.folder.journal)] == [got.id.hex()]
        with pytest.raises(chanlink.ConnectionLost):
            await got.line.receive(Over)
        async with host.running() as daemon:
            assert len(daemon) == 1
            line = await host.line()
            assert await attached(line, got.id) == Attached(id=got.id)
            await stream.aclose()  # which works all the time
            line.close()
            while len(daemon):
                await anyio.sleep(0.01)
        got.close()


@pytest.mark.anyio
async def test_incoming_sessions_are_attached_after_a_restart_and_clients_that_come_back_find_them(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with host.running() as daemon, anyio.create_task_group() as tasks:
        line, left = await host.advertise(), anyio.Event()
        tasks.start_soon(coming, host, daemon, left)
        got = await taken(line)
        stream = await got.welcomes()
        await stream.aclose()
        left.set()
    line.close()
    async with host.running() as daemon:
        line = await host.advertise()
        assert await attached(line, got.id) == Attached(id=got.id)
        (application,) = daemon.applications._of_service["ping"]
        assert list(application.sessions) == [got.id]
        line.close()
    got.close()


@pytest.mark.anyio
async def test_an_application_is_told_within_moments_that_its_client_is_not_trusted_any_more(host: Host) -> None:
    async with host.running() as daemon, anyio.create_task_group() as tasks:
        line, left = await host.advertise(), anyio.Event()
        tasks.start_soon(coming, host, daemon, left)
        got = await taken(line)
        stream = await got.welcomes()
        replace(host.folder.trust, f"{host.user_key}\n")
        assert await line.receive(Over) == Over(id=got.id, code="revoked")
        assert len(daemon) == 0
        left.set()
        await stream.aclose()
        line.close()
        got.close()
    assert '"code": "revoked"' in host.folder.audit.read_text()


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["the trust file", "a list that it names"])
async def test_a_file_that_was_not_there_at_the_start_counts_once_it_is(host: Host, tmp_path: Path, what: str) -> None:
    trust, file = host.folder.trust.read_text(), host.folder.trust
    if what != "the trust file":
        file, ca = tmp_path / "revoked", chanlink.Identity.generate("org").public_key
        host.folder.trust.write_text(f'{trust}cert-authority,issuer="org",principals="a",revoked="{file}" {ca}\n')
        trust = "# nobody\n"
    else:
        file.unlink()
    async with host.running() as daemon, anyio.create_task_group() as tasks:
        line, left = await host.advertise(), anyio.Event()
        with pytest.raises(chanlink.UntrustedPeer):
            async with chanlink.connect(daemon.addresses[0], identity=CLIENT, peer=host.key, service="ping"):
                pass
        file.write_text(trust)
        await until(lambda: not daemon._authorities.lacks_any)
        tasks.start_soon(coming, host, daemon, left)
        got = await taken(line)
        stream = await got.welcomes()
        left.set()
        await stream.aclose()
        line.close()
        got.close()


@pytest.mark.anyio
@pytest.mark.parametrize("revoked", ["*", "127.0.0.1"])
@pytest.mark.parametrize("what", ["the key", "its authority"])
async def test_an_application_is_told_that_what_vouches_for_a_host_is_revoked(
    host: Host, tmp_path: Path, what: str, revoked: str
) -> None:
    authority, server = CA("org"), chanlink.Identity.generate("server")
    server.save(tmp_path / "server")
    save(authority.issue(server.public_key, "127.0.0.1", type=HOST), tmp_path / "server")
    vouched, lines = chanlink.Identity.load(tmp_path / "server"), f"@cert-authority 127.0.0.1 {authority.key}\n"
    host.folder.known_peers.write_text(lines)
    trust = chanlink.Trust.of(host.user_key)
    async with chanlink.listen("tcp://127.0.0.1:0", identity=vouched, trust=trust) as listener, host.running():
        address = listener.addresses[0]
        host.folder.hosts.write_text(f'[web1]\naddress = "{address}"\n')
        got = await host.connect()
        stream = await got.welcomed()
        names = (
            revoked
            if revoked == "*" or what != "the key"
            else address.removeprefix("tcp://").replace("127.0.0.1", "[127.0.0.1]")
        )
        key = server.public_key if what == "the key" else authority.key
        replace(host.folder.known_peers, f"{lines}@revoked {names} {key}\n")
        assert await got.line.receive(Over) == Over(id=got.id, code="revoked")
        await stream.aclose()
        got.close()


@pytest.mark.anyio
async def test_an_application_is_told_that_a_hosts_key_is_revoked(host: Host) -> None:
    async with serving(host.user_key) as (address, key), host.running():
        host.know(web1=(address, key))
        got = await host.connect()
        stream = await got.welcomed()
        replace(host.folder.known_peers, f"@revoked * {key}\n")
        assert await got.line.receive(Over) == Over(id=got.id, code="revoked")
        await stream.aclose()
        got.close()


@pytest.mark.anyio
async def test_who_was_revoked_while_there_was_no_daemon_is_told_at_the_next_one(host: Host) -> None:
    async with serving(host.user_key) as (address, key):
        host.know(web1=(address, key))
        async with host.running():
            got = await host.connect()
            stream = await got.welcomed()
        replace(host.folder.known_peers, f"@revoked * {key}\n")
        async with host.running() as daemon:
            assert len(daemon) == 0
            line = await host.line()
            assert await attached(line, got.id) == Over(id=got.id, code="revoked")
            line.close()
        await stream.aclose()
        got.close()


@pytest.mark.anyio
async def test_a_service_that_is_added_can_be_used_a_moment_later(host: Host) -> None:
    async with serving(host.user_key, services={"new": _nothing}) as web1, host.running():
        host.know(web1=web1)
        settings.add_service(host.folder.settings, settings.Service("new"))
        while not (host.run / "ipc" / "new").exists():
            await anyio.sleep(0.01)
        line = await host.line(service="new")
        line.close()


@pytest.mark.anyio
async def test_a_socket_that_could_not_be_made_is_there_once_it_can_be(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    settings.add_service(host.folder.settings, settings.Service("new"))
    path = host.run / "ipc" / "new"
    path.parent.mkdir(parents=True)
    path.write_text("in the way")
    async with host.running():
        await anyio.sleep(5 * running_module.LOOK)
        assert caplog.text.count("the service new can't be reached") == 1
        path.unlink()
        while not path.exists():
            await anyio.sleep(0.01)
        (await host.line(service="new")).close()


@pytest.mark.anyio
async def test_a_service_that_is_taken_away_has_no_sessions_of_the_network_any_more(host: Host) -> None:
    async with host.running() as daemon, anyio.create_task_group() as tasks:
        line, left = await host.advertise(), anyio.Event()
        tasks.start_soon(coming, host, daemon, left)
        got = await taken(line)
        stream = await got.welcomes()
        replace(host.folder.settings, settings.fresh(groups=False))
        assert await line.receive(Over) == Over(id=got.id, code="revoked")
        assert not list(host.run.glob("*/*"))
        left.set()
        await stream.aclose()
        line.close()
        got.close()


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["service", "user"])
async def test_who_has_a_session_by_what_is_removed_is_told(host: Host, what: str) -> None:
    """And a user without a key gets no other one."""
    async with serving(host.user_key) as web1:
        host.know(web1=web1)
        async with host.running() as daemon:
            got = await host.connect()
            stream = await got.welcomed()
            if what == "service":
                settings.remove_service(host.folder.settings, "ping")
            else:
                assert host.folder.remove_user(US) == host.user_key
            assert await got.line.receive(Over) == Over(id=got.id, code="revoked")
            assert len(daemon) == 0
            if what == "user":
                refused = await host.connect()
                assert refused.message.code == "no-identity"
                refused.close()
        await stream.aclose()
        got.close()


async def _nothing(receiver: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
    await receiver.aclose()


@pytest.mark.anyio
async def test_settings_that_are_not_understood_change_nothing(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    async with host.running():
        replace(host.folder.settings, "what = 1\n")
        while "what is not known" not in caplog.text:
            await anyio.sleep(0.01)
        line = await host.line()
        line.close()


@pytest.mark.anyio
async def test_a_folder_has_one_daemon(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_module, "TRIES", 1)
    async with host.running():
        with pytest.raises(chanlink.ConfigError, match="another daemon"):
            async with host.running():
                pass
        with pytest.raises(chanlink.ConfigError, match="another daemon"), locked(host.folder.path):
            pass
    with locked(host.folder.path):
        pass


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match="/run must be a folder of the daemon's user"),
        locked(tmp_path / "file" / "run"),
    ):
        pass


@pytest.mark.anyio
async def test_sockets_that_were_given_are_used_and_left(host: Host) -> None:
    given = Given()
    given.network.append(socket.create_server(("127.0.0.1", 0)))
    given.network[0].setblocking(False)
    door = host.run / "ipc" / "ping"
    door.parent.mkdir(parents=True)
    given.doors[str(door)] = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    given.doors[str(door)].bind(str(door))
    given.doors[str(door)].listen()
    given.doors[str(door)].setblocking(False)
    async with serving(host.user_key) as web1:
        host.know(web1=web1)
        async with running(Place(host.folder, host.run), audit=None, given=given, limits=QUICK) as daemon:
            assert len(daemon.addresses) == 1
            got: Got = await host.connect()
            assert isinstance(got.message, HandedOver)
            got.close()
    assert door.exists()


@pytest.mark.anyio
async def test_a_peer_that_is_called_otherwise_by_now_is_told_to_the_application(host: Host) -> None:
    async with host.running() as daemon, anyio.create_task_group() as tasks:
        line, left = await host.advertise(), anyio.Event()
        tasks.start_soon(coming, host, daemon, left)
        got = await taken(line)
        stream = await got.welcomes()
        replace(host.folder.trust, f"{CLIENT.public_key}-by-another-name\n")
        changed: Any = await line.receive(Changed)
        assert (changed.id, changed.name) == (got.id, "client-by-another-name")
        left.set()
        await stream.aclose()
        line.close()
        got.close()


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_disk_that_is_full_lets_nobody_in_and_loses_no_line_of_the_audit(tmp_path: Path) -> None:
    """Until there is room again."""
    if await anyio.to_thread.run_sync(cannot_mount, tmp_path):
        pytest.skip("this user can mount nothing, also not in a namespace of its own")
    on_disk = [part.replace("16m", "1m") for part in IN_SMALL_DISK]
    command = [*on_disk, tmp_path, sys.executable, "-m", "tests.daemon.full_disk", tmp_path]
    done = await anyio.run_process(command, check=False, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode().splitlines()
    assert said[0] == "No space left on device"
    assert len(said) == 5
