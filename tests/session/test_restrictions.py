"""What a credential forbids its holder: which services can be opened all the same, and what is said of the others."""

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from chanlink import ChannelRefused, ConfigError, EndOfChannel, Peer, Session, byte_pipe, pipe, service, streams
from chanlink.security.keys.trust import Grant
from chanlink.session.restrictions import check_enforced, restrictions_of
from chanlink.testing import session_over
from tests.channels.pairs import settle
from tests.echo import ask, echo
from tests.patience import PATIENCE
from tests.vouched import issued, vouched

FORCED = ("force-command",)


def test_what_a_service_has_to_enforce_is_what_the_listener_does_not() -> None:
    assert restrictions_of(Peer(None, "alice", "here")) == frozenset()
    assert restrictions_of(vouched()) == frozenset()
    assert restrictions_of(vouched("source-address")) == frozenset()
    assert restrictions_of(vouched("force-command", "source-address")) == {"force-command"}
    assert restrictions_of(vouched("force-command", "tomorrow's")) == {"force-command", "tomorrow's"}


@pytest.mark.parametrize("names", [(), [], {"force-command"}, ["force-command"]])
def test_a_service_names_what_it_enforces(names: Collection[str]) -> None:
    assert service(echo, enforces=names).enforces == set(names)


@pytest.mark.parametrize("wrong", ["force-command", 1, None, [1], b"force-command"])
def test_what_a_service_enforces_are_names(wrong: Any) -> None:
    with pytest.raises(TypeError):
        service(echo, enforces=wrong)


@pytest.mark.parametrize("wrong", ["force_command", "", "source-address", "verify-required", "x" * 1_000])
def test_a_restriction_that_there_is_not_is_said_at_once(wrong: str) -> None:
    with pytest.raises(ConfigError, match="only force-command") as error:
        service(echo, enforces=["force-command", wrong])
    assert len(str(error.value)) < 120
    with pytest.raises(ConfigError):
        check_enforced([wrong])


@asynccontextmanager
async def sessions(peer: Peer, services: Any) -> AsyncIterator[tuple[Session, Session]]:
    """A client, and the server that takes it for this peer."""
    one, two = byte_pipe()
    with anyio.fail_after(PATIENCE):
        server = session_over(two, client_side=False, peer=peer, services=services)
        async with session_over(one, client_side=True) as client, server:
            yield client, server


async def refusal(client: Session, name: str, kind: str = "open") -> str:
    reason = await (await getattr(client, kind)(name)).wait_closed()
    assert isinstance(reason, ChannelRefused)
    assert reason.reason == f"there is no service {name!r} here that this key may use"
    return reason.code


async def take(end: Any, peer: Peer) -> None:
    pass


SERVICES = {
    "enforces": service(echo, enforces=FORCED),
    "plain": echo,
    "early": service(echo, early=True),
    "bytes": streams(take),
    "bytes enforce": service(streams(take), enforces=FORCED),
}


@pytest.mark.anyio
async def test_a_peer_under_a_restriction_opens_only_what_enforces_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with sessions(vouched("force-command", "source-address"), SERVICES) as (client, _):
        assert await ask(client, 1, service="enforces") == 1
        with pytest.raises(EndOfChannel):
            await (await client.open_stream("bytes enforce")).receive()
        for name in ("plain", "early", "none"):
            assert await refusal(client, name) == "no-such-service"
        assert await refusal(client, "bytes", "open_stream") == "no-such-service"
    assert "alice@example asked for the service 'plain', which does not enforce its credential's force-command" in [
        record.getMessage() for record in caplog.records
    ]


@pytest.mark.anyio
async def test_a_restriction_that_nobody_knows_closes_all_services() -> None:
    async with sessions(vouched("force-command", "tomorrow's"), SERVICES) as (client, _):
        assert await refusal(client, "enforces") == "no-such-service"


@pytest.mark.anyio
async def test_without_a_restriction_a_credential_opens_all_services() -> None:
    async with sessions(vouched("source-address"), SERVICES) as (client, _):
        assert await ask(client, 2, service="plain") == 2
        assert await ask(client, 3, service="enforces") == 3


@pytest.mark.anyio
async def test_whoever_accepts_enforces_nothing() -> None:
    async with sessions(vouched("force-command"), None) as (client, server):
        assert await refusal(client, "any") == "no-such-service"
        assert server.statistics().unaccepted == 0


@pytest.mark.anyio
async def test_a_restriction_that_comes_later_ends_what_does_not_enforce_it() -> None:
    async with sessions(vouched(), SERVICES) as (client, server):
        plain, kept = await client.open("plain"), await client.open("enforces")
        await settle()
        server._regrant(Grant("alice@example", None, issued=issued("force-command")))
        reason = await plain.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "revoked"
        assert server.peer.issued is not None
        assert await refusal(client, "plain") == "no-such-service"
        async with kept:
            reply, replies = pipe()
            await kept.send({"value": 4, "reply": reply})
            assert await replies.receive() == 4


@pytest.mark.anyio
async def test_a_restriction_that_is_gone_opens_what_was_closed() -> None:
    async with sessions(vouched("force-command"), SERVICES) as (client, server):
        assert await refusal(client, "plain") == "no-such-service"
        server._regrant(Grant("alice@example", None, issued=issued()))
        assert await ask(client, 5, service="plain") == 5
