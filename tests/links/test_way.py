"""Calls through a link: which of them go on, and which are lost."""

from contextlib import suppress
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import (
    CallLost,
    CallRefused,
    SessionClosed,
    SessionLost,
)
from tests.patience import PATIENCE, until

from .servers import WORK, Server, until_state

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]


async def test_a_call_waits_for_a_server_that_is_not_there_yet(server: Server) -> None:
    async with server.link() as link, anyio.create_task_group() as tasks:
        work = link.client(WORK, "work")
        answers = []

        async def call() -> None:
            with anyio.fail_after(PATIENCE):
                answers.append(await work.number())

        tasks.start_soon(call)
        await until_state(link, "waiting")
        async with server.running():
            await until(lambda: answers)
    assert answers == [1]


async def test_calls_go_on_with_the_next_server(server: Server) -> None:
    async with server.link() as link:
        work = link.client(WORK, "work")
        async with server.running():
            assert await work.number() == 1
            assert link.state == "ready"
            assert link.problem is None
        await until(lambda: link.problem)
        async with server.running():
            assert await work.number() == 2
    assert link.state == "closed"
    with pytest.raises(CallRefused, match="no-session"):
        await work.number()
    with pytest.raises(SessionClosed):
        await link.session()
    assert await until_state(link, "nothing") == ["closed"]


@pytest.mark.parametrize("how", ["cancelled", "an exception"])
@pytest.mark.parametrize("method", ["safely", "slowly", "number"])
async def test_a_server_that_is_stopped_without_draining_is_one_that_is_lost(
    server: Server, method: str, how: str
) -> None:
    """The requests for `number` were not taken: they go on."""
    outcomes: list[Any] = []
    opened = anyio.Event()

    async def busy(requests: Any, peer: chanlink.Peer) -> None:
        opened.set()
        await anyio.sleep_forever()

    async with server.link() as link, anyio.create_task_group() as tasks:
        work = link.client(WORK, "work")

        async def call() -> None:
            try:
                outcomes.append(await getattr(work, method)())
            except CallLost as exc:
                outcomes.append(exc)

        with anyio.CancelScope() as scope, suppress(LookupError):
            services = {"work": busy} if method == "number" else None
            async with server.running(services=services) as worker:
                tasks.start_soon(call)
                await (opened if services else worker.begun).wait()
                if how == "cancelled":
                    scope.cancel()
                    await anyio.sleep_forever()
                raise LookupError
        async with server.running() as worker:
            worker.go.set()
            with anyio.fail_after(PATIENCE):
                await until(lambda: outcomes)
    if method == "slowly":
        assert isinstance(outcomes[0], CallLost)
    else:
        assert outcomes == [2]


@pytest.mark.parametrize("method", ["slowly", "safely"])
async def test_what_was_under_way_is_lost_unless_it_is_idempotent(server: Server, method: str) -> None:
    outcomes: list[Any] = []
    async with server.running() as worker, server.link() as link, anyio.create_task_group() as tasks:
        work = link.client(WORK, "work")

        async def call() -> None:
            with anyio.fail_after(PATIENCE):
                try:
                    outcomes.append(await getattr(work, method)())
                except CallLost as exc:
                    outcomes.append(type(exc.cause))

        tasks.start_soon(call)
        await worker.begun.wait()
        worker.begun = anyio.Event()
        server.listener.sessions[0].abort()
        if method == "safely":
            await worker.begun.wait()
            worker.go.set()
        await until(lambda: outcomes)
        assert await work.number() == 1
    assert outcomes == [1 if method == "safely" else SessionLost]


async def test_a_stream_is_not_begun_again_once_items_have_come(server: Server) -> None:
    async with server.running() as worker, server.link() as link:
        numbers = link.client(WORK, "work").counting()
        assert await anext(numbers) == 1
        await worker.begun.wait()
        server.listener.sessions[0].abort()
        with pytest.raises(CallLost):
            await anext(numbers)
        await numbers.aclose()


async def test_a_call_with_an_end_is_not_made_again(server: Server) -> None:
    """It has left; there is but one of it."""
    async with server.running(), server.link() as link:
        body, there = chanlink.byte_pipe()
        async with body, anyio.create_task_group() as tasks:

            async def call() -> None:
                with pytest.raises(CallLost):
                    await link.client(WORK, "work").length(there)

            tasks.start_soon(call)
            await body.send(b"some")
            await until(lambda: server.listener.sessions)
            await until(lambda: there.is_void)
            server.listener.sessions[0].abort()
