"""From a local application to another machine."""

import socket
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink.daemon.bounds import Full
from chanlink.daemon.outgoing import FEATURES_MAX, Refusal, refused
from chanlink.directory import Directory, directory_services
from chanlink.errors import ConnectFailed, HandshakeError, HandshakeTimeout, ServerTooOld, SessionClosed
from chanlink.handover.messages import TEXT_MAX
from tests.security.keys.credentials import CA, save

from .places import US, Host, asking, serving


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


async def refusal(host: Host, name: str = "web1", **more: object) -> tuple[str, str]:
    """What an application is told."""
    got = await host.connect(name, **more)
    got.close()
    return got.message.code, got.message.text


@pytest.mark.anyio
async def test_an_application_without_a_key_has_a_session_as_the_user(host: Host) -> None:
    async with serving(host.user_key) as web1, host.running():
        host.know(web1=web1)
        got = await host.connect()
        stream = await got.welcomed()
        assert got.message.peer == {"key": web1[1].raw, "name": web1[1].comment}
        assert got.message.identity == host.user_key.raw
        assert stream.welcome["you"] == host.user_key.raw
        await stream.aclose()
        got.close()


@pytest.mark.anyio
async def test_what_is_wrong_with_one_host_of_the_file_is_the_error_of_that_one(host: Host) -> None:
    async with serving(host.user_key) as web1, host.running():
        host.know(web1=web1)
        with host.folder.hosts.open("a") as file:
            file.write('[web2]\naddress = "tcp://192.0.2.1:1"\nkey = "none"\n')
        got = await host.connect("web1")
        await (await got.welcomed()).aclose()
        got.close()
        assert "web2" in (await refusal(host, "web2"))[1]


@pytest.mark.anyio
async def test_the_session_is_for_the_service_of_the_socket_alone(host: Host) -> None:
    """What a listener that is a daemon's makes of it, tests/daemon/test_incoming.py looks at."""
    async with serving(host.user_key, services=None) as web1, host.running():
        host.know(web1=web1)
        got = await host.connect()
        assert "one-service" in got.message.features
        assert "credential-renewal" not in got.message.features
        got.close()


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["tcp://127.0.0.1:1", "unix:/tmp/x", "chanlink://web1", "127.0.0.1:1", "a b", "../x"])
async def test_an_address_is_no_host(host: Host, name: str) -> None:
    async with host.running():
        code, text = await refusal(host, name)
        assert code == "no-such-host"
        assert "no name of a host" in text


@pytest.mark.anyio
async def test_a_host_that_nobody_knows_is_said_so(host: Host) -> None:
    async with host.running():
        assert (await refusal(host))[0] == "no-such-host"


@pytest.mark.anyio
async def test_a_host_with_another_key_is_not_shown_who_the_user_is(host: Host) -> None:
    other = chanlink.Identity.generate("other").public_key
    async with serving(host.user_key) as (address, key), host.running():
        host.know(web1=(address, other))
        got = await host.connect()
        got.close()
        assert got.message.code == "wrong-peer"
        assert (got.message.expected, got.message.found) == (other.fingerprint, key.fingerprint)


@pytest.mark.anyio
async def test_known_peers_say_the_key_where_the_file_of_hosts_does_not(host: Host) -> None:
    async with serving(host.user_key) as (address, key), host.running():
        host.folder.hosts.write_text(f'[web1]\naddress = "{address}"\n')
        assert (await refusal(host))[0] == "untrusted"
        host.folder.known_peers.write_text(f"{address.replace('tcp://127.0.0.1', '[127.0.0.1]')} {key}\n")
        got = await host.connect()
        await (await got.welcomed()).aclose()
        got.close()


