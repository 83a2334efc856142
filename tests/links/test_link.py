"""The wait for a session, and what a link that has given up says."""

import anyio
import pytest

import chanlink
from chanlink import (
    CallRefused,
    ConnectFailed,
    SessionLost,
    Trust,
    UntrustedPeer,
    WrongPeer,
)
from tests.echo import ask

from .servers import OTHER, WORK, Server, until_state

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


async def test_another_key_behind_the_address_is_refused_for_good(server: Server) -> None:
    async with server.link() as link:
        work = link.client(WORK, "work")
        async with server.running():
            assert await work.number() == 1
        async with server.running(OTHER):
            await until_state(link, "refused")
            with pytest.raises(WrongPeer):
                await link.session()
            with pytest.raises(WrongPeer):
                await link.open("echo")
            with pytest.raises(CallRefused, match="no-session") as caught:
                await work.number()
            assert isinstance(caught.value.__cause__, WrongPeer)
            assert isinstance(link.problem, WrongPeer)
        async with server.running():
            assert link.state == "refused"


async def test_who_waits_when_it_is_refused_is_told_at_once(server: Server) -> None:
    async with server.running(trust=Trust.of(OTHER.public_key)), server.link() as link:
        with pytest.raises(UntrustedPeer):
            await link.session()


async def test_without_a_server_a_caller_waits_as_long_as_its_scope_lets_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server.link() as link:
        with anyio.move_on_after(0.05) as scope:
            await link.session()
        assert scope.cancelled_caught
        monkeypatch.setattr("chanlink.links.link.PATIENCE", 0.3)
        with pytest.raises(ConnectFailed, match=r"no session within 0\.3 s") as caught:
            await link.session()
        assert isinstance(caught.value.__cause__, ConnectFailed)
        with pytest.raises(CallRefused, match="no-session"):
            await link.client(WORK, "work").number()


async def test_channels_and_byte_streams_are_of_the_session_that_there_is(server: Server) -> None:
    async with server.running(), server.link() as link:
        async with await link.open("echo") as requests:
            reply, replies = chanlink.pipe()
            await requests.send({"value": [1], "reply": reply})
            assert await replies.receive() == [1]
        stream = await link.open_stream("upper")
        await stream.send(b"bytes")
        assert await stream.receive() == b"BYTES"
        server.listener.sessions[0].abort()
        with pytest.raises(SessionLost):
            await stream.receive()
        stream.close()
        assert await ask(await link.session()) == "hello"
        async with await link.open_stream("upper") as another:
            await another.send(b"again")
            assert await another.receive() == b"AGAIN"
