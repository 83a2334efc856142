"""What sessions send without waiting, since their users are about to wait."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import Limits, Peer, Session
from chanlink.transport.sockets import SocketTransport
from tests.security.wires import sealed_pair

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def sessions() -> AsyncIterator[tuple[Session, Session]]:
    one, two = sealed_pair()
    peer = Peer(None, "peer", "here")
    async with (
        Session(two, client_side=False, peer=peer) as server,
        Session(one, client_side=True, peer=peer) as client,
    ):
        yield client, server


def spy(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What a session sends ahead of its writer from now on."""
    records: Any = session._below
    plain, sent = records.send_now, []

    def send_now(parts: list[bytes]) -> bool:
        sent.append(b"".join(parts))
        return plain(parts)

    monkeypatch.setattr(records, "send_now", send_now)
    return sent


async def test_who_waits_for_an_answer_has_sent_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    async with sessions() as (client, server):
        sender = await client.open("questions")
        reply, answers = chanlink.pipe()
        await sender.send({"reply": reply})
        incoming = await server.accept()
        question = await incoming.end.receive()
        sent = spy(client, monkeypatch)
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                await sender.send("the question")
                assert not sent  # it may be joined with more
                assert await answers.receive() == "the answer"

            tasks.start_soon(ask)
            assert await incoming.end.receive() == "the question"
            assert len(sent) == 1
            assert b"the question" in sent[0]
            await question["reply"].send("the answer")


async def test_what_tasks_send_that_were_woken_together_is_left_to_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with sessions() as (client, server):
        sender = await client.open("questions")
        pipes = [chanlink.pipe() for _ in range(5)]
        await sender.send([reply for reply, _ in pipes])
        incoming = await server.accept()
        replies = await incoming.end.receive()

        async def talk(answers: chanlink.Receiver[Any]) -> None:
            await answers.receive()
            await sender.send("and on")
            await answers.receive()

        async with anyio.create_task_group() as tasks:
            for _, answers in pipes:
                tasks.start_soon(talk, answers)
            await anyio.wait_all_tasks_blocked()
            sent = spy(client, monkeypatch)
            for reply in replies:  # all of them leave in one go
                reply.send_nowait("go")
            for _ in replies:
                assert await incoming.end.receive() == "and on"
            assert not sent
            for reply in replies:
                reply.send_nowait("enough")


async def test_more_than_the_socket_takes_goes_on_by_the_writer() -> None:
    async with sessions() as (client, server):
        sender = await client.open("questions")
        reply, answers = chanlink.pipe()
        body = os.urandom(1_000_000)
        async with anyio.create_task_group() as tasks:

            async def answer() -> None:
                incoming = await server.accept()
                async for question in incoming.end:
                    async with question["reply"] as answer_to:
                        await answer_to.send(question["body"][::-1])

            tasks.start_soon(answer)
            await sender.send({"body": body, "reply": reply})
            assert await answers.receive() == body[::-1]
            sender.close()


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # it takes its time
async def test_a_link_for_which_one_turn_takes_longer_than_the_patience_is_no_dead_one() -> None:
    (near, a), (b, far) = socket.socketpair(), socket.socketpair()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    read_slowly, read_fast = SocketTransport(a), SocketTransport(b)

    async def pass_on(source: SocketTransport, sink: SocketTransport, pause: float) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):  # the session is over
            while True:
                await sink.send(await source.receive(2_048))
                await anyio.sleep(pause)

    peer, limits = Peer(None, "peer", "here"), Limits(progress=1.0)
    client, server = sealed_pair(sockets=(near, far))
    async with read_slowly, read_fast, anyio.create_task_group() as tasks:
        tasks.start_soon(pass_on, read_slowly, read_fast, 0.01)
        tasks.start_soon(pass_on, read_fast, read_slowly, 0)
        async with (
            Session(client, client_side=True, peer=peer, limits=limits) as session,
            Session(server, client_side=False, peer=peer) as accepting,
        ):
            for _ in range(30):
                await (await session.open_stream("bulk")).send(bytes(limits.stream_window))
            for _ in range(30):
                end, left = (await accepting.accept()).end, limits.stream_window
                while left:
                    left -= len(await end.receive())
            session.abort()


async def test_a_connection_that_broke_is_found_while_sending_without_waiting() -> None:
    async with sessions() as (client, server):
        sender = await client.open("questions")
        reply, answers = chanlink.pipe()
        await sender.send({"reply": reply})
        assert (await server.accept()).end is not None
        server._below._transport._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
        with pytest.raises(chanlink.ChannelBroken):
            while True:
                await sender.send("more")
                with anyio.move_on_after(0.01):
                    await answers.receive()
        assert isinstance(await client.wait_closed(), chanlink.SessionError)
