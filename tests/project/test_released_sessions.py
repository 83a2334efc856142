"""A session with a peer of the released version, which the test tells what to do: it closes, one drains, limits bind.

What the two exchange besides is in test_released.py.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import Identity, LimitReached, Limits, MessageTooLarge, Session, SessionClosed, Trust
from tests.patience import PATIENCE, until

from .test_released import ROOT, released

__all__ = ["released"]
PROGRAM = os.fspath(ROOT / "tests" / "project" / "released_peer.py")

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]
each_role = pytest.mark.parametrize("role", ["call", "serve"])
"""Of the released version."""


class Other:
    """The process of the released version, and this side of the session with it."""

    session: Session
    listener: chanlink.Listener
    """Of this side, when it is the server."""
    process: "subprocess.Popen[str]"

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.services = {"echo": echo, "drop": drop, "take": self.take}

    async def says(self) -> str:
        """The next line that it prints."""
        with anyio.fail_after(PATIENCE):
            assert self.process.stdout is not None
            return (await anyio.to_thread.run_sync(self.process.stdout.readline)).strip()

    async def does(self, service: str, **request: Any) -> Any:
        """What it answers when it is asked to do something, by a channel of its own."""
        async with await self.session.open(service) as requests:
            return await answer(requests, **request)

    async def take(self, receiver: Any, peer: object) -> None:
        async for number in receiver:
            self.taken.append(number)


async def answer(requests: Any, **request: Any) -> Any:
    reply, replies = chanlink.pipe()
    async with replies:
        await requests.send({"reply": reply, **request})
        return await replies.receive()


async def echo(requests: Any, peer: object) -> None:
    async for request in requests:
        sender, receiver = chanlink.pipe()
        async with request["reply"] as reply, sender:
            await reply.send(receiver)
            for number in range(request["count"]):
                await sender.send(number)


async def drop(receiver: Any, peer: object) -> None:
    async for item in receiver:
        for end in item:
            end.close()


Joined = Callable[..., Any]


@pytest.fixture
def joined(released: Path, tmp_path: Path) -> Joined:
    """Starts a peer of the released version in a role, and joins it by a session."""
    mine, theirs = Identity.generate("mine"), Identity.generate("theirs")
    mine.save(tmp_path / "mine")
    theirs.save(tmp_path / "theirs")
    where, keys = f"unix:{tmp_path}/socket", [os.fspath(tmp_path / "theirs"), os.fspath(tmp_path / "mine.pub")]

    def start(role: str, limits: dict[str, int]) -> "subprocess.Popen[str]":
        command = [sys.executable, PROGRAM, role, where, *keys, repr(limits)]
        environment = {**os.environ, "PYTHONPATH": os.fspath(released)}
        return subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True)

    @asynccontextmanager
    async def join(role: str, ours: Limits | None = None, **limits: int) -> AsyncIterator[Other]:
        other = Other()
        options: dict[str, Any] = {"identity": mine, "limits": ours, "services": other.services}
        async with AsyncExitStack() as stack:
            if role == "call":
                listening = chanlink.listen(where, trust=Trust.of(theirs.public_key), **options)
                other.listener = await stack.enter_async_context(listening)
            other.process = start(role, limits)
            stack.callback(stop, other.process)
            if role == "call":
                await until(lambda: other.listener.sessions)
                (other.session,) = other.listener.sessions
            else:
                assert await other.says() == "ready"
                connecting = chanlink.connect(where, peer=theirs.public_key, **options)
                other.session = await stack.enter_async_context(connecting)
            assert await other.says() == "session"
            yield other

    return join


def stop(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


# --- draining -------------------------------------------------------------------------------------


@each_role
async def test_it_is_refused_new_channels_and_served_by_the_open_ones(joined: Joined, role: str) -> None:
    async with joined(role) as other, await other.session.open("ask") as asked:
        once = {"anew": False, "count": 3, "size": 0}
        assert await answer(asked, **once) == [0, 1, 2]
        other.session.drain()
        assert other.session.state == "draining"
        assert await answer(asked, **once) == [0, 1, 2]  # with ends that travel in both directions
        # It had sent a request with an end in it: so it learns the word by that.
        assert await answer(asked, anew=True, count=3, size=0) == "ChannelFailed draining"
        assert await answer(asked, **once) == [0, 1, 2]
        assert await other.does("open-many", count=2) is None  # it is not told: they are refused one by one
        assert await other.does("echo", count=0) is not None  # only the other side is refused
        assert not other.session.closed


@each_role
@pytest.mark.parametrize("closes", ["this side", "it", "both"])
async def test_a_session_that_drained_is_closed_without_waiting(joined: Joined, role: str, closes: str) -> None:
    """For the time after which a side gives up, which is longer than this test is patient."""
    long = 10 * PATIENCE
    async with joined(role, Limits(close=long), close=long) as other:
        other.session.drain()
        async with await other.session.open("close") as requests:
            if closes != "this side":
                await requests.send(0)
                if closes == "it":
                    await other.session.wait_closed()
            if closes != "it":
                await other.session.aclose()
        assert await other.says() == "over: the session was closed"
        assert (await other.session.wait_closed()).args == SessionClosed().args


async def test_a_listener_that_drains_waits_for_what_it_has_begun(joined: Joined) -> None:
    async with joined("call") as other, anyio.create_task_group() as tasks:
        async with await other.session.open("ask") as asked:
            assert await answer(asked, anew=False, count=1, size=0) == [0]
            tasks.start_soon(other.listener.drain, 600)
            await until(lambda: other.session.state == "draining")
            assert await answer(asked, anew=False, count=2, size=0) == [0, 1]
            assert not other.session.closed
        # The channel of its `ask` to our echo is closed by that, and nothing is left.
        assert await other.says() == "over: the session was closed"


# --- closing --------------------------------------------------------------------------------------


@each_role
async def test_what_it_has_accepted_arrives_when_it_closes(joined: Joined, role: str) -> None:
    async with joined(role) as other:
        async with await other.session.open("close") as requests:
            await requests.send(300)
            await other.session.wait_closed()
        await until(lambda: other.taken == list(range(300)))


@each_role
async def test_what_this_side_has_accepted_arrives_when_it_closes(joined: Joined, role: str) -> None:
    async with joined(role) as other:
        async with await other.session.open("take") as messages:
            for number in range(300):
                await messages.send(number)
        await other.session.aclose()
        said = {await other.says() for _ in range(2)}
        assert said == {"took 300", "over: the session was closed"}


# --- limits, and the rest -------------------------------------------------------------------------

SMALL = {"message_size": 1_000, "message_ends": 2, "open_channels": 8}


@each_role
async def test_its_limits_bind_this_side(joined: Joined, role: str) -> None:
    async with joined(role, **SMALL) as other, await other.session.open("take") as messages:
        with pytest.raises(MessageTooLarge):
            await messages.send(bytes(1_001))
        pipes = [chanlink.pipe() for _ in range(3)]
        with pytest.raises(LimitReached, match="message_ends"):
            await messages.send([sender for sender, _ in pipes])
        opened = []
        with pytest.raises(LimitReached, match="open_channels"):
            while True:
                opened.append(await other.session.open("take"))
        assert len(opened) == 7
        for end in (*opened, *(end for pair in pipes for end in pair)):
            end.close()


@each_role
async def test_the_limits_of_this_side_bind_it(joined: Joined, role: str) -> None:
    async with joined(role, Limits(**SMALL)) as other:
        assert await other.does("ask", anew=False, count=0, size=900) == []
        assert await other.does("ask", anew=False, count=0, size=1_000) == "MessageTooLarge"
        assert await other.does("send-ends", count=2) is None
        assert await other.does("send-ends", count=3) == "LimitReached message_ends"
        assert await other.does("open-many", count=20) == "LimitReached open_channels"
        assert not other.session.closed


@each_role
async def test_byte_streams_of_any_length_pass(joined: Joined, role: str) -> None:
    async with joined(role) as other, await other.session.open("length") as bodies:
        for size in (0, 5, 300_000):
            near, far = chanlink.byte_pipe(size)
            async with near:
                await bodies.send(far)
                await near.send(bytes(size))
                await near.send_eof()
                assert await near.receive() == b"%d" % size
