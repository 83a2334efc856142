"""A listener that drains: nothing new begins, what was begun ends, and every client sees an orderly end."""

import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelRefused, ConnectFailed, Limits, Session, SessionClosed, SessionLost
from tests.patience import PATIENCE, until
from tests.session.endpoints import (
    EVERYBODY,
    SERVER,
    TCP,
    ask,
    assert_empty,
    connect,
    dial,
    greeter_of,
    listen,
    serving,
)

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]


class Works:
    """A service whose work takes until the test says so."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = anyio.Event()

    async def __call__(self, requests: Any, peer: object) -> None:
        async with anyio.create_task_group() as tasks:
            with chanlink.current_session().cancel_when_draining():
                async for reply in requests:
                    tasks.start_soon(self.answer, reply)

    async def answer(self, reply: Any) -> None:
        self.begun += 1
        async with reply:
            await self.go_on.wait()
            await reply.send("done")


async def order(session: Session, outcomes: list[str]) -> None:
    async with await session.open("work") as requests:
        reply, replies = chanlink.pipe()
        async with replies:
            await requests.send(reply)
            outcomes.append(await replies.receive())


async def stops(listener: chanlink.Listener, seconds: float, done: list[bool]) -> None:
    await listener.drain(seconds)
    done.append(True)


async def test_what_was_begun_is_finished_nothing_new_begins_and_the_session_ends_in_order() -> None:
    works, outcomes, done = Works(), list[str](), list[bool]()
    with anyio.fail_after(PATIENCE):
        async with serving(services={"work": works}) as listener, connect(listener.addresses[0]) as session:
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(order, session, outcomes)
                await until(lambda: works.begun == 3)
                tasks.start_soon(stops, listener, 600, done)
                await until(lambda: session.state == "draining")
                with pytest.raises(ChannelRefused, match="draining"):
                    await session.open("work")
                with pytest.raises(ConnectFailed):
                    async with connect(listener.addresses[0]):
                        pass
                assert not done
                works.go_on.set()
            assert outcomes == ["done"] * 3
            assert done
            assert isinstance(cause := await session.wait_closed(), SessionClosed)
            assert cause.code == ""


async def test_all_sessions_are_waited_for_and_those_with_nothing_to_do_cost_nothing() -> None:
    works, outcomes, done = Works(), list[str](), list[bool]()
    with anyio.fail_after(PATIENCE):
        async with serving(services={"work": works}) as listener, AsyncExitStack() as stack:
            where = listener.addresses[0]
            sessions = [await stack.enter_async_context(connect(where)) for _ in range(4)]
            async with anyio.create_task_group() as tasks:
                for session in sessions[1:3]:
                    tasks.start_soon(order, session, outcomes)
                await until(lambda: works.begun == 2)
                tasks.start_soon(stops, listener, 600, done)
                for session in sessions:
                    await until(lambda session=session: session.state == "draining")
                works.go_on.set()
            assert (outcomes, done) == (["done"] * 2, [True])


async def test_one_that_is_not_done_in_time_is_closed_as_ever() -> None:
    async with serving(limits=Limits(close=0.1)) as listener, connect(listener.addresses[0]) as session:
        async with await session.open("ping") as requests:  # which waits for more of it, for ever
            await ask(session)
            with anyio.fail_after(PATIENCE):
                await listener.drain(0.05)
                lost = await requests.wait_closed()
        assert isinstance(lost, SessionLost)
        assert lost.orderly
        assert session.closed


@pytest.mark.parametrize("seconds", [0, 600])
async def test_a_listener_without_sessions_is_closed_at_once(seconds: float) -> None:
    with anyio.fail_after(PATIENCE):
        async with serving() as listener:
            await listener.drain(seconds)
            await listener.drain(seconds)
            with pytest.raises(ConnectFailed):
                async with connect(listener.addresses[0]):
                    pass


async def test_one_that_is_cancelled_takes_nothing_new_and_can_be_closed() -> None:
    works = Works()
    outcomes: list[str] = []
    async with serving(services={"work": works}) as listener, connect(listener.addresses[0]) as session:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(order, session, outcomes)
            await until(lambda: works.begun)
            with anyio.move_on_after(0.05) as scope:
                await listener.drain(600)
            assert scope.cancelled_caught
            await until(lambda: session.state == "draining")
            assert not session.closed
            works.go_on.set()
        assert outcomes == ["done"]
        await listener.aclose()
        assert session.closed


async def test_a_client_in_its_handshake_gets_a_session_that_takes_nothing() -> None:
    works, outcomes, done = Works(), list[str](), list[bool]()
    with anyio.fail_after(PATIENCE):
        async with serving(services={"work": works}) as listener, connect(listener.addresses[0]) as session:
            async with anyio.create_task_group() as tasks, await dial(listener) as slow:
                await until(lambda: greeter_of(listener).admission)
                tasks.start_soon(order, session, outcomes)
                await until(lambda: works.begun)
                tasks.start_soon(stops, listener, 600, done)
                await until(lambda: session.state == "draining")
                async with connect(slow) as late:
                    await until(lambda: late.state == "draining")
                    with pytest.raises(ChannelRefused, match="draining"):
                        await late.open("work")
                    assert not done
                    works.go_on.set()
                    assert isinstance(cause := await late.wait_closed(), SessionClosed)
                    assert cause.code == ""
            assert outcomes == ["done"]


async def test_an_eager_client_in_its_handshake_is_refused_what_it_opens_at_once() -> None:
    works, outcomes, done = Works(), list[str](), list[bool]()
    with anyio.fail_after(PATIENCE):
        async with serving(services={"work": works}) as listener, connect(listener.addresses[0]) as session:
            async with anyio.create_task_group() as tasks, await dial(listener) as slow:
                await until(lambda: greeter_of(listener).admission)
                tasks.start_soon(order, session, outcomes)
                await until(lambda: works.begun)
                tasks.start_soon(stops, listener, 600, done)
                await until(lambda: session.state == "draining")
                async with connect(slow, eager=True) as late:
                    reply, replies = chanlink.pipe()
                    async with replies, await late.open("work") as requests:
                        await requests.send(reply)
                        with pytest.raises(chanlink.ChannelFailed, match="draining"):
                            await replies.receive()
                        assert isinstance(refused := await requests.wait_closed(), ChannelRefused)
                        assert refused.code == "draining"
                    works.go_on.set()
            assert (outcomes, done) == (["done"], [True])
            assert works.begun == 1


# --- sessions that somebody accepts ---------------------------------------------------------------


async def test_the_handlers_of_serve_are_waited_for_and_see_that_nothing_more_comes() -> None:
    ended: list[str] = []
    done: list[bool] = []

    async def handle(session: Session) -> None:
        async for incoming in session:
            async with incoming.end as requests:
                ended.extend([message async for message in requests])
        ended.append("nothing more comes")

    with anyio.fail_after(PATIENCE):
        async with listen() as listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, handle)
            async with connect(listener.addresses[0]) as session:
                async with await session.open("words") as words:
                    await words.send("first")
                    await words.flush()
                    tasks.start_soon(stops, listener, 600, done)
                    await until(lambda: session.state == "draining")
                    await words.send("last")
                    assert not done
                await until(lambda: done)
                assert await session.wait_closed()
    assert ended == ["first", "last", "nothing more comes"]


async def test_a_session_that_was_accepted_is_its_owners_until_it_is_closed() -> None:
    done: list[bool] = []
    with anyio.fail_after(PATIENCE):
        async with listen() as listener, anyio.create_task_group() as tasks:  # noqa: SIM117
            async with connect(listener.addresses[0]), connect(listener.addresses[0]):
                session = await listener.accept()
                await until(lambda: listener._accepted)  # the other one waits, and nobody will accept it
                tasks.start_soon(stops, listener, 600, done)
                await until(lambda: session.state == "draining")
                with pytest.raises(anyio.ClosedResourceError):
                    await listener.accept()
                assert not done
                await session.aclose()
                await until(lambda: done)
    assert_empty(listener)


async def test_who_waits_to_accept_a_session_is_told() -> None:
    async with listen() as listener, anyio.create_task_group() as tasks:

        async def accept() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await listener.accept()

        tasks.start_soon(accept)
        await until(lambda: listener._accepting)
        await listener.drain(600)


# --- serve, and signals ---------------------------------------------------------------------------

PROGRAM = """
import signal, sys
import anyio, chanlink
from functools import partial

