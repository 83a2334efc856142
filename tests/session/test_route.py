"""Through gateways: real ones, each a listener that forwards; the handshake with the server is inside."""

from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import (
    ChannelFailed,
    ChannelRefused,
    ConfigError,
    ConnectFailed,
    Hop,
    HopFailed,
    Identity,
    KnownPeers,
    Trust,
    UntrustedPeer,
    WrongPeer,
)
from chanlink.session.route import KEEPALIVE, PEER_TIMEOUT
from tests.patience import PATIENCE, until
from tests.ports import free_port

from .endpoints import ALICE, BOB, SERVER, ask, connect, serving
from .gateways import GATEWAY, gateway, hop_by, leading_to

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])
KEY = GATEWAY.public_key


async def test_a_session_goes_through_a_gateway_and_leaves_nothing_there(no_leaks: Any) -> None:
    async with serving() as server, gateway(server.addresses[0]) as near:
        async with connect(server.addresses[0], via=[hop_by(near)]) as session:
            assert (await ask(session))["you"] == "alice@laptop"
            assert (session.peer.key, session.peer.address) == (SERVER.public_key, server.addresses[0])
            assert [one.peer.key for one in near.sessions] == [ALICE.public_key]
        assert session.closed
        await until(lambda: not near.sessions)


async def test_and_through_two_of_which_the_second_sees_only_the_first(no_leaks: Any) -> None:
    async with serving() as server, gateway(server.addresses[0]) as far, gateway(far.addresses[0]) as near:
        async with connect(server.addresses[0], via=[hop_by(near), hop_by(far, identity=BOB)]) as session:
            assert (await ask(session))["pong"] == 7
            assert [one.peer.key for one in near.sessions] == [ALICE.public_key]
            assert [one.peer.key for one in far.sessions] == [BOB.public_key]
        await until(lambda: not near.sessions and not far.sessions)


@one_backend
async def test_a_session_that_one_has_is_borrowed_and_goes_on() -> None:
    async with serving() as server, gateway(server.addresses[0]) as near:
        async with connect(near.addresses[0], peer=KEY) as borrowed:
            for _ in range(2):
                async with connect(server.addresses[0], via=[borrowed]) as session:
                    assert (await ask(session))["pong"] == 7
            assert not borrowed.closed
            assert len(near.sessions) == 1
        with pytest.raises(HopFailed) as failed:
            async with connect(server.addresses[0], via=[borrowed]):
                pass
        assert failed.value.hop == near.addresses[0]


@one_backend
async def test_an_address_of_a_hop_that_nobody_is_at_is_passed_over() -> None:
    nobody = f"tcp://127.0.0.1:{free_port()}"
    async with serving() as server, gateway(server.addresses[0]) as near:
        hop = Hop(nobody, near.addresses[0], peer=KEY)
        async with connect(server.addresses[0], via=[hop]) as session:
            assert (await ask(session))["pong"] == 7
        with pytest.raises(HopFailed) as failed:
            async with connect(server.addresses[0], via=[Hop(nobody, peer=KEY)]):
                pass
    assert failed.value.hop == nobody
    assert isinstance(failed.value.cause, ConnectFailed)
    assert str(failed.value).startswith(f"the gateway {nobody} can't be used: {nobody}: ")


async def test_errors_say_which_gateway_it_was(no_leaks: Any) -> None:
    async with serving() as server, gateway(server.addresses[0]) as near:
        address, hop = server.addresses[0], near.addresses[0]
        for wrong, cause in (
            (hop_by(near, peer=BOB.public_key), WrongPeer),
            (hop_by(near, identity=Identity.generate("stranger")), UntrustedPeer),
        ):
            with pytest.raises(HopFailed) as failed:
                async with connect(address, via=[wrong]):
                    pass
            assert failed.value.hop == hop
            assert type(failed.value.cause) is cause
        # What is wrong with the server is not said of the gateway.
        with pytest.raises(WrongPeer):
            async with connect(address, via=[hop_by(near)], peer=BOB.public_key):
                pass
        await until(lambda: not near.sessions)


async def test_so_they_do_of_a_gateway_that_does_not_lead_there(no_leaks: Any) -> None:
    nobody = f"tcp://127.0.0.1:{free_port()}"
    async with serving() as server, gateway(nobody) as near:
        with pytest.raises(HopFailed) as failed:
            async with connect(server.addresses[0], via=[hop_by(near)]):
                pass
        assert isinstance(failed.value.cause, ChannelFailed | ChannelRefused)
        assert failed.value.cause.code == "no-such-service"
        with pytest.raises(HopFailed) as failed:
            async with connect(nobody, via=[hop_by(near)]):
                pass
        assert isinstance(failed.value.cause, ChannelFailed | ChannelRefused)
        assert failed.value.cause.code == "connect-failed"
        assert nobody in str(failed.value)
        await until(lambda: not near.sessions)


