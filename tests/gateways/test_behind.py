"""Servers behind NAT: they offer themselves at a gateway, and clients do a handshake with them through it."""

from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import AddressError, Behind, ConfigError, Hop, HopFailed, Limits, Trust, UntrustedPeer, WrongPeer
from chanlink.session.route import KEEPALIVE
from tests.patience import PATIENCE, until
from tests.session.endpoints import ALICE, BOB, SERVER, SERVICES, ask, greeter_of

from .houses import GATEWAY, OTHER, behind, connected, house

pytestmark = pytest.mark.anyio
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])


async def test_a_client_gets_to_a_server_that_nobody_can_connect_to(no_leaks: Any, tmp_path: Path) -> None:
    async with house(tmp_path) as there:
        async with behind(there) as server:
            assert server.addresses == [there.address()]
            async with connected(there) as session:
                assert (await ask(session))["from"].startswith("via:build (client ")
                assert session.peer.key == SERVER.public_key
                assert session._limits.keepalive == server._limits.keepalive == KEEPALIVE
                (inside,) = server.sessions
                assert inside.peer.key == ALICE.public_key
        await until(lambda: not there.listener.sessions)
        assert there.gateway.offered == []


@one_backend
async def test_clients_are_strangers_to_the_gateway_and_to_the_server_alike(tmp_path: Path) -> None:
    async with house(tmp_path) as there, behind(there, trust=Trust.of(BOB.public_key)):
        with pytest.raises(UntrustedPeer):  # of the server
            async with connected(there):
                pass
        with pytest.raises(HopFailed) as failed:  # of the gateway: bob may ask for another name only
            async with connected(there, identity=BOB):
                pass
        assert getattr(failed.value.cause, "code", "") == "no-such-service"


@one_backend
async def test_it_waits_for_a_server_that_has_not_offered_itself(tmp_path: Path) -> None:
    async with house(tmp_path) as there:
        with pytest.raises(HopFailed, match="not-offered"):
            async with connected(there, wait=0):
                pass
        async with anyio.create_task_group() as tasks:

            async def ask_there() -> None:
                async with connected(there) as session:
                    assert (await ask(session))["pong"] == 7
                tasks.cancel_scope.cancel()

            tasks.start_soon(ask_there)
            await until(lambda: there.listener.sessions)
            async with behind(there):
                await anyio.sleep_forever()


@one_backend
async def test_a_session_goes_on_when_that_of_its_server_with_the_gateway_is_lost(tmp_path: Path) -> None:
    async with house(tmp_path) as there, behind(there) as server, connected(there, resume=PATIENCE) as session:
        assert (await ask(session))["pong"] == 7
        for one in there.listener.sessions:
            one.abort()
        assert (await ask(session))["pong"] == 7
        assert len(server.sessions) == 1


@one_backend
async def test_a_server_that_drains_ends_what_was_begun(no_leaks: Any, tmp_path: Path) -> None:
    async with house(tmp_path) as there, behind(there, services=None) as server:
        async with connected(there) as session, anyio.create_task_group() as tasks:
            inside = await server.accept()
            tasks.start_soon(server.drain, PATIENCE)
            await until(lambda: not there.gateway.offered)
            sender = await inside.open("news")
            await sender.send("still here")
            assert await (await session.accept()).end.receive() == "still here"
            sender.close()
            await session.aclose()
        await until(lambda: not there.listener.sessions)


@one_backend
async def test_failed_handshakes_are_charged_to_each_client_and_not_to_the_gateway(tmp_path: Path) -> None:
    lines = [f'offers="build" {SERVER.public_key}', str(ALICE.public_key), str(BOB.public_key)]
    limits = Limits(source_failures=1, suspect_handshakes=1)
    async with house(tmp_path, *lines) as there, behind(there, limits=limits) as server:
        for _ in range(2):
            with pytest.raises((UntrustedPeer, chanlink.SessionClosed)):
                async with connected(there, identity=BOB):
                    pass
        (suspect,) = greeter_of(server).admission._suspects
        async with connected(there) as session:
            assert (await ask(session))["pong"] == 7
        assert [*greeter_of(server).admission._suspects] == [suspect]
        assert len(suspect) == 32


