"""A grant that changes is applied whole: the name, the services, and what travelled by them, however deep and far."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelFailed, ChannelRefused, Identity, Limits, Session, SessionClosed, SessionLost, Trust
from chanlink.security.keys.trust import Grant
from chanlink.session.services import Serving
from chanlink.testing import session_pair
from chanlink.testing.promises import eventually
from tests.wire import muxes

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]

IN_TIME = 15
"""A guard only: nothing waits for it."""
WINDOW = Limits().stream_window
KEPT = Grant("alice", frozenset({"kept"}))

PATHS = [path for depth in (1, 2, 3) for path in itertools.product(("receiver", "sender"), repeat=depth - 1)]
CASES = [(*path, leaf) for path in PATHS for leaf in ("receiver", "sender", "bytes")]

Pair = tuple[Any, Any]
"""The ends of a channel, or of a byte stream, in two processes; whoever has the sender can send what is next."""


def made(kind: str) -> Pair:
    """An end to keep, and one of this kind to send away."""
    if kind == "bytes":
        return chanlink.byte_pipe()
    sender, receiver = chanlink.pipe()
    return (sender, receiver) if kind == "receiver" else (receiver, sender)


async def opened(near: Session, far: Session, service: str) -> Pair:
    return await near.open(service), (await far.accept()).end


async def nested(channel: Pair, kind: str) -> Pair:
    """The ends of one that travels through a channel, in the order of the channel's."""
    sends = 0 if isinstance(channel[0], chanlink.Sender) else 1
    kept, away = made(kind)
    await channel[sends].send(away)
    arrived = await channel[1 - sends].receive()
    return (kept, arrived) if sends == 0 else (arrived, kept)


async def chain(channel: Pair, path: tuple[str, ...]) -> list[Pair]:
    """This channel, one in a message of it, one in a message of that, and so on."""
    found = [channel]
    for kind in path:
        channel = await nested(channel, kind)
        found.append(channel)
    return found


async def check_revoked(*ends: Any) -> None:
    for end in ends:
        with anyio.fail_after(IN_TIME):
            if not isinstance(end, chanlink.Sender):
                with pytest.raises(ChannelFailed) as failed:
                    await end.receive()
                assert failed.value.code == "revoked"
            if not isinstance(end, chanlink.Receiver):
                with pytest.raises(ChannelRefused) as refused:
                    while True:
                        await end.send(b"x")
                assert refused.value.code == "revoked"


async def check_alive(pair: Pair) -> None:
    with anyio.fail_after(IN_TIME):
        for one, other in (pair, pair[::-1]):
            if not isinstance(one, chanlink.Receiver):
                await one.send(b"x")
                assert await other.receive() == b"x"


@pytest.mark.parametrize("path", CASES, ids="-".join)
async def test_what_travelled_by_a_service_taken_away_is_over_at_any_depth(path: tuple[str, ...]) -> None:
    async with session_pair() as (client, server):
        kept = await chain(await opened(client, server, "kept"), path)
        lost = await chain(await opened(client, server, "lost"), path)
        ours = await chain(await opened(server, client, "lost"), path)
        server._regrant(KEPT)
        await check_revoked(*itertools.chain(*lost))
        for pair in kept + ours:
            await check_alive(pair)
        for end in itertools.chain(*lost):
            await end.aclose()
        await eventually(lambda: client.statistics().channels == server.statistics().channels == 2 + 2 * len(path))


@pytest.mark.parametrize("path", CASES, ids="-".join)  # of what goes through the relay
async def test_what_a_relay_passed_on_is_over_in_the_third_process_too(path: tuple[str, ...]) -> None:
    """near - relay - far: near's right to a service of the relay ends, and far has not heard of any of it."""
    async with session_pair() as (near, relay_near), session_pair() as (relay_far, far):
        onward = await opened(relay_far, far, "anything")
        before = [one.statistics().channels for one in (near, relay_near, relay_far, far)]

        async def through(service: str) -> list[Pair]:
            entry = await opened(near, relay_near, service)
            kept, at_relay = await nested(entry, path[0])
            await onward[0].send(at_relay)
            return [entry, *await chain((kept, await onward[1].receive()), path[1:])]

        lost, kept = await through("lost"), await through("kept")
        relay_near._regrant(KEPT)
        await check_revoked(*itertools.chain(*lost))
        for pair in kept[1:]:
            await check_alive(pair)
        for end in itertools.chain(*lost, *kept):
            await end.aclose()
        sessions = (near, relay_near, relay_far, far)
        await eventually(lambda: [one.statistics().channels for one in sessions] == before)


async def test_the_relay_at_fault_may_be_the_second_one_and_what_came_back_through_it_is_over() -> None:
    """far opens a service of the relay's and sends an end; the relay gives it to near by a service of near's right."""
    async with session_pair() as (near, relay_near), session_pair() as (far, relay_far):
        to_relay = await opened(far, relay_far, "lost")
        entry = await opened(near, relay_near, "kept")
        answers = await nested(entry, "sender")  # near receives by it
        pairs = []
        for kind in ("receiver", "sender", "bytes"):
            at_far, at_relay = await nested(to_relay, kind)
            await answers[1].send(at_relay)
            pairs.append((at_far, await answers[0].receive()))
        for pair in pairs:
            await check_alive(pair)
        relay_far._regrant(KEPT)
        await check_revoked(*itertools.chain(*pairs))
        for pair in (entry, answers[::-1]):
            await check_alive(pair)


