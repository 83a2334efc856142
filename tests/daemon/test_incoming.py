"""From a client of the network to a local application."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink.daemon.journal import read_rows
from chanlink.daemon.running import Daemon
from chanlink.errors import SessionClosed, UntrustedPeer
from chanlink.features import FEATURES
from chanlink.handover.messages import Ended, Over, Withdrawn
from chanlink.limits import Limits
from chanlink.security.handshake import answer_to, answer_with, ask, handshake_as_client
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.records import RESUME
from chanlink.security.statics import Statics
from chanlink.session.vouching import GRACE
from chanlink.transport.address import parse_address
from chanlink.transport.reaching import connect_socket
from tests.security.keys.credentials import CA, save

from .places import QUICK, Host, taken

CLIENT, STRANGER = chanlink.Identity.generate("client"), chanlink.Identity.generate("stranger")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.trust(CLIENT.public_key)
    return host


def connecting(host: Host, daemon: Daemon, identity: chanlink.Identity = CLIENT, **more: Any) -> Any:
    return chanlink.connect(daemon.addresses[0], identity=identity, peer=host.key, **{"service": "ping", **more})


async def refusal(host: Host, daemon: Daemon, identity: chanlink.Identity = CLIENT, **more: Any) -> str:
    """Why a client gets no session."""
    try:
        async with connecting(host, daemon, identity, **more):
            return ""
    except UntrustedPeer as exc:
        return "untrusted" if exc.remote else repr(exc)
    except SessionClosed as exc:
        return exc.code


@pytest.mark.anyio
async def test_a_client_that_is_trusted_comes_to_an_application(host: Host) -> None:
    async with host.running() as daemon:
        line = await host.advertise()

        async def serve() -> None:
            got = await taken(line)
            assert got.message.peer == {"key": CLIENT.public_key.raw, "name": "client"}
            assert got.message.identity == host.key.raw
            assert got.message.resume is got.message.instance is got.message.returns is None
            stream = await got.welcomes()
            with pytest.raises(anyio.EndOfStream):
                while True:
                    await stream.receive()
            await stream.aclose()
            await line.send(Ended(id=got.id, code="done"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            async with connecting(host, daemon) as session:
                assert session.peer.key == host.key
        line.close()
        while len(daemon):
            await anyio.sleep(0.01)
    (ended,) = [json.loads(line) for line in host.folder.audit.read_text().splitlines()]
    assert (ended["way"], ended["code"], ended["service"], ended["name"]) == ("incoming", "done", "ping", "client")
    assert ended["key"] == CLIENT.public_key.fingerprint


@pytest.mark.anyio
async def test_strangers_and_those_who_may_not_use_the_service_reach_no_application(host: Host) -> None:
    host.folder.trust.write_text(f'services="other" {CLIENT.public_key}\n')
    async with host.running() as daemon:
        line = await host.advertise()
        assert await refusal(host, daemon, STRANGER) == "untrusted"
        assert await refusal(host, daemon, CLIENT) == "untrusted"
        with anyio.move_on_after(0.1) as scope:
            await taken(line)
        assert scope.cancelled_caught
        line.close()
    refused = [json.loads(line) for line in host.folder.audit.read_text().splitlines()]
    assert [(one["refused"], one["key"]) for one in refused] == [
        ("untrusted", STRANGER.public_key.fingerprint),
        ("untrusted", CLIENT.public_key.fingerprint),
    ]


@pytest.mark.anyio
async def test_the_log_says_why_what_vouches_for_a_client_does_not_count(
    host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    organization = CA("org")
    host.folder.trust.write_text(f'cert-authority,issuer="org",principals="bob" {organization.key}\n')
    CLIENT.save(tmp_path / "client")
    save(organization.issue(CLIENT.public_key, "alice"), tmp_path / "client")
    async with host.running() as daemon:
        with caplog.at_level(logging.WARNING):
            assert await refusal(host, daemon, chanlink.Identity.load(tmp_path / "client")) == "untrusted"
    start = f"its key {CLIENT.public_key.fingerprint} is not trusted: "
    assert [one for one in caplog.messages if start in one and "principal" in one]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("service", "code"), [("", "service-needed"), ("ping", "busy"), ("echo", "untrusted"), ("missing", "untrusted")]
)
async def test_what_a_client_is_told_where_nobody_serves(host: Host, service: str, code: str) -> None:
    """That there is a service which is not for the network is nobody's business."""
    async with host.running() as daemon:
        assert await refusal(host, daemon, service=service) == code


@pytest.mark.anyio
async def test_the_daemon_says_busy_for_an_application_that_has_withdrawn(host: Host) -> None:
    async with host.running() as daemon:
        line = await host.advertise()
        await line.send(Withdrawn())
        (application,) = daemon.applications._of_service["ping"]
        while application.takes_more:
            await anyio.sleep(0.01)
        assert await refusal(host, daemon) == "busy"
        line.close()


@pytest.mark.anyio
async def test_one_key_has_so_many_sessions(host: Host) -> None:
    limits = Limits(trust_interval=QUICK.trust_interval, sessions_per_key=2)
    async with host.running(limits) as daemon:
        line = await host.advertise()
        got = []
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(asked, host, daemon, {})
                got.append(await taken(line))
            assert await refusal(host, daemon) == "busy"
            for one in got:
                await one.welcomes()
        for one in got:
            one.close()
        line.close()


