"""A session for one service alone: whatever else the key may use (protocol section 2.7)."""

import socket
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.abc import UNIXSocketStream

import chanlink
from chanlink import ConfigError, KnownPrekeys, Limits, ServerTooOld, Session, SessionClosed, Trust, blocking, service
from chanlink.features import FEATURES, ONE_SERVICE
from chanlink.observing.counting import FAMILIES, Counts
from chanlink.patterns import follow
from chanlink.security import handshake_server
from chanlink.security.keys.authority import Authority
from chanlink.security.keys.certificate import Role
from chanlink.security.statics import Statics
from chanlink.session.greeter import Greeter
from chanlink.transport.address import parse_address
from chanlink.transport.listen import listening_sockets
from tests.patience import until
from tests.project import interactions
from tests.project.interactions import BLOCKING_USES, CLIENT, USES, Place

from .endpoints import ALICE, SERVER, TCP, ask, connect, listen, ping, refusal, serving
from .ways import way_to

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])
TWO: dict[str, Any] = {"ping": ping, "other": ping}


async def held(session: Session) -> None:
    """It can use ``ping``, and nothing else."""
    assert (await ask(session))["pong"] == 7
    for name in ("other", "nothing"):
        assert (await refusal(session, name)).code == "no-such-service"


async def test_a_session_can_use_its_service_and_no_other_one() -> None:
    async with serving(services=TWO) as listener:
        async with connect(listener.addresses[0], service="ping") as session:
            await held(session)
        async with connect(listener.addresses[0]) as session:
            assert (await ask(session, "other"))["pong"] == 7


async def test_what_the_client_serves_is_no_matter() -> None:
    async with listen() as listener, connect(listener.addresses[0], service="ping", services=TWO):
        session = await listener.accept()
        assert (await ask(session, "other"))["pong"] == 7


async def test_a_listener_that_serves_by_itself_is_given_nothing_else() -> None:
    async with listen() as listener, connect(listener.addresses[0], service="ping") as session:
        server = await listener.accept()
        assert (await refusal(session, "other")).code == "no-such-service"
        async with await session.open("ping"):
            incoming = await server.accept()
            assert incoming.service == "ping"
            incoming.end.close()


@one_backend
async def test_a_key_that_may_not_use_it_is_refused_as_ever(tmp_path: Path) -> None:
    (tmp_path / "trust").write_text(f'services="other" {ALICE.public_key}\n')
    async with (
        serving(services=TWO, trust=Trust.load(tmp_path / "trust")) as listener,
        connect(listener.addresses[0], service="ping") as session,
    ):
        assert (await refusal(session, "ping")).code == "no-such-service"
        assert (await refusal(session, "other")).code == "no-such-service"


async def test_a_trust_that_allows_more_by_then_gives_it_no_more(tmp_path: Path) -> None:
    file = tmp_path / "trust"
    file.write_text(f'services="ping" {ALICE.public_key}\n')
    limits = Limits(trust_interval=0.05)
    async with (
        serving(services=TWO, trust=Trust.load(file), limits=limits) as listener,
        connect(listener.addresses[0], service="ping") as session,
    ):
        await held(session)
        file.write_text(f"{str(ALICE.public_key).rpartition(' ')[0]} alicia\n")
        await until(lambda: listener.sessions[0].peer.name == "alicia")
        await held(session)


async def test_after_a_return_it_is_the_same() -> None:
    async with (
        serving(services=TWO) as listener,
        way_to(listener) as way,
        connect(way.address, service="ping", resume=60) as session,
    ):
        await held(session)
        way.cut()
        await until(lambda: way.taken == 2 and session.state == "open")
        await held(session)


@one_backend
@pytest.mark.parametrize("options", [{"psk": bytes(32)}, {"eager": True}], ids=["psk", "eager"])
async def test_it_goes_with_other_ways_to_begin(options: dict[str, Any]) -> None:
    ours = {"psk": bytes(32)} if "psk" in options else {}
    async with (
        serving(services=TWO, **ours) as listener,
        connect(listener.addresses[0], service="ping", **options) as session,
    ):
        await held(session)


async def test_the_first_message_says_for_which_service_it_is() -> None:
    prekeys = KnownPrekeys()
    services = {name: service(one, early=True) for name, one in TWO.items()}
    options: dict[str, Any] = {"early": True, "known_prekeys": prekeys, "service": "ping"}
    async with serving(services=services) as listener:
        for became in ("none", "taken"):
            async with connect(listener.addresses[0], **options) as session:
                await held(session)
                assert session.early == became


@one_backend
async def test_a_first_message_that_is_declined_is_said_again_with_its_service(monkeypatch: pytest.MonkeyPatch) -> None:
    services = {name: service(one, early=True) for name, one in TWO.items()}
    options: dict[str, Any] = {"early": True, "known_prekeys": KnownPrekeys(), "service": "ping"}
    async with serving(services=services) as listener:
        async with connect(listener.addresses[0], **options):
            pass
        monkeypatch.setattr(listener._greeter.prekeys, "is_loaded", lambda: True)
        async with connect(listener.addresses[0], **options) as session:
            await held(session)
            assert session.early == "sent again"


@one_backend
async def test_over_a_stream_of_the_program_it_is_the_same() -> None:
    near, far = await _pair()

    async def serve() -> None:
        async with chanlink.accept(far, identity=SERVER, trust=Trust.of(ALICE.public_key), services=TWO) as session:
            await session.wait_closed()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        async with connect(near, service="ping") as session:
            await held(session)