async def answer(seconds, reply):
    async with reply:
        print("begun", flush=True)
        await anyio.sleep(seconds)
        await reply.send("done")

async def work(requests, peer):
    async with anyio.create_task_group() as tasks:
        with chanlink.current_session().cancel_when_draining():
            async for request in requests:
                tasks.start_soon(answer, *request)

async def main(address, own, peer):
    options = {"identity": chanlink.Identity.load(own), "trust": chanlink.Trust.of(chanlink.PublicKey.load(peer))}
    async with anyio.create_task_group() as tasks:
        serve = partial(chanlink.serve, {"work": work}, address, **options, signals=(signal.SIGTERM,))
        await tasks.start(serve)
        print("ready", flush=True)
    print("returned", flush=True)

anyio.run(main, *sys.argv[2:], backend=sys.argv[1])
"""


@pytest.mark.parametrize("signals", [1, 2], ids=["one signal", "a second one"])
async def test_a_server_that_is_told_to_stop_finishes_what_was_begun(
    signals: int, tmp_path: Path, anyio_backend_name: str
) -> None:
    """A process of its own, and the signal that a supervisor sends."""
    mine, theirs = chanlink.Identity.generate("client"), chanlink.Identity.generate("server")
    mine.save(tmp_path / "client")
    theirs.save(tmp_path / "server")
    arguments = [f"unix:{tmp_path}/socket", os.fspath(tmp_path / "server"), os.fspath(tmp_path / "client.pub")]
    server = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, anyio_backend_name, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        assert await anyio.to_thread.run_sync(server.stdout.readline) == "ready\n"
        session: Session
        async with chanlink.connect(arguments[0], identity=mine, peer=theirs.public_key) as session:
            reply, replies = chanlink.pipe()
            async with replies, await session.open("work") as requests:
                await requests.send([0.5 if signals == 1 else 600, reply])
                assert await anyio.to_thread.run_sync(server.stdout.readline) == "begun\n"
                for _ in range(signals):
                    server.send_signal(signal.SIGTERM)
                    with anyio.fail_after(PATIENCE):
                        await until(lambda: session.state != "open")
                with anyio.fail_after(PATIENCE):
                    if signals == 1:
                        assert await replies.receive() == "done"
                    else:
                        with pytest.raises(SessionLost) as caught:
                            await replies.receive()
                        assert caught.value.orderly
                    cause = await session.wait_closed()
            assert isinstance(cause, SessionClosed)
            assert cause.code == ""
        output, _ = server.communicate(timeout=PATIENCE)
        assert output == "returned\n"
        assert server.returncode == 0
    finally:
        server.kill()
        server.communicate()


async def test_serve_that_is_cancelled_does_not_drain() -> None:
    works = Works()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:

            async def run(*, task_status: Any) -> None:
                services = {"work": works}
                await chanlink.serve(services, TCP, identity=SERVER, trust=EVERYBODY, task_status=task_status)

            listener = await tasks.start(run)
            async with connect(listener.addresses[0]) as session, await session.open("work") as requests:
                reply, replies = chanlink.pipe()
                await requests.send(reply)
                await until(lambda: works.begun)
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    assert (await session.wait_closed()).code == "cancelled"
                    with pytest.raises(chanlink.ChannelFailed, match="cancelled"):
                        await replies.receive()
                replies.close()
    assert_empty(listener)


async def test_one_signal_in_the_place_of_several_is_told_how_to_write_it() -> None:
    wrong: Any = signal.SIGTERM
    with pytest.raises(
        TypeError, match=r"^signals must be a collection, such as \(signal\.SIGTERM,\), not one signal$"
    ):
        await chanlink.serve({}, "tcp://127.0.0.1:0", trust=chanlink.Trust.of(), signals=wrong)