@one_backend
async def test_a_gateway_that_swaps_two_servers_is_found_out(tmp_path: Path) -> None:
    async with house(tmp_path) as there, behind(there), behind(there, "test", OTHER):
        offers = there.gateway._offers
        offers["build"], offers["test"] = offers["test"], offers["build"]
        with pytest.raises(WrongPeer) as failed:
            async with connected(there):
                pass
    assert failed.value.actual == OTHER.public_key.fingerprint


class Hostile:
    """A gateway that takes an offer, and gives what it wants to."""

    def __init__(self, *gives: Any) -> None:
        self.gives = gives
        self.offers = 0

    async def __call__(self, receiver: Any, peer: Any) -> None:
        clients = (await receiver.receive())["clients"]
        self.offers += 1
        for one in self.gives:
            await clients.send(one() if callable(one) else one)
        clients.close()


@pytest.mark.parametrize(
    "gives",
    [
        [{"offered": 7}],
        [{"offered": True}, 7],
        [{"offered": True}, {"client": b"x" * 16}],
        [{"offered": True}, {"client": b"x", "stream": lambda: None}],
        [{"offered": True}, {"client": b"x" * 16, "stream": chanlink.pipe}],
        [{"offered": True}, {"client": "x" * 16, "stream": b""}],
    ],
    ids=["no word", "a number", "no stream", "a short label", "another end", "a text"],
)
@one_backend
async def test_what_a_hostile_gateway_gives_ends_the_offer_which_is_made_again(gives: list[Any]) -> None:
    def made(one: Any) -> Any:
        return {
            key: value()[0] if value is chanlink.pipe else None if callable(value) else value
            for key, value in one.items()
        }

    gateway = Hostile(*[one if isinstance(one, int) else (lambda one=one: made(one)) for one in gives])
    services = {"chanlink.offer:build": gateway}
    trust = OffersOf(SERVER)
    async with chanlink.listen("tcp://127.0.0.1:0", identity=GATEWAY, trust=trust, services=services) as there:
        hop = Hop(there.addresses[0], peer=GATEWAY.public_key, identity=SERVER)
        options: dict[str, Any] = {"identity": SERVER, "trust": Trust.of(ALICE.public_key), "services": SERVICES}
        async with chanlink.listen(Behind(hop, name="build"), **options) as server:
            await until(lambda: gateway.offers > 1)
            assert not server.sessions


def OffersOf(identity: chanlink.Identity) -> Trust:
    from chanlink.security.keys.trust import Grant

    return Trust({identity.public_key: Grant("server", None, offers=frozenset({"build"}))})


@one_backend
async def test_a_flood_of_a_hostile_gateway_is_bounded(tmp_path: Path) -> None:
    """What says nothing is sent away when there are more, as at a socket."""
    flood = [lambda: {"client": b"x" * 16, "stream": chanlink.byte_pipe()[0]}] * 40
    gateway = Hostile({"offered": True}, *flood)
    async with chanlink.listen(
        "tcp://127.0.0.1:0", identity=GATEWAY, trust=OffersOf(SERVER), services={"chanlink.offer:build": gateway}
    ) as there:
        hop = Hop(there.addresses[0], peer=GATEWAY.public_key, identity=SERVER)
        options: dict[str, Any] = {"identity": SERVER, "trust": Trust.of(ALICE.public_key), "services": SERVICES}
        limits = Limits(unauthenticated=5)
        async with chanlink.listen(Behind(hop, name="build"), limits=limits, **options) as server:
            await until(lambda: gateway.offers > 1)
            assert len(greeter_of(server).admission) <= 5


@pytest.mark.parametrize("arguments", [(7, "x"), ("tcp://gw", 7)], ids=["hop", "name"])
def test_what_is_of_another_type(arguments: Any) -> None:
    with pytest.raises(TypeError):
        Behind(arguments[0], name=arguments[1])


@one_backend
async def test_what_can_be_no_offer() -> None:
    for name in ("", "a b", "x" * 201, "-x"):
        with pytest.raises(AddressError):
            Behind("tcp://gw", name=name)
    with pytest.raises(AddressError):
        Behind("nothing", name="x")
    with pytest.raises(ConfigError, match="shared"):
        await Behind("tcp://gw", name="x").listening(shared=True)
    assert repr(Behind("tcp://gw", name="x")) == "<Behind tcp://gw as x>"