@pytest.mark.anyio
async def test_where_nobody_listens_is_unreachable(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = f"tcp://127.0.0.1:{sock.getsockname()[1]}"
    async with host.running():
        host.know(web1=(address, host.key))
        assert (await refusal(host))[0] == "unreachable"


@pytest.mark.anyio
async def test_an_application_does_not_wait_longer_than_it_says(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with host.running():
            host.know(web1=(f"tcp://127.0.0.1:{silent.getsockname()[1]}", host.key))
            assert (await refusal(host, milliseconds=50))[0] == "timeout"


@pytest.mark.anyio
async def test_a_connection_is_not_kept_for_an_application_that_is_gone(host: Host) -> None:
    async with host.running():
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        host.know(web1=(f"tcp://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}", host.key))
        ended = anyio.Event()

        async def silent(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                async for _ in stream:
                    came.set()
            ended.set()

        came = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, silent)
            line = await host.line()
            await line.send(asking())
            await came.wait()
            line.close()
            await ended.wait()
            tasks.cancel_scope.cancel()
        await listener.aclose()


@pytest.mark.anyio
async def test_features_that_fill_a_message_are_refused(host: Host) -> None:
    async with host.running():
        assert (await refusal(host, features=["x" * (FEATURES_MAX + 1)]))[0] == "bad-request"


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (Refusal("no-identity", "x"), "no-identity"),
        (Full("x"), "busy"),
        (ServerTooOld("x"), "server-too-old"),
        (HandshakeTimeout("x"), "timeout"),
        (HandshakeError("x"), "handshake-failed"),
        (SessionClosed("busy", "x"), "busy"),
        (ConnectFailed("x"), "unreachable"),
        (chanlink.ConfigError("x"), "handshake-failed"),
        (OSError(28, "x"), "busy"),
    ],
)
def test_each_problem_has_its_code(problem: Exception, code: str) -> None:
    said = refused(problem)
    assert said.code == code
    assert "x" in said.text


def test_a_defect_of_ours_is_no_refusal() -> None:
    with pytest.raises(ZeroDivisionError):
        refused(ZeroDivisionError())


def test_a_long_text_is_cut_and_what_is_not_printable_is_written_out() -> None:
    said = refused(HandshakeError("\x1b[2J" + "x" * 5_000))
    assert len(said.text) == TEXT_MAX
    assert said.text.isprintable()


@pytest.mark.anyio
async def test_a_host_may_be_a_name_of_the_directory(host: Host) -> None:
    """Which says where it is; that it has the right key, known_peers says."""
    registrar, place = chanlink.Identity.generate("web1"), chanlink.Identity.generate("directory")
    everybody = chanlink.Trust.of(registrar.public_key, host.key)
    async with (
        directory_services() as services,
        chanlink.listen("tcp://127.0.0.1:0", identity=place, trust=everybody, services=services) as listener,
        serving(host.user_key, identity=registrar) as (address, key),
    ):
        where = listener.addresses[0]
        async with Directory(where, identity=registrar, peer=place.public_key) as directory:
            await directory.register("web1", [address])
            text = host.folder.settings.read_text()
            host.folder.settings.write_text(f'directory = "{where} {place.public_key}"\n{text}')
            async with host.running():
                assert (await refusal(host))[0] == "untrusted"
                host.folder.known_peers.write_text(f"chanlink://web1 {key}\n")
                got = await host.connect()
                await (await got.welcomed()).aclose()
                got.close()
                assert (await refusal(host, "web2"))[0] == "no-such-host"


@pytest.mark.anyio
async def test_a_users_credential_is_shown(host: Host) -> None:
    organization = CA("org")
    save(organization.issue(host.user_key, "alice"), host.folder.path / "users" / US / "id_ed25519")
    (host.folder.path / "who").write_text(f'cert-authority,issuer="org",principals="alice" {organization.key}\n')
    names: list[str] = []

    async def note(receiver: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
        names.append(peer.name)

    trust = chanlink.Trust.load(host.folder.path / "who")
    async with serving(trust=trust, services={"ping": note}) as web1, host.running():
        host.know(web1=web1)
        local = chanlink.Local("web1", service="ping", folder=host.run)
        async with chanlink.connect(local) as session, await session.open("ping"):
            while not names:
                await anyio.sleep(0.01)
    assert names == ["alice@org"]