async def asked(host: Host, daemon: Daemon, more: dict[str, Any], found: list[Any] | None = None) -> None:
    """A client that does the handshake, and no more."""
    transport = await connect_socket(parse_address(daemon.addresses[0]))

    def admit(presented: Presented) -> Grant:
        return Grant("host", None)

    try:
        met = await handshake_as_client(
            transport, Statics(CLIENT, Role.CLIENT), admit, Limits(), service="ping", **more
        )
        if found is not None:
            found.append(met)
    finally:
        transport.close_now()


@pytest.mark.anyio
async def test_of_a_session_that_may_be_resumed_the_application_is_told_id_instance_and_time(host: Host) -> None:
    async with host.running() as daemon:
        line = await host.advertise(resume=30_000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asked, host, daemon, {"resume": 60.0})
            got = await taken(line)
            assert got.message.instance == host.folder.instance
            assert got.message.resume == 30_000
            await got.welcomes()
        got.close()


@pytest.mark.anyio
async def test_an_application_whose_clients_may_not_come_back_gets_no_time(host: Host) -> None:
    async with host.running() as daemon:
        line = await host.advertise()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asked, host, daemon, {"resume": 60.0})
            got = await taken(line)
            assert (got.message.resume, got.message.instance) == (None, host.folder.instance)
            await got.welcomes()
        got.close()


@pytest.mark.anyio
async def test_an_application_that_reads_nothing_loses_its_line_and_the_client_its_connection(host: Host) -> None:
    async with host.running() as daemon:
        line = await host.advertise()
        (application,) = daemon.applications._of_service["ping"]
        id_ = bytes(16)
        with pytest.raises(chanlink.ConnectionLost):
            while True:
                application.line.send_now(Ended(id=id_))  # whatever: it is not read
        with pytest.raises(chanlink.HandshakeError):
            async with connecting(host, daemon):
                pass
        while len(daemon.applications):
            await anyio.sleep(0.01)
        assert len(daemon) == 0
        assert await refusal(host, daemon) == "busy"
        line.close()


@pytest.mark.anyio
async def test_a_client_with_a_credential_is_known_by_it_and_revoked_by_a_list(host: Host, tmp_path: Path) -> None:
    """A KRL may also be a list of keys; that ssh-keygen's own are read, tests/security/keys/test_krl.py looks at."""
    organization, revoked = CA("org"), tmp_path / "revoked"
    identity = chanlink.Identity.generate("alice")
    identity.save(tmp_path / "alice")
    save(organization.issue(identity.public_key, "alice", before=2_000_000_000), tmp_path / "alice")
    revoked.write_text("# nobody\n")
    host.folder.trust.write_text(
        f'cert-authority,issuer="org",principals="alice",revoked="{revoked}" {organization.key}\n'
    )
    async with host.running() as daemon, anyio.create_task_group() as tasks:
        line, left = await host.advertise(), anyio.Event()

        async def connect() -> None:
            async with connecting(host, daemon, chanlink.Identity.load(tmp_path / "alice")):
                await left.wait()

        tasks.start_soon(connect)
        got = await taken(line)
        peer = got.message.peer
        assert (peer["name"], peer["issuer"], peer["principal"]) == ("alice@org", "org", "alice")
        assert got.message.expires == 2_000_000_000 + GRACE
        stream = await got.welcomes()
        (row,) = read_rows(host.folder.journal)
        assert (row.name, row.issuer, row.principal, row.expiry) == ("alice@org", "org", "alice", got.message.expires)
        (tmp_path / "new").write_text(f"{identity.public_key}\n")
        os.replace(tmp_path / "new", revoked)
        assert await line.receive(Over) == Over(id=got.id, code="revoked")
        left.set()
        await stream.aclose()
        line.close()
    assert not read_rows(host.folder.journal)


@pytest.mark.anyio
async def test_a_client_that_comes_back_comes_to_the_application_that_has_its_session(host: Host) -> None:
    async with host.running() as daemon:
        one, other = await host.advertise(resume=60_000), await host.advertise(resume=60_000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asked, host, daemon, {"resume": 60.0})
            got = await taken(one)
            await got.welcomes()
        returning = await back(daemon, CLIENT, got.id)
        again = await taken(one)
        assert (again.message.returns, again.id) == (True, got.id)
        assert again.message.instance == host.folder.instance
        assert len(daemon) == 1
        for each in (got, again):
            each.close()
        await anyio.aclose_forcefully(returning)
        one.close()
        other.close()


@pytest.mark.anyio
@pytest.mark.parametrize("whose", ["another key's", "nobody's"])
async def test_nobody_comes_back_to_a_session_of_others(host: Host, whose: str) -> None:
    other = chanlink.Identity.generate("other")
    host.trust(CLIENT.public_key, other.public_key)
    async with host.running() as daemon:
        line = await host.advertise(resume=60_000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asked, host, daemon, {"resume": 60.0})
            got = await taken(line)
            await got.welcomes()
        stream = await (back(daemon, other, got.id) if whose != "nobody's" else back(daemon, CLIENT, bytes(16)))
        with pytest.raises(SessionClosed) as caught:
            await stream.receive_welcome()
        assert caught.value.code == "gone"
        assert stream.welcome["instance"] == host.folder.instance
        await anyio.aclose_forcefully(stream)
        got.close()
        line.close()


async def back(daemon: Daemon, identity: chanlink.Identity, session: bytes) -> NoiseStream:
    """A client that says that it has this session."""
    transport, statics = await connect_socket(parse_address(daemon.addresses[0])), Statics(identity, Role.CLIENT)
    noise, shown, found = await ask(transport, statics)
    answer = answer_to(found, shown, Limits(), FEATURES, "ping") | {"session": session}
    stream = await answer_with(transport, noise, found, answer, statics)
    await stream.send_record(RESUME, bytes(48))
    return stream
