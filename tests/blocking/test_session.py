"""`blocking.connect`: what a script does with a session, from its threads; and wrong use of it."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import ChannelRefused, ConfigError, ConnectFailed, Identity, SessionLost, WrongPeer, blocking

from .conftest import ALICE, SERVER, connected


def ask(session: blocking.Session, value: object) -> Any:
    with session.open("echo") as requests:
        reply, replies = session.pipe()
        requests.send({"value": value, "reply": reply})
        with replies:
            return replies.receive(timeout=60)


def threads() -> int:
    """Those of the module; the event loops have some of their own, for a while."""
    return len([thread for thread in threading.enumerate() if thread.name.startswith("chanlink.blocking")])


def test_a_request_is_answered(session: blocking.Session) -> None:
    assert ask(session, {"some": ["thing", 1]}) == {"some": ["thing", 1]}
    assert session.peer.name == "server"
    assert session.ping() > 0
    assert not session.closed


def test_many_threads_use_one_session(session: blocking.Session) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: ask(session, number), range(100))) == list(range(100))


def test_a_byte_stream_goes_there_and_back(session: blocking.Session) -> None:
    with session.open_stream("upper") as stream:
        stream.send(b"quiet ")
        stream.send(b"words")
        stream.send_eof()
        assert b"".join(stream) == b"QUIET WORDS"


def test_a_refusal_is_the_error_that_it_is(session: blocking.Session) -> None:
    with session.open("nothing") as requests:
        assert isinstance(requests.wait_closed(timeout=60), ChannelRefused)
        with pytest.raises(ChannelRefused, match="no-such-service"):
            requests.send(1)


def test_the_block_leaves_no_thread_and_ends_the_session(server: str, backend: dict[str, Any]) -> None:
    before = threads()
    with connected(server, **backend) as session:
        assert threads() > before
        requests = session.open("echo")
    assert threads() == before
    assert session.closed
    for use in (session.ping, session.pipe, lambda: session.open("echo"), lambda: requests.send(1), requests.close):
        with pytest.raises(RuntimeError, match="left"):
            use()


def test_a_thread_that_waits_when_the_block_is_left_is_told(server: str, backend: dict[str, Any]) -> None:
    with ThreadPoolExecutor() as threads:
        with connected(server, **backend) as session, session.open("echo") as requests:
            reply, replies = session.pipe()
            waiting = threads.submit(replies.receive)
            requests.send({"kept": reply})
            ask(session, "it waits by now")
        with pytest.raises((ChannelRefused, chanlink.ChannelFailed, SessionLost, RuntimeError)):
            waiting.result(60)


def test_an_exception_leaves_the_block_as_it_is(server: str, backend: dict[str, Any]) -> None:
    error = LookupError("mine")

    def leave() -> None:
        with connected(server, **backend):
            raise error

    with pytest.raises(LookupError) as caught:
        leave()
    assert caught.value is error
    assert [entry.name for entry in caught.traceback][-1] == "leave"


@pytest.mark.parametrize("why", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_so_does_one_that_ends_programs(server: str, backend: dict[str, Any], why: type[BaseException]) -> None:
    with pytest.raises(why), connected(server, **backend):
        raise why


def test_what_connect_raises_comes_out(server: str, backend: dict[str, Any]) -> None:
    before = threads()
    other = Identity.generate().public_key
    with pytest.raises(WrongPeer), blocking.connect(server, identity=ALICE, peer=other, **backend):
        pass
    with pytest.raises(ConnectFailed), connected("tcp://127.0.0.1:1", **backend):
        pass
    with pytest.raises(TypeError, match="nonsense"):
        blocking.connect(server, nonsense=1)
    assert threads() == before


def test_an_event_loop_that_there_is_not_is_a_wrong_configuration(server: str) -> None:
    for wrong in ({"backend": "twisted"}, {"backend_options": {"loop_factory": 5}}):
        with pytest.raises(ConfigError, match="did not start"), connected(server, **wrong):
            pass


def test_inside_an_event_loop_it_is_refused(server: str, backend: dict[str, Any]) -> None:
    async def connect() -> None:
        with connected(server):
            pass

    with pytest.raises(RuntimeError, match="stop the event loop"):
        anyio.run(connect, **backend)
    with pytest.raises(RuntimeError, match="stop the event loop"):
        asyncio.run(connect())


def test_a_handler_in_its_own_event_loop_would_wait_for_itself(session: blocking.Session) -> None:
    async def wrong() -> float:
        return session.ping()

    with pytest.raises(RuntimeError, match="wait for itself"):
        session.call(wrong)


def test_services_of_a_client_run_in_its_event_loop(server: str, backend: dict[str, Any]) -> None:
    """The server calls back."""
    where = []

    async def listen(receiver: chanlink.Receiver[Any], peer: chanlink.Peer) -> None:
        where.append(threading.current_thread().name)

    async def serve_once(listener: chanlink.Listener) -> None:
        session = await listener.accept()
        async with await session.open("listen") as sender:
            await sender.wait_closed()

    trust = chanlink.Trust.of(ALICE.public_key)
    with (
        blocking.loop(**backend) as loop,
        loop.enter(chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=trust)) as listener,
        ThreadPoolExecutor() as threads,
    ):
        served = threads.submit(loop.call, serve_once, listener)
        with connected(listener.addresses[0], services={"listen": listen}, **backend):
            served.result(60)
    assert [name.startswith("chanlink.blocking") for name in where] == [True]


def test_what_threads_hold_says_what_it_is(session: blocking.Session) -> None:
    assert repr(session).startswith("<blocking <Session with 'server' at 'tcp://127.0.0.1:")
    with session.open("echo") as requests:
        assert repr(requests) == "<blocking <Sender of the service 'echo': open>>"
    with blocking.loop() as loop:
        assert repr(loop) == "<blocking Loop on asyncio>"
