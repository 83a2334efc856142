"""Ends that are forgotten without closing them: the other side is told, once, with a warning."""

import gc
import re
import threading
import warnings
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.abc import ByteReceiveStream

import chanlink
from chanlink import ChannelFailed, ChannelRefused, EncodeError
from chanlink.testing import session_pair
from tests.conformance.routes import Route, memory, one_relay, session
from tests.patience import PATIENCE

from .pairs import settle

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

three_routes = pytest.mark.parametrize("route", [memory, session, one_relay], ids=lambda one: one.__name__)
WORDS = "was forgotten without closing it"


def forget(ends: list[Any], kind: str) -> None:
    """Drop the only reference to one end."""
    [words] = warned_of(ends.pop)
    assert re.fullmatch(rf"a {kind}( of the service '\w+')? {WORDS}", words)


def warned_of(action: Callable[[], object]) -> list[str]:
    """The words of our warnings, and no others: what was lying around is collected before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()

    def act() -> None:
        action()
        gc.collect()

    with pytest.warns(ResourceWarning, match=WORDS) as caught:
        act()
    return [str(one.message) for one in caught if one.category is ResourceWarning]


def in_silence(action: Callable[[], object]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        action()
        gc.collect()


async def failure(receiver: Any) -> ChannelFailed:
    with anyio.fail_after(PATIENCE), pytest.raises(ChannelFailed) as caught:
        await receiver.receive()
    return caught.value


async def refusal(sender: Any) -> ChannelRefused:
    with anyio.fail_after(PATIENCE):
        reason = await sender.wait_closed()
    assert isinstance(reason, ChannelRefused)
    return reason


# --- each kind --------------------------------------------------------------------------------------


@three_routes
@pytest.mark.parametrize("waiting", ["receive", "select", "selector"])
async def test_who_waits_for_a_message_is_told(route: Route, waiting: str) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = chanlink.pipe()
        ends = [await places.carry(sender)]
        sender = None  # type: ignore[assignment]
        places.forget(ends[0])
        errors: list[Any] = []

        async def wait() -> None:
            if waiting == "receive":
                errors.append(await failure(receiver))
            elif waiting == "select":
                errors.append((await chanlink.select(receiver)).error)
            else:
                async with chanlink.Selector() as selector:
                    selector.add(receiver)
                    errors.extend([selected.error async for selected in selector])

        tasks.start_soon(wait)
        await places.settle()
        forget(ends, "Sender")
        with anyio.fail_after(PATIENCE):
            while not errors:
                await settle()
        assert [error.code for error in errors] == ["abandoned"]


@three_routes
@pytest.mark.parametrize("waiting", ["send", "wait_closed", "flush", "select", "closing"])
async def test_who_waits_to_send_is_told(route: Route, waiting: str) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        sender, receiver = chanlink.pipe(1)
        ends = [await places.carry(receiver)]
        receiver = None  # type: ignore[assignment]
        places.forget(ends[0])
        await sender.send("not taken")
        errors: list[Any] = []

        async def wait() -> None:
            if waiting == "wait_closed":
                errors.append(await sender.wait_closed())
            elif waiting == "select":
                errors.append((await chanlink.select(sender.sending("never"))).error)
            elif waiting == "closing":
                errors.append((await chanlink.select(sender.closing())).error)
            else:
                with pytest.raises(ChannelRefused) as caught:
                    await (sender.flush() if waiting == "flush" else sender.send("never"))
                errors.append(caught.value)

        tasks.start_soon(wait)
        await places.settle()
        forget(ends, "Receiver")
        with anyio.fail_after(PATIENCE):
            while not errors:
                await settle()
        assert [error.code for error in errors] == ["abandoned"]


@three_routes
@pytest.mark.parametrize("size", [None, 1_000])
async def test_the_other_end_of_a_byte_stream_is_told_both_ways(route: Route, size: Any) -> None:
    async with route() as places:
        near, far = chanlink.byte_pipe(size)
        ends = [await places.carry(far)]
        far = None  # type: ignore[assignment]
        places.forget(ends[0])
        await near.send(b"some of it")
        await places.settle()
        forget(ends, "ByteStream")
        assert (await failure(near)).code == "abandoned"
        assert (await refusal(near)).code == "abandoned"
        near.close()


async def test_a_sized_byte_stream_that_was_not_sent_in_full_is_abandoned_and_no_end() -> None:
    ends: list[Any] = list(chanlink.byte_pipe(10))
    other = ends.pop()
    await ends[0].send(b"half")
    forget(ends, "ByteStream")
    assert await other.receive() == b"half"
    assert (await failure(other)).code == "abandoned"
    in_silence(other.close)


async def test_a_clone_that_is_forgotten_does_not_stop_the_others() -> None:
    sender, receiver = chanlink.pipe()
    clones: list[Any] = [sender.clone()]
    forget(clones, "Sender")
    await sender.send("still there")
    sender.close()
    assert await receiver.receive() == "still there"
    assert (await failure(receiver)).code == "abandoned"


async def test_messages_before_it_are_received_first() -> None:
    ends: list[Any] = list(reversed(chanlink.pipe()))
    receiver = ends[0]
    for n in range(3):
        ends[1].send_nowait(n)
    forget(ends, "Sender")
    assert [await receiver.receive() for _ in range(3)] == [0, 1, 2]
    assert (await failure(receiver)).code == "abandoned"


# --- before anybody waits, and while ends move ------------------------------------------------------


@pytest.mark.parametrize("kind", ["sender", "receiver", "bytes", "clone"])
async def test_an_end_that_was_forgotten_before_the_other_one_left_is_seen_where_it_went(kind: str) -> None:
    async with session() as places:
        one, other = chanlink.byte_pipe() if kind == "bytes" else chanlink.pipe()
        ends: list[Any] = [one.clone() if kind == "clone" else one if kind != "receiver" else other]  # type: ignore[union-attr]
        stays = one if kind == "receiver" else other
        last = one if kind == "clone" else None
        one = other = None  # type: ignore[assignment]
        forget(ends, {"receiver": "Receiver", "bytes": "ByteStream"}.get(kind, "Sender"))
        there = await places.carry(stays)
        if last is not None:
            last.close()
        if kind != "receiver":
            assert (await failure(there)).code == "abandoned"
        if kind in ("receiver", "bytes"):
            assert (await refusal(there)).code == "abandoned"


async def test_a_sender_that_stays_is_forgotten_after_a_clone_of_it_has_left() -> None:
    async with session() as places:
        sender, receiver = chanlink.pipe()
        (await places.carry(sender.clone())).close()
        ends = [sender]
        sender = None  # type: ignore[assignment]
        await places.settle()
        errors: list[Any] = []

        async def wait() -> None:
            errors.append(await failure(receiver))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await places.settle()
            forget(ends, "Sender")
        assert errors[0].code == "abandoned"


async def test_the_other_side_is_told_where_the_warning_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[Any] = list(reversed(chanlink.pipe()))
    receiver = ends[0]
    raised: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", lambda one: raised.append(one.exc_type))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        ends.pop()
        gc.collect()
    assert raised == [ResourceWarning]
    assert (await failure(receiver)).code == "abandoned"


async def test_who_never_waits_is_told_as_well() -> None:
    ends: list[Any] = list(reversed(chanlink.pipe()))
    receiver = ends[0]
    forget(ends, "Sender")
    with pytest.raises(ChannelFailed, match="abandoned"):
        receiver.receive_nowait()
    ends = list(chanlink.pipe(1))
    sender = ends[0]
    sender.send_nowait("fills it")
    forget(ends, "Receiver")
    with pytest.raises(ChannelRefused, match="abandoned"):
        sender.send_nowait("nobody will take it")


# --- another thread ---------------------------------------------------------------------------------


@three_routes
async def test_the_collector_may_run_in_another_thread_while_the_loop_waits(route: Route) -> None:
    async with route() as places, anyio.create_task_group() as tasks:
        senders = []
        errors: list[Any] = []
        for _ in range(10):
            sender, receiver = chanlink.pipe()
            senders.append(await places.carry(sender))
            places.forget(senders[-1])

            async def wait(receiver: Any = receiver) -> None:
                errors.append(await failure(receiver))

            tasks.start_soon(wait)
        sender = None  # type: ignore[assignment]
        await places.settle()

        def collect() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                senders.clear()
                gc.collect()

        thread = threading.Thread(target=collect)
        thread.start()
        with anyio.fail_after(PATIENCE):
            while len(errors) < 10:
                await anyio.sleep(0.001)  # nothing runs here meanwhile: the thread has to wake the loop
        thread.join()
        assert {error.code for error in errors} == {"abandoned"}


async def test_an_end_may_be_collected_after_the_event_loop_of_those_who_waited_is_over() -> None:
    ends: list[Any] = []

    async def wait() -> None:
        ends.extend(chanlink.pipe())
        with anyio.move_on_after(0.001):
            await ends[1].receive()

    thread = threading.Thread(target=anyio.run, args=(wait,))
    thread.start()
    thread.join()
    receiver = ends.pop()
    forget(ends, "Sender")
    with pytest.raises(ChannelFailed, match="abandoned"):
        receiver.receive_nowait()
    in_silence(receiver.close)


# --- in messages ------------------------------------------------------------------------------------


@three_routes
async def test_ends_in_messages_that_an_abandoned_receiver_did_not_take_are_refused(route: Route) -> None:
    async with route() as places:
        sender, receiver = chanlink.pipe()
        ends: list[Any] = [await places.carry(receiver)]
        receiver = None  # type: ignore[assignment]
        places.forget(ends[0])
        one, other = chanlink.pipe()
        near, far = chanlink.byte_pipe()
        await sender.send({"one": one, "far": far})
        await places.settle()
        forget(ends, "Receiver")
        assert (await refusal(sender)).code == "abandoned"
        assert (await failure(other)).code == "not-taken"
        assert (await refusal(near)).code == "not-taken"


async def test_a_channel_of_which_both_ends_are_forgotten_takes_the_ends_in_its_messages_with_it() -> None:
    ends: list[Any] = list(chanlink.pipe())
    one, other = chanlink.pipe()
    ends[0].send_nowait(one)
    del one
    assert sorted(warned_of(ends.clear)) == [f"a {kind} {WORDS}" for kind in ("Receiver", "Sender")]
    assert (await failure(other)).code == "not-taken"  # it was in a message, and nobody's to forget


class Source(ByteReceiveStream):
    """A foreign stream that notes what is done with it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        self.calls.append("receive")
        raise anyio.EndOfStream

    async def aclose(self) -> None:
        self.calls.append("aclose")


