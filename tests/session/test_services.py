"""Services of a session: which one gets a channel, and what is said when one ends."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import anyio
import pytest
import sniffio
from anyio.lowlevel import checkpoint

import chanlink
from chanlink import (
    ChannelFailed,
    ChannelRefused,
    Limits,
    Peer,
    Receiver,
    service,
    streams,
)
from chanlink.session.services import check_services
from tests.channels.pairs import assert_is_interrupted, session_pair, settle
from tests.echo import ask, echo
from tests.patience import PATIENCE, until

pytestmark = pytest.mark.anyio


async def test_a_service_answers_through_reply_channels() -> None:
    async with session_pair(services={"echo": echo}) as (client, _server):
        assert [await ask(client, n) for n in range(3)] == [0, 1, 2]


async def test_services_that_do_not_exist_or_are_not_allowed_look_the_same() -> None:
    async with session_pair(services={"echo": echo}, allows=lambda name: name != "echo") as (client, _server):
        for service in ("echo", "no such"):
            reason = await (await client.open(service)).wait_closed()
            assert isinstance(reason, ChannelRefused)
            text = f"there is no service '{service}' here that this key may use"
            assert (reason.code, reason.reason) == ("no-such-service", text)


async def test_the_wrong_kind_is_refused_both_ways() -> None:
    async with session_pair(services={"echo": echo, "bytes": streams(_nothing)}) as (client, _server):
        reason = await (await client.open("bytes")).wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "wrong-kind"
        stream = await client.open_stream("echo")
        reason = await stream.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "wrong-kind"


async def test_a_service_of_which_more_is_said_is_served_as_any_other() -> None:
    services = {"echo": service(echo), "early": service(echo, early=True), "bytes": service(streams(_nothing))}
    async with session_pair(services=services) as (client, _server):
        assert await ask(client, 1) == 1
        reason = await (await client.open("bytes")).wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "wrong-kind"
        with pytest.raises(chanlink.EndOfChannel):
            await (await client.open_stream("bytes")).receive()


async def _nothing(end: Any, peer: Peer) -> None:
    pass


async def test_a_service_that_returns_has_its_end_closed() -> None:
    async with session_pair(services={"a": _nothing, "b": streams(_nothing)}) as (client, server):
        reason = await (await client.open("a")).wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "done"
        stream = await client.open_stream("b")
        with pytest.raises(chanlink.EndOfChannel):
            await stream.receive()
        stream.close()
        await settle()
        assert client.statistics().channels == server.statistics().channels == 0


async def test_a_service_that_raises_is_logged_and_tells_the_peer_no_internals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(end: Any, peer: Peer) -> None:
        raise LookupError("a secret")

    async with session_pair(services={"a": fail, "b": streams(fail), "echo": echo}) as (client, _server):
        reason = await (await client.open("a")).wait_closed()
        assert isinstance(reason, ChannelRefused)
        text = "the service {!r} raised an exception; the log over there says which"
        assert (reason.code, reason.reason) == ("handler-failed", text.format("a"))
        with pytest.raises(ChannelFailed) as caught:
            await (await client.open_stream("b")).receive()
        assert (caught.value.code, caught.value.text) == ("handler-failed", text.format("b"))
        assert await ask(client, "others go on") == "others go on"
    assert caplog.text.count("LookupError: a secret") == 2


@pytest.mark.parametrize("in_a_group", [False, True])
async def test_what_a_peer_can_make_a_service_raise_is_logged_without_a_traceback(
    in_a_group: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chanlink.session")

    async def answer(requests: Receiver[Any], peer: Peer) -> None:
        async with anyio.create_task_group() if in_a_group else nullcontext():
            async for request in requests:
                async with request["reply"] as reply:
                    await reply.send("too late")

    async with session_pair(services={"a": answer}) as (client, _server):
        gives_up = await client.open("a")
        reply, replies = chanlink.pipe()
        replies.close()
        await gives_up.send({"reply": reply})
        assert (await gives_up.wait_closed()).code == "handler-failed"  # type: ignore[union-attr]
        fails = await client.open("a")
        fails.fail("timeout-error")
        await settle()
        await client.open("a")
    await settle()
    said = [record.getMessage() for record in caplog.records if "the service" in record.getMessage()]
    assert len(said) == 3, said
    assert not [record for record in caplog.records if record.exc_info or record.levelno > logging.INFO]


EXITS: dict[str, Callable[[], object]] = {
    "sys.exit": lambda: sys.exit(3),
    "arguments that don't fit": lambda: argparse.ArgumentParser().parse_args(["--nonsense"]),
    "in a group": lambda: raise_(BaseExceptionGroup("", [SystemExit(3), ValueError()])),
}


def raise_(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("leave", EXITS.values(), ids=EXITS)
@pytest.mark.parametrize("child", [False, True], ids=["", "in a task of its own"])
async def test_a_service_that_leaves_the_program_ends_itself_only(
    leave: Callable[[], object], child: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve(requests: Receiver[Any], peer: Peer) -> None:
        await requests.receive()
        if not child or sniffio.current_async_library() == "asyncio":  # whose event loop ends when a task does this
            leave()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_task)
            await anyio.sleep_forever()

    async def in_task() -> None:
        leave()

    async with session_pair(services={"leave": serve, "echo": echo}) as (client, _server):
        sender = await client.open("leave")
        await sender.send(1)
        reason = await sender.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "handler-failed"
        assert await ask(client, "others go on") == "others go on"
    assert "SystemExit" in caplog.text


def test_an_interruption_in_a_service_ends_the_program(anyio_backend: tuple[str, dict[str, object]]) -> None:
    async def interrupt(requests: Receiver[Any], peer: Peer) -> None:
        raise KeyboardInterrupt

    async def program() -> None:
        async with session_pair(services={"interrupt": interrupt}) as (client, _server):
            await client.open("interrupt")
            await anyio.sleep_forever()

    assert_is_interrupted(program, anyio_backend)


async def test_ends_of_a_service_that_raises_are_abandoned_though_a_log_keeps_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(requests: Any, peer: Peer) -> None:
        async for request in requests:
            await request["reply"].send(request["say"].upper())

    async with session_pair(services={"fail": fail}) as (client, _server):
        requests: chanlink.Sender[Any] = await client.open("fail")
        reply, replies = chanlink.pipe()
        await requests.send({"say": 5, "reply": reply})
        with anyio.fail_after(PATIENCE), pytest.raises(ChannelFailed) as caught:
            await replies.receive()
        assert caught.value.code == "abandoned"
    assert any(record.exc_info for record in caplog.records)


async def test_services_that_still_work_after_their_channels_are_over_are_bounded() -> None:
    async def slow(requests: Receiver[Any], peer: Peer) -> None:
        async for _ in requests:
            pass
        await anyio.sleep_forever()

    async with session_pair(Limits(open_channels=3, close=0.1), services={"slow": slow}) as (client, _server):
        for _ in range(3):
            (await client.open("slow")).close()
            await settle()
        reason = await (await client.open("slow")).wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "busy"


async def test_a_cancellation_that_a_service_leaks_is_its_failure_and_nobody_elses() -> None:
    async def leak(requests: Receiver[Any], peer: Peer) -> None:
        await requests.receive()
        if sniffio.current_async_library() == "asyncio":
            task = asyncio.ensure_future(asyncio.sleep(10))
            task.cancel()
            await task
        raise LookupError

    async with session_pair(services={"leak": leak, "echo": echo}) as (client, _server):
        sender = await client.open("leak")
        await sender.send(1)
        reason = await sender.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "handler-failed"
        assert await ask(client, "others go on") == "others go on"


async def test_two_hundred_channels_at_once() -> None:
    async with session_pair(services={"echo": echo}) as (client, server):
        answers: list[int] = []

        async def one(n: int) -> None:
            answers.append(await ask(client, n))

        async with anyio.create_task_group() as tasks:
            for n in range(200):
                tasks.start_soon(one, n)
        assert sorted(answers) == list(range(200))
        await settle()
        assert client.statistics().channels == server.statistics().channels == 0


async def test_a_service_that_does_not_notice_the_end_is_cancelled_after_a_while() -> None:
    cancelled = False

    async def stubborn(end: Any, peer: Peer) -> None:
        nonlocal cancelled
        try:
            await anyio.sleep_forever()
        finally:
            cancelled = True

    async with session_pair(Limits(close=0.1), services={"stubborn": stubborn}) as (client, _server):
        await client.open("stubborn")
        await settle()
    assert cancelled


# --- what a failed service held -------------------------------------------------------------------------


async def test_what_functions_held_that_a_failed_service_had_called_is_let_go_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also by the errors that led to its own."""

    async def answer(request: Any) -> None:
        try:
            await request["reply"].send(request["say"].upper())
        except AttributeError as exc:
            raise LookupError("no answer") from exc

    async def fail(requests: Any, peer: Peer) -> None:
        async for request in requests:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(answer, request)
            del request

    async with session_pair(services={"fail": fail}) as (client, _server):
        requests: chanlink.Sender[Any] = await client.open("fail")
        reply, replies = chanlink.pipe()
        await requests.send({"say": 5, "reply": reply})
        with anyio.fail_after(PATIENCE), pytest.raises(ChannelFailed) as caught:
            await replies.receive()
        assert caught.value.code == "abandoned"
    assert any(record.exc_info for record in caplog.records)


