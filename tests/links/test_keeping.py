"""Sessions of a link, one after the other: set up, drained, left."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import (
    ChannelBroken,
    ConfigError,
    Session,
    SessionClosed,
)
from tests.cutting import cutting
from tests.echo import ask
from tests.patience import until

from .servers import WORK, Server, until_state

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


async def test_a_session_that_drains_finishes_its_calls_and_new_ones_go_to_the_next(server: Server) -> None:
    answers: list[int] = []
    async with server.running() as worker, server.link() as link, anyio.create_task_group() as tasks:
        work = link.client(WORK, "work")

        async def call() -> None:
            answers.append(await work.slowly())

        tasks.start_soon(call)
        await worker.begun.wait()
        first = await link.session()
        server.listener.sessions[0].drain()
        assert await work.number() == 1
        assert await link.session() is not first
        assert len(server.listener.sessions) == 2
        assert not first.closed
        assert answers == []
        worker.go.set()
        await until(lambda: answers)
        await server.listener.sessions[0].aclose()
        assert await work.number() == 1


async def test_a_link_that_is_away_takes_calls_and_goes_on_with_the_same_session(server: Server) -> None:
    times = 0

    async def setup(session: Session, tasks: TaskGroup) -> None:
        nonlocal times
        times += 1

    async with server.running() as worker:
        with cutting(server.address) as proxy:
            server.address = proxy.address
            async with server.link(resume=60, setup=setup) as link, anyio.create_task_group() as tasks:
                session = await link.session()
                work = link.client(WORK, "work")
                answers: list[int] = []

                async def call(method: Callable[[], Awaitable[int]]) -> None:
                    answers.append(await method())

                tasks.start_soon(call, work.slowly)  # which is not idempotent
                await worker.begun.wait()
                proxy.go_down()
                assert await until_state(link, "away") in (["away"], ["ready", "away"])
                assert link.problem is None
                tasks.start_soon(call, work.number)
                await anyio.wait_all_tasks_blocked()
                assert await link.session() is session
                worker.go.set()
                assert answers == []
                proxy.go_up()
                await until_state(link, "ready")
                await until(lambda: answers == [1, 1])
                assert await link.session() is session
    assert times == 1


async def test_when_a_session_that_was_away_is_lost_the_next_one_comes(server: Server) -> None:
    async with server.running():
        with cutting(server.address) as proxy:
            server.address = proxy.address
            async with server.link(resume=60) as link:
                session = await link.session()
                proxy.go_down()
                await until_state(link, "away")
                server.listener.sessions[0].abort()
                proxy.go_up()
                await session.wait_closed()
                assert await link.client(WORK, "work").number() == 1
                assert await link.session() is not session


async def test_no_call_is_lost_while_sessions_drain_now_and_then(server: Server) -> None:
    count = 0
    async with server.running(), server.link() as link, anyio.create_task_group() as tasks:
        work = link.client(WORK, "work")

        async def call() -> None:
            nonlocal count
            while count < 200:
                assert await work.number() == 1
                count += 1

        for _ in range(4):
            tasks.start_soon(call)
        for fifty in range(4):
            await until(lambda: count > 50 * fifty)  # noqa: B023
            for session in server.listener.sessions:
                session.drain()
        assert len(server.listener.sessions) >= 3


async def test_each_session_is_set_up_before_anybody_gets_it(server: Server) -> None:
    sessions: list[Session] = []
    ended: list[Session] = []

    async def setup(session: Session, tasks: TaskGroup) -> None:
        sessions.append(session)
        assert await ask(session) == "hello"
        tasks.start_soon(watch, session)

    async def watch(session: Session) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(session)

    async with server.running(), server.link(setup=setup) as link:
        assert [await link.session()] == sessions
        server.listener.sessions[0].abort()
        await until(lambda: sessions[0].closed)
        assert await link.client(WORK, "work").number() == 1
        assert len(sessions) == 2
        assert ended == sessions[:1]
    assert ended == sessions


@pytest.mark.parametrize("where", ["itself", "a task"])
async def test_an_error_of_a_session_in_its_setup_ends_that_session_only(server: Server, where: str) -> None:
    times = 0

    async def fail() -> None:
        raise ChannelBroken

    async def setup(session: Session, tasks: TaskGroup) -> None:
        nonlocal times
        times += 1
        if times > 1:
            return
        if where == "itself":
            await fail()
        tasks.start_soon(fail)

    async with server.running(), server.link(setup=setup) as link:
        await until(lambda: times > 1)
        assert await link.client(WORK, "work").number() == 1


async def test_a_setup_that_waits_for_something_else_is_cancelled_when_its_session_is_lost(server: Server) -> None:
    sessions: list[Session] = []

    async def setup(session: Session, tasks: TaskGroup) -> None:
        sessions.append(session)
        if len(sessions) == 1:
            await anyio.sleep_forever()

    async with server.running(), server.link(setup=setup) as link:
        await until(lambda: sessions)
        server.listener.sessions[0].abort()
        assert await link.client(WORK, "work").number() == 1
        assert len(sessions) == 2


@pytest.mark.parametrize("where", ["itself", "a task"])
@pytest.mark.parametrize("error", [LookupError, ConfigError])
async def test_a_defect_in_a_setup_ends_the_block(server: Server, where: str, error: type[Exception]) -> None:
    async def fail() -> None:
        raise error("mine")

    async def setup(session: Session, tasks: TaskGroup) -> None:
        if where == "itself":
            await fail()
        tasks.start_soon(fail)

    async with server.running():
        with pytest.raises(BaseExceptionGroup) as caught:
            async with server.link(setup=setup):
                await anyio.sleep_forever()
    assert caught.group_contains(error, match="mine")


async def test_leaving_the_block_closes_the_sessions_in_order(server: Server) -> None:
    async with server.running():
        async with server.link() as link:
            await link.session()
            await until(lambda: server.listener.sessions)
            there = server.listener.sessions[0]
        error = await there.wait_closed()
        assert isinstance(error, SessionClosed)
        assert error.code == ""


async def test_at_whatever_moment_the_block_is_left_the_link_is_closed(server: Server) -> None:
    """Also when its task has just connected, or is about to begin."""
    seen = set()
    async with server.running():
        for turns in range(200):
            async with server.link() as link:
                for _ in range(turns):
                    await checkpoint()
                seen.add(link.state)
            assert link.state == "closed"
            with pytest.raises(SessionClosed):
                await link.session()
            if turns > 5 and "ready" in seen and turns % 20 == 0:
                break
    assert seen >= {"connecting", "ready"}


async def test_an_exception_leaves_the_block_as_it_is(server: Server) -> None:
    async with server.running():
        with pytest.raises(LookupError, match="mine"):
            async with server.link() as link:
                await link.session()
                raise LookupError("mine")
        assert link.state == "closed"


async def test_services_are_served_on_each_session(server: Server) -> None:
    async def hello(requests: Any, peer: chanlink.Peer) -> None:
        async for reply in requests:
            await reply.send("from the client")
            reply.close()

    async with server.running(), server.link(services={"hello": hello}) as link:
        for _ in range(2):
            await link.session()
            await until(lambda: server.listener.sessions)
            there = server.listener.sessions[0]
            async with await there.open("hello") as requests:
                reply, replies = chanlink.pipe()
                await requests.send(reply)
                assert await replies.receive() == "from the client"
            there.abort()
            await until_state(link, "waiting", "connecting")
