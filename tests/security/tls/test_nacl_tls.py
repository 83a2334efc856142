"""`chanlink.nacl_tls` as programs say it: over real sockets, with all that makes sessions."""

import socket
import sys
from typing import Any

import anyio
import pytest
from anyio.abc import UNIXSocketStream

import chanlink
from chanlink import (
    Advertised,
    ConfigError,
    ConnectFailed,
    HandshakeError,
    HandshakeTimeout,
    Limits,
    Local,
    SessionClosed,
    Trust,
    UntrustedPeer,
    WrongPeer,
    nacl_tls,
)
from chanlink.security.tls.certificate import client_context
from chanlink.transport.address import parse_address
from chanlink.transport.reaching import connect_socket
from tests.patience import PATIENCE
from tests.security.handshakes import MALLORY, one_backend
from tests.session.endpoints import ALICE, EVERYBODY, SERVER, SERVICES, ask, connect, listen, serving

pytestmark = pytest.mark.anyio


async def test_a_session_is_as_any_other() -> None:
    async with serving(security=nacl_tls) as listener, connect(listener.addresses[0], security=nacl_tls) as session:
        assert (await ask(session))["you"] == "alice@laptop"
        assert session.peer.key == SERVER.public_key
        assert session.suite.startswith("TLS_")
        (other,) = listener.sessions
        assert session.id == other.id != ""
        assert await session.ping() > 0
        assert session.statistics().volume > 0


@one_backend
async def test_a_block_may_begin_before_the_welcome() -> None:
    async with (
        serving(security=nacl_tls) as listener,
        connect(listener.addresses[0], security=nacl_tls, eager=True) as session,
    ):
        assert (await ask(session))["pong"] == 7


@one_backend
async def test_over_a_byte_stream_of_the_program() -> None:
    near, far = [await UNIXSocketStream.from_socket(sock) for sock in socket.socketpair()]

    async def accept() -> None:
        async with chanlink.accept(
            far, identity=SERVER, trust=EVERYBODY, services=SERVICES, security=nacl_tls
        ) as session:
            await session.wait_closed()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept)
        async with connect(near, security=nacl_tls) as session:
            assert (await ask(session))["pong"] == 7


@one_backend
async def test_a_link_has_it_in_each_session() -> None:
    async with (
        serving(security=nacl_tls) as listener,
        chanlink.reconnecting(listener.addresses[0], identity=ALICE, peer=SERVER.public_key, security=nacl_tls) as link,
    ):
        for _ in range(2):
            session = await link.session()
            assert (await ask(session))["pong"] == 7
            session.abort()
            await session.wait_closed()


@one_backend
async def test_who_is_wrong_or_not_trusted_is_told_as_ever() -> None:
    async with serving(security=nacl_tls) as listener:
        address = listener.addresses[0]
        with pytest.raises(WrongPeer):
            async with connect(address, security=nacl_tls, peer=MALLORY.public_key):
                pass
        with pytest.raises(UntrustedPeer):
            async with connect(address, security=nacl_tls, identity=MALLORY):
                pass
        async with connect(address, security=nacl_tls) as session:
            assert (await ask(session))["pong"] == 7


@one_backend
async def test_a_key_has_so_many_sessions() -> None:
    async with (
        serving(security=nacl_tls, limits=Limits(sessions_per_key=1)) as listener,
        connect(listener.addresses[0], security=nacl_tls),
    ):
        with pytest.raises(SessionClosed) as caught:
            async with connect(listener.addresses[0], security=nacl_tls):
                pass
        assert caught.value.code == "busy"


@one_backend
async def test_one_that_is_not_trusted_any_more_is_cut(tmp_path: Any) -> None:
    file = tmp_path / "trust"
    file.write_text(f"{ALICE.public_key}\n")
    async with (
        serving(security=nacl_tls, trust=Trust.load(file), limits=Limits(trust_interval=0.01)) as listener,
        connect(listener.addresses[0], security=nacl_tls) as session,
    ):
        file.write_text("")
        with anyio.fail_after(PATIENCE):
            cause = await session.wait_closed()
        assert cause.code == "revoked"


@one_backend
async def test_both_sides_have_to_say_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="chanlink")
    for ours, theirs in (None, nacl_tls), (nacl_tls, None):
        async with serving(security=theirs) as listener:
            with pytest.raises(HandshakeError, match="security="):
                async with connect(listener.addresses[0], security=ours):
                    pass
    assert "the client speaks chanlink without TLS" in caplog.text
    assert "the client speaks TLS" in caplog.text


@one_backend
async def test_a_client_that_says_nothing_inside_is_closed_in_time() -> None:
    from tests.security.tls.peers import in_tls

    async with serving(security=nacl_tls, limits=Limits(handshake=0.1)) as listener:
        transport = await connect_socket(parse_address(listener.addresses[0]))
        with anyio.fail_after(PATIENCE), pytest.raises((ConnectFailed, anyio.EndOfStream, anyio.BrokenResourceError)):
            tls = await in_tls(transport, client_context(), server_side=False)
            await tls.send(b"\x01")
            while True:
                await tls.receive()
        transport.close_now()


@one_backend
async def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(HandshakeTimeout):
        async with connect(f"tcp://127.0.0.1:{server.getsockname()[1]}", security=nacl_tls, timeout=0.1):
            pass


@one_backend
@pytest.mark.parametrize(
    "option", [{"psk": bytes(32)}, {"resume": 5.0}, {"early": True}], ids=["psk", "resume", "early"]
)
async def test_what_needs_noise_is_a_config_error(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="don't go together"):
        async with connect("tcp://127.0.0.1:9", security=nacl_tls, **option):
            pass


@one_backend
async def test_the_daemon_decides_for_its_own_sessions() -> None:
    with pytest.raises(ConfigError, match="security"):
        async with chanlink.connect(Local("web1", service="echo"), security=nacl_tls):
            pass
    listens: Any = chanlink.listen
    with pytest.raises(ConfigError, match="security"):
        async with listens(Advertised("echo"), security=nacl_tls, services=SERVICES):
            pass
    with pytest.raises(ConfigError, match="psk"):
        async with listen(security=nacl_tls, psk=bytes(32)):
            pass


@one_backend
async def test_without_the_extra_it_says_so_before_anybody_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"chanlink\[tls\]"):
        async with listen(security=nacl_tls):
            pass
    with pytest.raises(ConfigError, match=r"chanlink\[tls\]"):
        async with connect("tcp://127.0.0.1:9", security=nacl_tls):
            pass


def test_it_says_what_it_is() -> None:
    assert repr(nacl_tls) == "chanlink.nacl_tls"