async def test_a_task_that_caught_the_same_error_before_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """The error of a service has gone through others, which wait for something else now."""
    kept: list[Exception] = []
    caught, go_on = anyio.Event(), anyio.Event()
    results: list[str] = []

    def look_up(what: str) -> None:
        raise LookupError(what)

    async def others() -> None:
        held = "held"
        while True:
            try:
                await checkpoint()
                look_up(held)
            except LookupError as exc:
                kept.append(exc)
                caught.set()
            await go_on.wait()
            results.append(held)
            return

    async def fail(requests: Any, peer: Peer) -> None:
        await caught.wait()
        raise kept[0]

    async with session_pair(services={"fail": fail}) as (client, _server), anyio.create_task_group() as tasks:
        tasks.start_soon(others)
        reason = await (await client.open("fail")).wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == "handler-failed"
        await settle()
        go_on.set()
        with anyio.fail_after(PATIENCE):
            await until(lambda: results)
    assert results == ["held"]
    assert any(record.exc_info for record in caplog.records)


# --- what services are ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "services", [None, {}, {"echo": echo}, {"echo": streams(echo)}], ids=["none", "empty", "channels", "byte streams"]
)
def test_services_are_functions_by_name(services: Any) -> None:
    check_services(services)


@pytest.mark.parametrize(
    "services",
    [[echo], echo, "echo", {"echo": 5}, {5: echo}, {"echo": None}],
    ids=["a list", "a function", "a name", "a number", "a number as a name", "nothing"],
)
def test_what_are_no_services_is_a_type_error(services: Any) -> None:
    with pytest.raises(TypeError, match=r"^services"):
        check_services(services)


