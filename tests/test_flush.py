"""What is sent without waiting: records on a socket that takes a part, and sessions whose users are about to wait."""

import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import Limits, Peer, Session, suites
from chanlink.buffers import loop_buffers
from chanlink.records import NoiseStream
from chanlink.rekey import RecordKeys, Secrets, Thresholds
from chanlink.sockets import RawStream
from chanlink.testing import session_pair

pytestmark = pytest.mark.anyio


def streams(thresholds: Thresholds | None = None, *, suite: str = "chachapoly") -> tuple[NoiseStream, NoiseStream]:
    """The two ends of a connection with small buffers."""
    secrets = Secrets(*(os.urandom(32) for _ in range(4)))
    made = []
    for sock, client_side in zip(socket.socketpair(), (True, False), strict=True):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        buffers = loop_buffers()
        keys = RecordKeys(
            secrets,
            suites.suite(suite),
            client_side=client_side,
            now=time.monotonic(),
            plain=buffers.plain,
            thresholds=thresholds,
        )
        made.append(NoiseStream(RawStream(sock), keys, secrets, buffers))
    return made[0], made[1]


async def received(stream: NoiseStream) -> bytes:
    data = bytearray()
    with pytest.raises(anyio.EndOfStream):
        while True:
            data += await stream.receive()
    return bytes(data)


# --- records --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 10_000, 65_518, 65_519, 300_000, 1_000_000])
async def test_what_does_not_leave_now_leaves_with_the_next_send(size: int) -> None:
    near, far = streams()
    first, second = os.urandom(size), os.urandom(100)
    whole = near.send_now(first)
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


@pytest.mark.parametrize("suite", ["chachapoly", "aegis256"])
async def test_four_full_records_and_something_small_leave_at_a_time(suite: str) -> None:
    if suite not in suites.offer():
        pytest.skip("this machine does not offer it")
    for stream in streams(suite=suite):
        sealed, left = stream._seal_some(memoryview(bytes(4 * stream.max_body + 100)))
        assert (len(sealed), len(left)) == (4 * 65_537 + 2 + 100 + 65_535 - stream.max_body, 0)
        assert stream._seal_some(memoryview(bytes(5 * stream.max_body)))[1]
        await stream.aclose()


async def test_a_close_record_comes_after_what_could_not_leave() -> None:
    near, far = streams()
    first = os.urandom(400_000)
    assert not near.send_now(first)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(near.send_close, "bye")
        assert await received(far) == first
    assert far.peer_close == ("bye", "")
    await far.aclose()
    await near.aclose()


async def test_a_rekey_record_goes_first_also_when_nothing_waits() -> None:
    near, far = streams(Thresholds(seconds=0.0))
    assert near.send_now(b"hello")
    assert await far.receive() == b"hello"
    assert far.has_output()  # the answer
    await near.aclose()
    await far.aclose()


# --- sessions -------------------------------------------------------------------------------------------


@asynccontextmanager
async def sessions() -> AsyncIterator[tuple[Session, Session]]:
    one, two = streams()
    peer = Peer(None, "peer", "here")
    async with (
        Session(two, client_side=False, peer=peer) as server,
        Session(one, client_side=True, peer=peer) as client,
    ):
        yield client, server


def spy(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What a session sends ahead of its writer from now on."""
    records: Any = session._records
    plain, sent = records.send_now, []

    def send_now(data: bytearray) -> bool:
        sent.append(bytes(data))
        return plain(data)

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


async def test_a_connection_that_broke_is_found_while_sending_without_waiting() -> None:
    async with sessions() as (client, server):
        sender = await client.open("questions")
        reply, answers = chanlink.pipe()
        await sender.send({"reply": reply})
        assert (await server.accept()).end is not None
        server._stream._transport._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
        with pytest.raises(chanlink.ChannelBroken):
            while True:
                await sender.send("more")
                with anyio.move_on_after(0.01):
                    await answers.receive()
        assert isinstance(await client.wait_closed(), chanlink.SessionError)


# --- many who wait to send ------------------------------------------------------------------------------


async def test_who_had_to_wait_sends_some_more_and_everybody_gets_his_turn() -> None:
    """A channel that is always full: each task sends in batches, none is left behind."""
    limits = Limits(stream_window=2_048, stream_window_max=2_048)
    sent: list[int] = []

    async def send(sender: chanlink.Sender[Any], number: int) -> None:
        async with sender:
            for n in range(500):
                await sender.send((number, n))
                sent.append(number)

    async with session_pair(limits) as (client, server):
        sender = await client.open("numbers")
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(send, sender.clone(), number)
            sender.close()
            incoming = await server.accept()
            got = [tuple(item) async for item in incoming.end]
    assert sorted(got) == [(number, n) for number in range(10) for n in range(500)]
    for number in range(10):  # in order, each of them
        assert [n for one, n in got if one == number] == list(range(500))
    assert set(sent[: len(sent) // 2]) == set(range(10))  # nobody is left behind