async def test_a_foreign_stream_whose_message_was_not_sent_is_left_alone() -> None:
    async with session_pair() as (client, server):
        sender = await client.open("service", capacity=1)
        receiver = (await server.accept()).end
        source = Source()
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            with pytest.raises(EncodeError):
                await sender.send({"body": source, "bad": object()})
            await sender.send("fills it")
            with pytest.raises(anyio.WouldBlock):
                sender.send_nowait({"body": source})
            with anyio.move_on_after(0.01):
                await sender.send({"body": source})
            gc.collect()
            await settle()
        assert source.calls == []
        assert await receiver.receive() == "fills it"
        await sender.send({"body": source})
        body = (await receiver.receive())["body"]
        with pytest.raises(chanlink.EndOfChannel):
            await body.receive()
        body.close()
        await settle()
        assert source.calls == ["receive", "aclose"]
        sender.close()


# --- in silence -------------------------------------------------------------------------------------


@three_routes
async def test_what_is_over_or_has_moved_is_forgotten_in_silence(route: Route) -> None:
    async with route() as places:
        for case in ("closed", "failed", "moved", "refused", "ended", "lent and closed"):
            sender, receiver = chanlink.pipe()
            near, far = chanlink.byte_pipe()
            if case == "closed":
                for end in (sender, receiver, near, far):
                    end.close()
            elif case == "failed":
                sender.fail("code")
                near.fail("code")
                near.close()
                far.close()
                receiver.close()
            elif case == "moved":
                for end in (sender, receiver, near, far):
                    (await places.carry(end)).close()
            elif case == "refused":
                receiver.close()
                far.close()
                await near.send_eof()
                with pytest.raises(chanlink.EndOfChannel):
                    await near.receive()
            elif case == "ended":
                sender.close()
                await near.send_eof()
                await far.send_eof()
            else:
                sender._lend()
                sender.close()
                receiver.close()
                near.close()
                far.close()
            await places.settle()

            def drop() -> None:
                nonlocal sender, receiver, near, far, end
                sender = receiver = near = far = end = None  # type: ignore[assignment]

            end = None  # type: ignore[assignment]
            in_silence(drop)


async def test_ends_of_a_session_that_is_over_are_forgotten_in_silence() -> None:
    async with session_pair() as (client, server):
        ends: list[Any] = [await client.open("service"), await client.open_stream("service")]
        ends += [(await server.accept()).end for _ in range(2)]
        client.abort()
        await server.wait_closed()
        in_silence(ends.clear)


async def test_an_end_is_settled_once_however_often_it_is_looked_at() -> None:
    ends: list[Any] = list(reversed(chanlink.pipe()))
    receiver = ends[0]
    clone = ends[1].clone()
    forget(ends, "Sender")
    for _ in range(3):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receiver.receive)
            await settle()
            tasks.cancel_scope.cancel()
    assert clone.statistics().senders == 1
    assert clone.statistics().failure.code == "abandoned"
    clone.close()
    assert (await failure(receiver)).code == "abandoned"


async def test_a_forgotten_receiver_drops_the_ends_in_its_queue_though_nobody_waits_there() -> None:
    sender, receiver = chanlink.pipe()
    carrier, carried = chanlink.pipe()
    await carrier.send(receiver)
    del receiver, carried
    with anyio.fail_after(PATIENCE):
        assert (await sender.wait_closed()).args[0] in ("not-taken", "abandoned")
    carrier.close()