async def alone(end: Any) -> None: ...
async def with_a_third(end: Any, peer: Peer, more: int) -> None: ...
async def by_name(end: Any, *, peer: Peer) -> None: ...


@pytest.mark.parametrize("function", [alone, with_a_third, by_name, partial(_nothing, 1, 2)])
@pytest.mark.parametrize("mark", [streams, lambda function: function], ids=["byte streams", "channels"])
async def test_one_that_can_not_be_called_with_an_end_and_a_peer_is_a_type_error_before_anybody_calls(
    function: Any, mark: Callable[[Any], Any]
) -> None:
    services, me = {"echo": mark(function)}, chanlink.Identity.generate()
    with pytest.raises(TypeError, match=r"^services: 'echo' must take two arguments, its channel and the peer: "):
        await chanlink.serve(services, "tcp://127.0.0.1:0", identity=me, trust=chanlink.Trust.nobody())
    with pytest.raises(TypeError, match="'echo' must take two arguments"):
        async with chanlink.connect("tcp://127.0.0.1:1", services=services, identity=me, peer=me.public_key):
            pytest.fail("there is no server")


async def with_a_default(end: Any, peer: Peer, more: int = 3) -> None: ...
async def with_any(*arguments: Any) -> None: ...


class AnObject:
    async def __call__(self, end: Any, peer: Peer) -> None: ...


@pytest.mark.parametrize("function", [with_a_default, with_any, partial(with_a_third, more=1), AnObject(), print])
def test_one_that_can_is_a_service_whatever_else_it_takes(function: Any) -> None:
    check_services({"echo": function, "bytes": streams(function)})


async def test_a_service_has_its_session_to_call_back(caplog: pytest.LogCaptureFixture) -> None:
    async def call_back(end: Any, peer: Peer) -> None:
        async def from_a_task_of_its_own() -> None:
            async with await chanlink.current_session().open("news") as news:
                await news.send("from the service")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(from_a_task_of_its_own)

    async with session_pair(services={"a": call_back}) as (client, server):
        async with await client.open("a"):
            incoming = await client.accept()
            assert incoming.service == "news"
            assert await incoming.end.receive() == "from the service"
            incoming.end.close()
        with pytest.raises(LookupError, match="in services only"):
            chanlink.current_session()
        assert server is not client


async def test_each_service_has_the_session_that_it_serves() -> None:
    found = []

    async def note(end: Any, peer: Peer) -> None:
        found.append(chanlink.current_session())

    async with session_pair(services={"a": note}) as (one, first), session_pair(services={"a": note}) as (two, second):
        for client in (one, two, one):
            await (await client.open("a")).wait_closed()
    assert found == [first, second, first]
