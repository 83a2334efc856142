"""A gateway: who may offer what, who may ask for it, and what it does with those who keep to nothing."""

from pathlib import Path
from typing import Any

import pytest

import chanlink
from chanlink import ChannelError, ChannelFailed, ChannelRefused, Identity, Session
from chanlink.gateways.serving import Gateway
from tests.patience import until
from tests.session.endpoints import ALICE, BOB, SERVER, connect

from .houses import GATEWAY, OTHER, House, house

pytestmark = pytest.mark.anyio
one_backend = pytest.mark.parametrize("anyio_backend", ["asyncio"])


def of(there: House, identity: Identity) -> Any:
    return connect(there.listener.addresses[0], identity=identity, peer=GATEWAY.public_key)


async def offer(session: Session, name: str = "build") -> Any:
    """What clients come out of, once it holds, and the channel of the offer."""
    sender, clients = chanlink.pipe()
    channel = await session.open(f"chanlink.offer:{name}")
    await channel.send({"clients": sender})
    assert await clients.receive() == {"offered": True}
    return channel, clients


async def code_of(channel: Any) -> str:
    reason = await channel.wait_closed()
    assert isinstance(reason, ChannelRefused)
    return reason.code


async def test_a_client_comes_out_with_a_label_that_is_the_same_each_time(tmp_path: Path) -> None:
    async with house(tmp_path) as there, of(there, SERVER) as server, of(there, ALICE) as alice:
        _kept, clients = await offer(server)
        labels = []
        for _ in range(2):
            async with await alice.open_stream("via:build") as stream:
                await stream.send(b"to the server")
                given = await clients.receive()
                labels.append(given["client"])
                assert await given["stream"].receive() == b"to the server"
                await given["stream"].send(b"and back")
                assert await stream.receive() == b"and back"
                given["stream"].close()
        assert labels[0] == labels[1]
        assert len(labels[0]) == 16
        assert ALICE.public_key.raw[:4] not in labels[0]


@one_backend
async def test_an_end_is_passed_on_as_an_end_and_a_reset_as_one(tmp_path: Path) -> None:
    async with house(tmp_path) as there, of(there, SERVER) as server, of(there, ALICE) as alice:
        _kept, clients = await offer(server)
        async with await alice.open_stream("via:build") as stream, (await clients.receive())["stream"] as far:
            await stream.send_eof()
            with pytest.raises(chanlink.EndOfChannel):
                await far.receive()
            far.fail("reset")
            with pytest.raises(ChannelFailed) as failed:
                await stream.receive()
            assert failed.value.code == "reset"


@one_backend
async def test_who_may_offer_and_who_may_ask_are_exact(tmp_path: Path) -> None:
    async with house(tmp_path) as there:
        for identity, service in (
            (SERVER, "chanlink.offer:test"),
            (SERVER, "chanlink.offer:buil"),
            (ALICE, "chanlink.offer:build"),
        ):
            async with of(there, identity) as session, await session.open(service) as channel:
                assert await code_of(channel) == "no-such-service"
        for identity, service in ((SERVER, "via:build"), (ALICE, "via:test"), (BOB, "via:build")):
            async with of(there, identity) as session, await session.open_stream(service) as stream:
                with pytest.raises(ChannelError, match="no-such-service"):
                    await stream.receive()


@one_backend
async def test_all_services_are_no_right_to_offer(tmp_path: Path) -> None:
    async with (
        house(tmp_path, str(ALICE.public_key)) as there,
        of(there, ALICE) as session,
        await session.open("chanlink.offer:build") as channel,
    ):
        assert await code_of(channel) == "no-such-service"


@one_backend
async def test_a_name_is_not_taken_from_another_key_while_that_offers_it(tmp_path: Path) -> None:
    async with house(tmp_path) as there, of(there, OTHER) as other:
        async with of(there, SERVER) as server:
            _kept = await offer(server)
            sender, clients = chanlink.pipe()
            channel = await other.open("chanlink.offer:build")
            await channel.send({"clients": sender})
            assert await code_of(channel) == "name-taken"
            with pytest.raises(ChannelFailed, match="name-taken"):
                await clients.receive()
            assert there.gateway.offered == ["build"]
        await until(lambda: not there.gateway.offered)
        _kept = await offer(other)


@one_backend
async def test_of_the_same_key_the_newest_wins(tmp_path: Path) -> None:
    async with house(tmp_path) as there, of(there, SERVER) as one, of(there, SERVER) as two, of(there, ALICE) as alice:
        channel, old = await offer(one)
        async with await alice.open_stream("via:build") as before:
            far = (await old.receive())["stream"]
            _newer, clients = await offer(two)
            assert await code_of(channel) == "replaced"
            with pytest.raises(ChannelFailed, match="replaced"):
                await old.receive()
            async with await alice.open_stream("via:build"):
                assert set(await clients.receive()) == {"client", "stream"}
            await far.send(b"goes on")
            assert await before.receive() == b"goes on"
            far.close()


@pytest.mark.parametrize("message", [7, {}, {"clients": 7}, [], {"clients": "x"}], ids=repr)
@one_backend
async def test_what_is_no_offer_is_refused(message: Any, tmp_path: Path) -> None:
    async with house(tmp_path) as there, of(there, SERVER) as server:
        channel = await server.open("chanlink.offer:build")
        await channel.send(message)
        assert await code_of(channel) == "bad-offer"
        assert not there.gateway.offered


@one_backend
async def test_an_offer_is_one_message(tmp_path: Path) -> None:
    async with house(tmp_path) as there, of(there, SERVER) as server:
        channel, clients = await offer(server)
        await channel.send("more")
        assert await code_of(channel) == "bad-offer"
        with pytest.raises(ChannelFailed, match="bad-offer"):
            await clients.receive()
        assert not there.gateway.offered


@one_backend
async def test_what_the_trust_file_takes_back_is_over(tmp_path: Path) -> None:
    async with house(tmp_path, limits=chanlink.Limits(trust_interval=0.01)) as there, of(there, SERVER) as server:
        _kept = await offer(server)
        there.trust.write_text(f'services="via:build" {ALICE.public_key}\nservices="via:none" {SERVER.public_key}\n')
        await until(lambda: not there.gateway.offered)


def test_it_is_the_services_that_it_was_given_and_those_of_a_gateway() -> None:
    gateway = Gateway({"echo": print})  # type: ignore[dict-item]
    assert list(gateway) == ["echo"]
    assert len(gateway) == 1
    assert gateway.get("echo") == print
    assert isinstance(gateway.get("via:x"), chanlink.streams)
    assert callable(gateway.get("chanlink.offer:x"))
    assert gateway.get("forward:x") is None
