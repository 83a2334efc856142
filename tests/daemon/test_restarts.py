"""A daemon that is killed and started again, under load: no session is lost, and each can still be ended."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink.daemon.journal import INCOMING, OUTGOING, read_rows
from tests.cutting import CuttingProxy, cutting
from tests.patience import until
from tests.ports import free_port

from .people import open_folder
from .places import US
from .processes import DaemonProcess, stopped

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SESSIONS = 8
"""Of each direction."""
PAUSE = 0.005
"""Seconds from an answer to the next question: the daemon, which is being started, needs the processor more."""


async def echo(requests: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
    async for request in requests:
        async with request["reply"] as reply:
            await reply.send(request["say"])


@pytest.fixture
def proxy() -> Iterator[CuttingProxy]:
    with cutting(f"tcp://127.0.0.1:{free_port()}") as made:
        yield made


@pytest.fixture
def daemon(proxy: CuttingProxy) -> Iterator[DaemonProcess]:
    """One that finds itself behind the proxy."""
    with open_folder() as base:
        made = DaemonProcess(base, "daemon", groups=False, listen=proxy.target)
        made.add("ping", users=[US])
        made.know(here=(proxy.address, made))
        made.folder.trust.write_text(f"{made.folder.users()[US]}\n")
        with stopped(made):
            made.start()
            yield made


class Load:
    """Sessions of programs on this machine with each other, each of which is asked something all the time."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.answers = [0] * SESSIONS
        self.ended: list[chanlink.SessionError] = []

    async def session(self, number: int) -> None:
        local = chanlink.Local("here", service="ping", folder=self.run)
        try:
            async with chanlink.connect(local, resume=60.0) as session, await session.open("ping") as requests:
                while True:
                    sender, receiver = chanlink.pipe()
                    await requests.send({"say": self.answers[number], "reply": sender})
                    async with receiver:
                        assert await receiver.receive() == self.answers[number]
                    self.answers[number] += 1
                    await anyio.sleep(PAUSE)
        except (chanlink.SessionError, chanlink.SessionLost) as exc:
            self.ended.append(exc if isinstance(exc, chanlink.SessionError) else exc.cause)

    async def goes_on(self) -> None:
        """Each session has been answered, and more than once, since this was called."""
        before = list(self.answers)
        await until(lambda: self.ended or all(now > then + 2 for now, then in zip(self.answers, before, strict=True)))
        assert not self.ended


@pytest.fixture
async def load(daemon: DaemonProcess) -> AsyncIterator[Load]:
    made = Load(daemon.run)
    advertised = chanlink.Advertised("ping", folder=daemon.run)
    async with chanlink.listen(advertised, services={"ping": echo}), anyio.create_task_group() as tasks:
        for number in range(SESSIONS):
            tasks.start_soon(made.session, number)
        yield made
        tasks.cancel_scope.cancel()


async def test_a_daemon_that_is_killed_under_load_ends_no_session(daemon: DaemonProcess, load: Load) -> None:
    await load.goes_on()
    ids = {row.id for row in read_rows(daemon.folder.journal)}
    for _ in range(2):
        daemon.kill()
        await load.goes_on()
        await anyio.to_thread.run_sync(daemon.start)
        await load.goes_on()
    assert {row.id for row in read_rows(daemon.folder.journal)} == ids
    ways = [row.way for row in read_rows(daemon.folder.journal)]
    assert (ways.count(OUTGOING), ways.count(INCOMING)) == (SESSIONS, SESSIONS)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_sessions_of_a_daemon_before_are_ended_by_the_one_after_it(daemon: DaemonProcess, load: Load) -> None:
    await load.goes_on()
    daemon.kill()
    await anyio.to_thread.run_sync(daemon.start)
    new = daemon.folder.trust.with_name("new")
    new.write_text("# nobody\n")
    os.replace(new, daemon.folder.trust)
    await until(lambda: len(load.ended) == SESSIONS)
    assert {getattr(one, "code", one) for one in load.ended} == {"revoked"}
    await until(lambda: not read_rows(daemon.folder.journal))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_connections_that_break_are_made_again_by_the_daemon_also_by_another_one(
    daemon: DaemonProcess, proxy: CuttingProxy, load: Load
) -> None:
    await load.goes_on()
    ids = {row.id for row in read_rows(daemon.folder.journal)}
    proxy.cut()
    await load.goes_on()
    daemon.kill()
    proxy.cut()
    await anyio.to_thread.run_sync(daemon.start)
    await load.goes_on()
    assert proxy.cuts == 2
    assert {row.id for row in read_rows(daemon.folder.journal)} == ids


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_daemon_that_is_away_is_found_again_by_who_connects(daemon: DaemonProcess, load: Load) -> None:
    await load.goes_on()
    daemon.kill()
    local = chanlink.Local("here", service="ping", folder=daemon.run)
    async with anyio.create_task_group() as tasks:

        async def connect() -> None:
            while True:
                with suppress(chanlink.SessionClosed):  # busy: the application has not advertised again yet
                    async with chanlink.connect(local, wait=60.0) as session:
                        assert session.peer.key == daemon.key
                        return

        tasks.start_soon(connect)
        await anyio.to_thread.run_sync(daemon.start)
    await load.goes_on()