async def test_what_waits_for_a_peer_that_takes_nothing_is_dropped() -> None:
    """Else it could be had later, by giving credit; and the peer would decide for how long it is kept."""
    async with session_pair() as (client, server):
        before = client.statistics()
        root = await opened(client, server, "lost")
        receiver, sender = await nested(root, "sender")
        stream, body = await nested(root, "bytes")
        with contextlib.suppress(anyio.WouldBlock):
            while True:
                sender.send_nowait(bytes(1_000))
                body._put_nowait(bytes(1_000))
        assert sum(one.outgoing.queued for one in server._mux.streams.values() if one.carries_out) > WINDOW
        sender.close()  # an end that has not left is none
        server._regrant(KEPT)
        assert sum(one.outgoing.queued for one in server._mux.streams.values() if one.carries_out) == 0
        with anyio.fail_after(IN_TIME):
            for end in (receiver, stream):
                with pytest.raises(ChannelFailed, match="revoked"):
                    while True:
                        await end.receive()
        for end in (*root, stream, body):
            await end.aclose()
        await eventually(lambda: client.statistics()[:3] == before[:3])


@pytest.mark.parametrize("grant", [KEPT, None], ids=["a service", "the key"])
async def test_what_nobody_has_taken_yet_nobody_gets(grant: Grant | None) -> None:
    """Messages and bytes that have arrived, and channels that nobody has accepted."""
    async with session_pair() as (client, server):
        sender, receiver = await opened(client, server, "lost")
        body, body_there = await nested((sender, receiver), "bytes")
        ended, ended_there = await opened(client, server, "lost")
        for end in (sender, body, ended):
            await end.send(b"too late")
        ended.close()
        waiting = [await client.open("lost"), await client.open_stream("lost"), await client.open("lost")]
        await waiting[0].send("too late")
        await eventually(lambda: server.statistics().unaccepted == 3)
        await eventually(
            lambda: sum(one.carries_in and one.incoming.size > 0 for one in server._mux.streams.values()) == 4
        )
        server._regrant(grant)
        assert server.statistics().unaccepted == 0
        for end in (receiver, body_there, ended_there):
            with pytest.raises(ChannelFailed if grant else SessionLost, match="revoked"):
                await end.receive()
        if grant is None:
            with pytest.raises(SessionClosed, match="revoked"):
                await server.accept()
        else:
            kept = await opened(client, server, "kept")
            await check_alive(kept)
            await check_revoked(*waiting)
        for end in (sender, receiver, body, body_there, ended_there, *waiting):
            await end.aclose()


async def test_a_service_that_was_taken_away_before_its_task_began_does_not_begin() -> None:
    pair, began = muxes.Pair(), []  # type: ignore[var-annotated]

    async def service(receiver: Any, peer: chanlink.Peer) -> None:
        began.append(receiver)
        await anyio.sleep_forever()

    _, stream = pair.open("receiver")
    ends: list[Any] = []

    def adopt(stream: object) -> Any:
        ends.extend(chanlink.pipe())
        return ends[-1]

    serving = Serving(
        {"kept": service, "lost": service}, chanlink.Peer(None, "", ""), limit=10, adopt=adopt, enter=lambda: None
    )
    with anyio.fail_after(IN_TIME):
        async with anyio.create_task_group() as tasks:
            serving.start(tasks, "lost", stream)
            serving.start(tasks, "kept", stream)
            serving.stop(KEPT.allows)
            await anyio.wait_all_tasks_blocked()
            assert began == ends[3:]
            tasks.cancel_scope.cancel()
    for end in ends:
        await end.aclose()


async def test_what_no_message_has_mentioned_yet_is_told_why() -> None:
    async with session_pair() as (client, server):
        sender, receiver = await opened(client, server, "lost")
        kept, away = made("receiver")
        await sender.send(away)
        await anyio.wait_all_tasks_blocked()  # it waits in the inbox
        server._regrant(KEPT)
        await check_revoked(kept, sender, receiver)


# --- by the trust file --------------------------------------------------------------------------------

ALICE, SERVER = Identity.generate("alice"), Identity.generate("server")


def write(file: Path, line: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(f"{line}\n")
    new.replace(file)


@contextlib.asynccontextmanager
async def listening(file: Path, service: Any) -> AsyncIterator[Callable[[], Any]]:
    write(file, str(ALICE.public_key))
    options: dict[str, Any] = {
        "identity": SERVER,
        "trust": Trust.load(file),
        "services": {"lost": service, "kept": service},
        "limits": Limits(trust_interval=0.02),
    }
    async with chanlink.listen("tcp://127.0.0.1:0", **options) as listener:
        yield lambda: chanlink.connect(listener.addresses[0], identity=ALICE, peer=SERVER.public_key)
        assert all(session.peer.name == "mallory" for session in listener.sessions)


async def test_a_renamed_key_has_its_new_name_in_what_is_open_and_goes_on(tmp_path: Path) -> None:
    """Policies go by names: neither a channel that is open nor one that comes may be judged by the old one."""

    async def who(requests: Any, peer: chanlink.Peer) -> None:
        async for reply in requests:
            await reply.send(peer.name)

    async with listening(tmp_path / "trust", who) as connect, connect() as session:
        channel = await session.open("kept")
        reply, replies = chanlink.pipe()
        await channel.send(reply)
        assert await replies.receive() == "alice"
        key = " ".join(str(ALICE.public_key).split()[:2])
        write(tmp_path / "trust", f"{key} mallory")

        async def name_by(channel: Any) -> str:
            reply, replies = chanlink.pipe()
            await channel.send(reply)
            return str(await replies.receive())

        with anyio.fail_after(IN_TIME):
            while await name_by(channel) != "mallory":
                await anyio.sleep(0.01)
            async with await session.open("lost") as another:
                assert await name_by(another) == "mallory"
