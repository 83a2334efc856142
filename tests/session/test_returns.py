"""Connections that come back to a session of a listener, made by hand: what each of them gets, and what it changes."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from chanlink import Identity, Limits, Listener, SessionClosed, SessionError, Trust, UntrustedPeer
from chanlink.security.handshake import handshake_as_client
from chanlink.security.keys.certificate import Role
from chanlink.security.keys.presented import Presented
from chanlink.security.keys.trust import Grant
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.resuming.agreement import Agreement
from chanlink.security.resuming.returning import Returned, TryFailed, return_as_client
from chanlink.security.statics import Statics
from chanlink.session.returns import NOBODY
from chanlink.transport.address import parse_address
from chanlink.transport.base import close_at_once
from chanlink.transport.reaching import connect_socket
from tests.patience import PATIENCE, until
from tests.session.endpoints import ALICE, BOB, EVERYBODY, greeter_of, listen

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]


def anybody(presented: Presented) -> Grant:
    return Grant("", None)


class Client:
    """One that has a session which may be resumed, and does by hand what comes then."""

    def __init__(self, listener: Listener, identity: Identity = ALICE) -> None:
        self.listener = listener
        self.statics = Statics(identity, Role.CLIENT)
        self.agreement: Agreement
        self.connections: list[NoiseStream] = []

    async def begin(self) -> None:
        transport = await connect_socket(parse_address(self.listener.addresses[0]))
        try:
            found = await handshake_as_client(transport, self.statics, anybody, Limits(), resume=60)
        except BaseException:
            await close_at_once(transport)
            raise
        assert found.agreement is not None
        self.agreement = found.agreement
        self.connections.append(found.stream)

    async def come_back(self, attempt: int, count: int = 0, **changes: Any) -> Returned:
        """Come back, having received so much."""
        transport = await connect_socket(parse_address(self.listener.addresses[0]))
        agreement = self.agreement._replace(**changes)
        try:
            found = await return_as_client(
                transport, self.statics, anybody, Limits(), agreement, attempt, lambda: count
            )
        except BaseException:
            await close_at_once(transport)
            raise
        self.connections.append(found.connection)
        return found

    async def gets_no_answer(self, attempt: int, count: int = 0, **changes: Any) -> str:
        with pytest.raises(TryFailed) as caught:
            await self.come_back(attempt, count, **changes)
        assert "the server's welcome did not come" in str(caught.value)
        return str(caught.value)


@asynccontextmanager
async def clients(
    *identities: Identity, trust: Trust = EVERYBODY, **limits: Any
) -> AsyncIterator[tuple[Listener, list[Client]]]:
    """A listener, and clients that have a session there."""
    async with listen(trust=trust, limits=Limits(close=0.1, **limits)) as listener:
        made = [Client(listener, identity) for identity in identities]
        for client in made:
            await client.begin()
        await until(lambda: len(listener.sessions) == len(made))
        yield listener, made
        for connection in [connection for client in made for connection in client.connections]:
            await close_at_once(connection)


async def test_a_proof_and_a_higher_attempt_take_the_session_over_and_the_connection_before_is_closed() -> None:
    async with clients(ALICE) as (listener, (client,)):
        for attempt in (1, 2, 7):
            returned = await client.come_back(attempt)
            with pytest.raises(SessionError), anyio.fail_after(PATIENCE):
                while True:
                    await client.connections[-2].receive()
            assert returned.received == 0
        assert len(listener.sessions) == 1
        assert listener.sessions[0].state == "open"


@pytest.mark.parametrize("attempt", [7, 6, 0])
async def test_an_attempt_that_is_not_higher_gets_no_answer_and_the_session_stays_where_it_is(attempt: int) -> None:
    async with clients(ALICE) as (listener, (client,)):
        await client.come_back(7)
        await client.gets_no_answer(attempt)
        assert [one.state for one in listener.sessions] == ["open"]
        await client.come_back(8)


async def test_a_wrong_proof_gets_no_answer_and_the_session_stays_where_it_is() -> None:
    async with clients(ALICE, BOB) as (listener, (client, other)):
        stolen = {"session": client.agreement.session}
        await client.gets_no_answer(1, secret=os.urandom(32))
        await other.gets_no_answer(1, **stolen)
        assert [one.state for one in listener.sessions] == ["open", "open"]
        await client.come_back(1)


async def test_ids_that_are_guessed_are_gone_and_no_session_comes_of_them() -> None:
    async with clients(ALICE) as (listener, (client,)):
        for _ in range(20):
            with pytest.raises(SessionError, match="has given the session up"):
                await client.come_back(1, session=os.urandom(16))
        assert len(listener.sessions) == 1
        assert not greeter_of(listener).seats or len(greeter_of(listener).seats) == 1


async def test_another_key_with_the_secret_of_a_session_does_not_get_it() -> None:
    async with clients(ALICE, BOB) as (listener, (client, thief)):
        with pytest.raises(SessionError, match="has given the session up"):
            await thief.come_back(1, **client.agreement._asdict())
        assert [one.state for one in listener.sessions] == ["open", "open"]
        await client.come_back(1)


@pytest.mark.parametrize("count", [2**64 - 1, 10_000])
async def test_a_count_that_can_not_be_ends_the_session_and_the_client_is_told(count: int) -> None:
    async with clients(ALICE) as (listener, (client,)):
        with pytest.raises(SessionClosed) as caught:
            await client.come_back(1, count)
        assert caught.value.code == "protocol-error"
        await until(lambda: not listener.sessions)


async def test_who_comes_back_too_often_gets_no_answer_for_a_while() -> None:
    async with clients(ALICE, BOB, resumes=2) as (listener, (client, other)):
        attempt = 0
        with pytest.raises(TryFailed):
            for attempt in range(1, 1_000):
                await client.come_back(attempt)
        assert attempt > 2
        assert [one.state for one in listener.sessions] == ["open", "open"]
        await other.come_back(1)


async def test_a_client_that_comes_back_needs_no_seat() -> None:
    async with clients(ALICE, sessions=1, sessions_per_key=1) as (listener, (client,)):
        with pytest.raises(SessionClosed, match="busy"):
            await Client(listener).begin()
        await client.come_back(1)
        with pytest.raises(SessionClosed, match="busy"):
            await Client(listener).begin()
        assert len(listener.sessions) == 1


async def test_a_client_that_is_not_trusted_any_more_is_told_so_whatever_it_comes_back_to() -> None:
    async with clients(ALICE) as (listener, (client,)):
        greeter = greeter_of(listener)
        greeter.authority.change(Trust.of(BOB.public_key))
        for changes in ({}, {"session": os.urandom(16)}):
            with pytest.raises(UntrustedPeer) as caught:
                await client.come_back(5, **changes)
            assert caught.value.remote


@pytest.mark.parametrize("fault", [True, False])
async def test_a_source_is_charged_for_wrong_proofs_and_not_for_sessions_that_are_gone(
    fault: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("chanlink.session.greeter.source_of", lambda address: "192.0.2.1")
    caplog.set_level(logging.INFO)
    async with clients(ALICE, source_failures=3) as (_, (client,)):
        for _ in range(4):
            if fault:
                await client.gets_no_answer(1, secret=os.urandom(32))
            else:
                with pytest.raises(SessionError):
                    await client.come_back(1, session=os.urandom(16))
    assert any("come last for now" in one for one in caplog.messages) is fault


async def test_that_a_client_goes_and_comes_back_is_one_line_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with clients(ALICE) as (listener, (client,)):
        await close_at_once(client.connections[0])
        await until(lambda: [one.state for one in listener.sessions] == ["away"])
        await client.come_back(1)
        await until(lambda: [one.state for one in listener.sessions] == ["open"])
    told = [one for one in caplog.messages if " is away: " in one or " is back from " in one]
    assert len(told[:2]) == 2
    assert "the connection ended without a farewell" in told[0]
    assert "bytes are sent again" in told[1]


async def test_a_listener_that_is_closed_warns_once_and_says_how_many_were_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with clients(*[ALICE] * 5, BOB) as (listener, made):
        for client in made[1:]:
            await close_at_once(client.connections[0])
        await until(lambda: [one.state for one in listener.sessions].count("away") == 5)
        away = [one for one in listener.sessions if one.state == "away"]
        caplog.clear()
        await listener.aclose()
        assert {str(await one.wait_closed()) for one in away} == {NOBODY}
    assert [one for one in caplog.messages if "away" in one] == [
        "the listener is closed, and sessions whose client is away are lost: 5"
    ]


async def test_a_session_of_which_its_client_may_not_know_is_given_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The welcome was lost, say."""
    monkeypatch.setattr("chanlink.session.returns.LONGER", 0.0)
    async with clients(ALICE, handshake=3.0, resume=10 * PATIENCE) as (listener, (client,)):
        await close_at_once(client.connections[0])
        await until(lambda: not listener.sessions)
        with pytest.raises(SessionError, match="has given the session up"):
            await client.come_back(1)