async def _pair() -> Any:
    return [await UNIXSocketStream.from_socket(sock) for sock in socket.socketpair()]


async def test_each_session_of_a_link_is_for_it() -> None:
    async with (
        serving(services=TWO) as listener,
        chanlink.reconnecting(listener.addresses[0], identity=ALICE, peer=SERVER.public_key, service="ping") as link,
    ):
        for _ in range(2):
            session = await link.session()
            await held(session)
            listener.sessions[0].abort()
            await session.wait_closed()


@one_backend
@pytest.mark.parametrize("name", sorted(USES))
async def test_whatever_the_service_is_made_of_a_session_may_be_for_it(name: str, tmp_path: Path) -> None:
    """Over a real session, and from a thread."""
    place = Place({name}, tmp_path)
    of = {"types": "ask", "calls": "works", "broadcast": "news", "queue": "jobs", "watch": "state"}
    options: dict[str, Any] = {"identity": CLIENT, "peer": interactions.SERVER.public_key, "service": of[name]}
    async with place.listening() as address:
        async with chanlink.connect(address, **options) as place.session:
            if name != "watch":  # which is changed by another one
                await USES[name](place)
            else:
                async with await follow(place.session, "state", int) as state:
                    assert await state.receive() == 1
            assert (await refusal(place.session, "note")).code == "no-such-service"
        if name != "watch":
            await anyio.to_thread.run_sync(partial(from_a_thread, place, address, name, options))


def from_a_thread(place: Place, address: str, name: str, options: dict[str, Any]) -> None:
    with blocking.connect(address, **options) as session:
        BLOCKING_USES[name](place, session)


async def test_what_travels_in_its_channels_is_no_service() -> None:
    """A reply, and whatever the service hands out."""

    async def hands_out(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
        async for reply in requests:
            async with reply:
                sender, receiver = chanlink.pipe()
                await reply.send(sender)
                assert await receiver.receive() == "over the other one"
                await reply.send("it came")

    async with (
        serving(services={"out": hands_out}) as listener,
        connect(listener.addresses[0], service="out") as session,
        await session.open("out") as out,
    ):
        reply, replies = chanlink.pipe()
        await out.send(reply)
        async with await replies.receive() as given:
            await given.send("over the other one")
        assert await replies.receive() == "it came"


@one_backend
async def test_a_session_that_drains_refuses_its_service_too() -> None:
    async with (
        serving(services=TWO) as listener,
        connect(listener.addresses[0], service="ping") as session,
    ):
        await held(session)
        listener.sessions[0].drain()
        await until(lambda: session.state == "draining")
        with pytest.raises(chanlink.ChannelRefused, match="draining"):
            await session.open("ping")


# --- who can't, and who must --------------------------------------------------------------------


async def test_a_server_that_knows_of_none_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a server of 0.1 it is the same: tests/project/test_released.py."""
    old = partial(handshake_server.hear, features=FEATURES - {ONE_SERVICE})

    async def hear(*args: Any, features: object, **options: Any) -> Any:
        return await old(*args, **options)

    monkeypatch.setattr(handshake_server, "hear", hear)
    async with serving(services=TWO) as listener:
        with pytest.raises(ServerTooOld):
            async with connect(listener.addresses[0], service="ping"):
                pass


@one_backend
async def test_a_greeter_that_needs_one_refuses_those_who_have_none() -> None:
    sockets = await listening_sockets(parse_address(TCP))
    authority = Authority(Trust.of(ALICE.public_key))
    greeter = Greeter(sockets, Statics(SERVER, Role.SERVER), authority, Limits(), needs_service=True)
    found: list[str] = []

    async def host(authenticated: Any, address: str) -> None:
        found.append(authenticated.service)
        await authenticated.stream.aclose()

    async with anyio.create_task_group() as tasks:
        greeter.start(tasks, host)
        with pytest.raises(SessionClosed) as caught:
            async with connect(greeter.addresses[0]):
                pass
        assert caught.value.code == "service-needed"
        async with connect(greeter.addresses[0], service="ping") as session:
            await session.wait_closed()
        assert found == ["ping"]
        greeter.stop()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128])
async def test_a_name_that_no_service_can_have_is_an_error_before_anything_is_done(name: str) -> None:
    with pytest.raises(ConfigError, match="1 to 255 bytes"):
        async with connect("tcp://127.0.0.1:1", service=name):
            pass
    with pytest.raises(ConfigError, match="1 to 255 bytes"):
        async with chanlink.reconnecting("tcp://127.0.0.1:1", identity=ALICE, service=name):
            pass


@one_backend
async def test_instruments_are_told_as_ever() -> None:
    """Also of what was refused, on both sides."""
    counts = {"client": Counts(), "server": Counts()}
    async with (
        serving(services=TWO, instruments=[counts["server"]]) as listener,
        connect(listener.addresses[0], service="ping", instruments=[counts["client"]]) as session,
    ):
        await held(session)
    for one in counts.values():
        await until(partial(told_of, one, gauges=True, some=False))
        assert told_of(one, gauges=False, some=True)


def told_of(counts: Counts, *, gauges: bool, some: bool) -> bool:
    """Whether instruments were told of something, or of nothing, that is open, or that was."""
    found = [counts.samples(one) for one in FAMILIES if (one.kind == "gauge") is gauges]
    return any(sum(one.values()) for one in found) is some