@one_backend
async def test_a_gateway_that_sends_another_server_is_found_out() -> None:
    other = Identity.generate("other")
    async with serving() as server, serving(identity=other) as wrong:
        swapped = dict(zip(leading_to(server.addresses), leading_to(wrong.addresses).values(), strict=True))
        async with gateway(services=swapped) as near:
            with pytest.raises(WrongPeer) as failed:
                async with connect(server.addresses[0], via=[hop_by(near)]):
                    pass
    assert failed.value.actual == other.public_key.fingerprint


@one_backend
async def test_the_file_of_known_peers_says_which_gateway_and_which_server(tmp_path: Path) -> None:
    known = tmp_path / "known_peers"
    async with serving() as server, gateway(server.addresses[0]) as near:
        keys = {near.addresses[0]: KEY, server.addresses[0]: SERVER.public_key}
        known.write_text("".join(f"[127.0.0.1]:{one.rpartition(':')[2]} {key}\n" for one, key in keys.items()))
        trust = KnownPeers.load(known)
        async with connect(server.addresses[0], trust=trust, via=near.addresses) as session:
            assert session.peer.key == SERVER.public_key
        # Of the server it can't: this address is another machine's in each network.
        with pytest.raises(ConfigError, match="is another server in each network"):
            async with connect(server.addresses[0], peer=None, trust=trust, via=near.addresses):
                pass
        async with connect(server.addresses[0], peer=None, trust=Trust.of(SERVER.public_key), via=[hop_by(near)]):
            pass


@pytest.mark.parametrize("host", ["10.1.2.3", "192.168.0.1", "[fd00::1]", "127.0.0.1", "localhost", "[fe80::1%lo]"])
@one_backend
async def test_hosts_that_mean_another_machine_in_each_network(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="peer="):
        async with connect(f"tcp://{host}:1", peer=None, trust=KnownPeers.load(tmp_path / "none"), via=["tcp://gw"]):
            pass


@pytest.mark.parametrize("address", ["unix:/run/some", "nothing"])
@one_backend
async def test_what_leads_to_no_other_machine_is_not_reached_without_the_gateway(address: str) -> None:
    with pytest.raises(ConfigError):
        async with connect(address, via=["tcp://127.0.0.1:1"]):
            pass


@one_backend
async def test_a_session_that_is_resumed_comes_back_by_a_gateway_that_is_there(no_leaks: Any) -> None:
    async with (
        serving() as server,
        gateway(server.addresses[0]) as first,
        gateway(server.addresses[0]) as second,
        connect(server.addresses[0], via=[hop_by(first, second)], resume=PATIENCE) as session,
    ):
        assert (await ask(session))["pong"] == 7
        assert not second.sessions
        await first.aclose()
        assert (await ask(session))["pong"] == 7
        assert second.sessions


@one_backend
async def test_it_waits_for_a_server_that_is_being_started() -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    async with gateway(address) as near:
        waiting = connect(address, via=[hop_by(near)], wait=PATIENCE)

        async with anyio.create_task_group() as tasks:

            async def ask_there() -> None:
                async with waiting as session:
                    assert (await ask(session))["pong"] == 7
                tasks.cancel_scope.cancel()

            tasks.start_soon(ask_there)
            await until(lambda: near.sessions)
            async with serving(address):
                await anyio.sleep_forever()


@one_backend
async def test_such_a_session_asks_less_often_whether_the_other_side_is_there() -> None:
    async with serving() as server, gateway(server.addresses[0]) as near:
        async with connect(server.addresses[0], via=[hop_by(near)]) as session:
            assert (session._limits.keepalive, session._limits.peer_timeout) == (KEEPALIVE, PEER_TIMEOUT)
        own = chanlink.Limits(keepalive=1.5)
        async with connect(server.addresses[0], via=[hop_by(near)], limits=own) as session:
            assert session._limits == own


@one_backend
async def test_early_data_goes_through(tmp_path: Path) -> None:
    prekeys = tmp_path / "prekeys"
    async with serving() as server, gateway(server.addresses[0]) as near:
        options: dict[str, Any] = {"via": [hop_by(near)], "early": True, "known_prekeys": prekeys}
        for _ in range(2):
            async with connect(server.addresses[0], **options) as session:
                assert (await ask(session))["pong"] == 7


@one_backend
async def test_reconnecting_goes_through() -> None:
    async with (
        serving() as server,
        gateway(server.addresses[0]) as near,
        chanlink.reconnecting(server.addresses[0], identity=ALICE, peer=SERVER.public_key, via=[hop_by(near)]) as link,
    ):
        assert (await ask(await link.session()))["pong"] == 7
        assert near.sessions


@one_backend
async def test_a_block_that_fails_leaves_no_session_with_the_gateway(no_leaks: Any) -> None:
    async with serving() as server, gateway(server.addresses[0]) as near:
        with pytest.raises(ZeroDivisionError):
            async with connect(server.addresses[0], via=[hop_by(near)]):
                raise ZeroDivisionError
        await until(lambda: not near.sessions)
