"""What is sent without waiting: records on a socket that takes a part, and sessions whose users are about to wait."""

import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import Limits, Peer, Session
from chanlink.security.noise_stream import NoiseStream
from chanlink.security.rekey import Thresholds
from chanlink.transport.sockets import SocketTransport
from tests.security.wires import sealed_pair

pytestmark = pytest.mark.anyio


async def received(stream: NoiseStream) -> bytes:
    data = bytearray()
    with pytest.raises(anyio.EndOfStream):
        while True:
            data += await stream.receive()
    return bytes(data)


# --- records --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 10_000, 65_518, 65_519, 300_000, 1_000_000])
async def test_what_does_not_leave_now_leaves_with_the_next_send(size: int) -> None:
    near, far = sealed_pair()
    first, second = os.urandom(size), os.urandom(100)
    whole = near.send_now([first] if first else [])
    assert whole is (size <= 10_000)
    assert near.can_send_now is whole
    async with anyio.create_task_group() as tasks:

        async def go_on() -> None:
            await near.send(second)
            await near.send_eof()

        tasks.start_soon(go_on)
        assert await received(far) == first + second
    for stream in (near, far):
        await stream.aclose()


@pytest.mark.parametrize(
    "cuts", [[], [9], [9, 65_502], [65_501, 65_502, 65_503], [1, 2, 131_004], range(1, 200_000, 999)]
)
@pytest.mark.parametrize("now", [False, True])
async def test_what_comes_in_parts_leaves_as_if_it_were_joined(cuts: Sequence[int], now: bool) -> None:
    near, far = sealed_pair()
    whole = os.urandom(200_000)
    parts = [whole[begin:end] for begin, end in pairwise([0, *cuts, len(whole)])]
    records = []
    async with anyio.create_task_group() as tasks:

        async def send() -> None:
            if now:
                near.send_now([bytearray(part) for part in parts])
                await near.send(b"")
            else:
                await near.send_parts(memoryview(part) for part in parts)
            await near.send_eof()

        tasks.start_soon(send)
        with suppress(anyio.EndOfStream):
            while True:
                records.append(await far.receive())
    assert b"".join(records) == whole
    assert {len(record) for record in records[:-1]} == {near._max_body}
    for stream in (near, far):
        await stream.aclose()


async def test_a_close_record_comes_after_what_could_not_leave() -> None:
    near, far = sealed_pair()
    first = os.urandom(400_000)
    assert not near.send_now([first])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(near.send_close, "bye")
        assert await received(far) == first
    assert far.peer_close == ("bye", "")
    await far.aclose()
    await near.aclose()


async def test_a_rekey_record_goes_first_also_when_nothing_waits() -> None:
    near, far = sealed_pair(Thresholds(seconds=0.0))
    assert near.send_now([b"hello"])
    assert await far.receive() == b"hello"
    assert far.has_output()  # the answer
    await near.aclose()
    await far.aclose()


# --- sessions -------------------------------------------------------------------------------------------


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
