"""Calls: results, the three outcomes, and that nothing of a call stays when its caller has left."""

import gc
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import (
    CallError,
    CallFailed,
    CallLost,
    CallRefused,
    ChannelClosed,
    ChannelRefused,
    EncodeError,
    Limits,
    MessageTooLarge,
    Peer,
    Receiver,
    SessionLost,
    byte_pipe,
    pipe,
)
from chanlink.calls.client import Client, Exchange, SenderWay, Way
from chanlink.calls.method import Method
from chanlink.testing import session_pair
from chanlink.testing.sessions import PEER
from tests.channels.pairs import settle
from tests.patience import PATIENCE, until

from .calculators import CALC, WAYS, OneCalculator, OutOfStock, client, in_memory, serving

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]
by_a_relay_too = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


# --- results ----------------------------------------------------------------------------------------


@by_a_relay_too
async def test_a_call_has_a_result(way: Any) -> None:
    async with way(OneCalculator()) as calc:
        assert await calc.add(1, 2) == 3
        assert await calc.add(a=1) == 2


@by_a_relay_too
async def test_calls_run_side_by_side(way: Any) -> None:
    turns: list[Any] = []
    all_there = anyio.Event()

    async def meet(value: Any) -> Any:
        turns.append(value)
        if len(turns) == 10:
            all_there.set()
        await all_there.wait()
        return value

    async with way(OneCalculator(meet=meet)) as calc:
        results: list[Any] = []

        async def call(number: int) -> None:
            results.append(await calc.do("meet", number))

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(call, number)
        assert sorted(results) == list(range(10))


@by_a_relay_too
async def test_a_stream_gives_its_items_and_ends(way: Any) -> None:
    calculator = OneCalculator()
    async with way(calculator) as calc:
        numbers = calc.count(1_000)
        assert [number async for number in numbers] == list(range(1_000))
        with pytest.raises(StopAsyncIteration):
            await anext(numbers)
        await until(lambda: calculator.ended == 1)


@by_a_relay_too
async def test_leaving_a_stream_stops_the_generator_there(way: Any) -> None:
    calculator = OneCalculator()
    async with way(calculator) as calc:
        async with aclosing(calc.count(1_000_000)) as numbers:
            assert await anext(numbers) == 0
            assert calculator.ended == 0
        await until(lambda: calculator.ended == 1)
        assert await calc.add(1) == 2


@by_a_relay_too
async def test_a_stream_that_nobody_asks_is_never_begun(way: Any) -> None:
    calculator = OneCalculator()
    async with way(calculator) as calc:
        await calc.count(3).aclose()
        assert await calc.add(1) == 2
        assert calculator.began == 0


@by_a_relay_too
async def test_ends_are_arguments_and_results(way: Any) -> None:
    async with way(OneCalculator()) as calc:
        ours, theirs = byte_pipe()
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                async with ours:
                    await ours.send(b"abc" * 1_000)
                    await ours.send_eof()

            tasks.start_soon(write)
            assert await calc.store("name", body=theirs) == 3_000
        to, numbers = pipe(item_type=int)
        back = await calc.numbers(to)
        assert [number async for number in numbers] == [0, 1, 2]
        assert [number async for number in back] == [0, -1, -2]


async def test_a_client_has_the_methods_and_says_what_it_is() -> None:
    async with in_memory(OneCalculator()) as calc:
        assert repr(calc) == "<client of Calculator>"
        with pytest.raises(AttributeError):
            calc.deeds  # noqa: B018
        with pytest.raises(TypeError, match="add"):
            await calc.add(1, 2, 3)
        with pytest.raises(TypeError, match="count"):
            calc.count()


async def test_a_client_is_made_of_a_session_and_a_service_or_of_a_sender() -> None:
    sender, receiver = pipe()
    for target, service in ((receiver, None), (sender, "calc"), (None, "calc")):
        with pytest.raises(TypeError, match="client"):
            client(target, service)
    async with session_pair() as (near, _far):
        with pytest.raises(TypeError, match="client"):
            client(near)
    sender.close()
    receiver.close()


async def test_all_clients_of_a_session_share_one_channel_for_each_service() -> None:
    async with session_pair(services={"a": serving(OneCalculator()), "b": serving(OneCalculator())}) as (near, far):
        for _ in range(3):
            assert await client(near, "a").add(1) == 2
        await settle()
        assert near.statistics().channels == 1
        assert await client(near, "b").add(1) == 2
        await settle()
        assert near.statistics().channels == far.statistics().channels == 2


# --- refused ----------------------------------------------------------------------------------------


async def test_what_nobody_takes_is_refused_with_the_code_of_the_channel() -> None:
    async def leave(receiver: Receiver[Any], peer: Peer) -> None:
        pass

    async def fail(receiver: Receiver[Any], peer: Peer) -> None:
        raise LookupError("a secret")

    services = {"leave": leave, "fail": fail, "bytes": chanlink.streams(leave)}
    async with session_pair(services=services) as (near, _far):
        codes = {"missing": "no-such-service", "bytes": "wrong-kind", "leave": "done", "fail": "handler-failed"}
        for service, code in codes.items():
            for _ in range(2):
                with pytest.raises(CallRefused) as caught:
                    await client(near, service).add(1)
                assert caught.value.code == code


async def test_a_request_to_a_receiver_that_closes_is_refused() -> None:
    sender, receiver = pipe()
    async with anyio.create_task_group() as tasks:

        async def close() -> None:
            await until(lambda: receiver.statistics().queued == 1)
            receiver.refuse("gone-home", "at five")

        tasks.start_soon(close)
        with pytest.raises(CallRefused) as caught:
            await client(sender).add(1)
        assert (caught.value.code, caught.value.text) == ("gone-home", "at five")
    with pytest.raises(CallRefused) as caught:
        await client(sender).add(1)
    assert caught.value.code == "gone-home"
    sender.close()


async def test_on_a_session_that_is_over_a_call_never_begins() -> None:
    async with session_pair(services={"calc": serving(OneCalculator())}) as (near, _far):
        calc = client(near, "calc")
        assert await calc.add(1) == 2
        near.abort()
        await near.wait_closed()
        with pytest.raises(CallRefused) as caught:
            await calc.add(1)
        assert caught.value.code == "session-lost"


async def test_after_a_refusal_the_next_call_has_a_channel_of_its_own() -> None:
    taken = 0

    async def once(receiver: Receiver[Any], peer: Peer) -> None:
        nonlocal taken
        taken += 1
        if taken > 1:
            await serving(OneCalculator())(receiver, peer)

    async with session_pair(services={"calc": once}) as (near, _far):
        calc = client(near, "calc")
        with pytest.raises(CallRefused):
            await calc.add(1)
        assert await calc.add(1) == 2
        assert await calc.add(2) == 3
        assert taken == 2


# --- failed -----------------------------------------------------------------------------------------


@by_a_relay_too
async def test_what_was_agreed_upon_arrives_as_itself_and_all_else_without_words(
    way: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def out_of_stock(value: Any) -> None:
        raise OutOfStock("no apples", 7)

    async def secret(value: Any) -> None:
        raise LookupError("a secret")

    async with way(OneCalculator(out_of_stock=out_of_stock, secret=secret)) as calc:
        with pytest.raises(OutOfStock) as caught:
            await calc.do("out_of_stock")
        assert (caught.value.code, caught.value.text, caught.value.detail) == ("out-of-stock", "no apples", 7)
        with pytest.raises(CallFailed) as other:
            await calc.do("secret")
        assert (type(other.value), other.value.code, other.value.text) == (CallFailed, "handler-failed", "")
        assert await calc.add(1) == 2
    assert caplog.text.count("LookupError: a secret") == 1
    assert "no apples" not in caplog.text


@by_a_relay_too
async def test_a_stream_that_fails_gives_its_items_first(way: Any) -> None:
    async def some() -> AsyncIterator[int]:
        yield 1
        raise OutOfStock("no more", 2)

    async with way(OneCalculator(some=some)) as calc:
        items = calc.items("some")
        assert await anext(items) == 1
        with pytest.raises(OutOfStock):
            await anext(items)
        with pytest.raises(StopAsyncIteration):
            await anext(items)


# --- lost -------------------------------------------------------------------------------------------


async def test_a_call_that_has_begun_is_lost_with_its_session() -> None:
    calculator = OneCalculator()
    async with session_pair(services={"calc": serving(calculator)}) as (near, far):
        calc = client(near, "calc")
        async with anyio.create_task_group() as tasks:

            async def cut() -> None:
                await until(lambda: calculator.began == 1)
                far.abort()

            tasks.start_soon(cut)
            with pytest.raises(CallLost) as caught:
                await calc.wait()
            assert isinstance(caught.value.cause, SessionLost)
        await until(lambda: calculator.ended == 1)


async def test_a_request_that_was_taken_by_who_serves_no_calls_is_lost() -> None:
    async def take(receiver: Receiver[Any], peer: Peer) -> None:
        message = await receiver.receive()
        message["reply"].close()

    async with session_pair(services={"calc": take}) as (near, _far):
        with pytest.raises(CallLost):
            await client(near, "calc").add(1)


@by_a_relay_too
async def test_a_service_that_stops_has_its_own_count_of_what_it_took(way: Any) -> None:
    """One that took a request and forgot it: that call is lost, those behind it never began."""

    async def take_one(receiver: Receiver[Any], peer: Peer) -> None:
        message = await receiver.receive()
        while receiver.statistics().queued == 0:
            await settle()
        message["reply"].fail("forgotten")
        receiver.refuse("tired")

    came_to: list[CallError] = []

    async def call(calc: Any) -> None:
        with pytest.raises(CallError) as caught:
            await calc.add(1)
        came_to.append(caught.value)

    async with way(OneCalculator(), service=take_one) as calc, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(call, calc)
    lost = [error for error in came_to if isinstance(error, CallLost)]
    refused = [error.code for error in came_to if isinstance(error, CallRefused)]
    assert (len(lost), refused) == (1, ["tired"] * 2)


REPLIES: list[Any] = [1, None, [], {}, {"result?": 1}, {"failed": 1}, {"refused": "a", "text": 1}, {"done": None}]


@pytest.mark.parametrize("reply", REPLIES, ids=str)
async def test_a_reply_that_is_none_makes_the_call_lost_and_its_ends_are_refused(reply: Any) -> None:
    sender, receiver = pipe()
    _ours, theirs = pipe()
    if type(reply) is dict:
        reply |= {"end": theirs}
    async with anyio.create_task_group() as tasks:

        async def answer() -> None:
            request = await receiver.receive()
            async with request["reply"] as to:
                await to.send(reply)

        tasks.start_soon(answer)
        with pytest.raises(CallLost):
            await client(sender).add(1)
    if type(reply) is dict:
        assert isinstance(await _ours.wait_closed(), ChannelRefused)
    theirs.close()
    sender.close()
    receiver.close()


MORE: list[tuple[dict[str, Any], type[CallError]]] = [
    ({"refused": "busy"}, CallRefused),
    ({"refused": "busy", "more": None}, CallRefused),
    ({"failed": "never-heard-of"}, CallFailed),
    ({"failed": "never-heard-of", "more": None}, CallFailed),
    ({"failed": "out-of-stock", "detail": 7, "more": None}, OutOfStock),
]


@pytest.mark.parametrize(("reply", "error"), MORE, ids=str)
async def test_ends_for_which_a_reply_has_no_place_are_refused_whatever_it_says(
    reply: dict[str, Any], error: type[CallError]
) -> None:
    ours, theirs = pipe()
    key = "more" if "more" in reply else "detail"

    async def answer(requests: Receiver[Any], peer: Peer) -> None:
        async with (await requests.receive())["reply"] as to:
            await to.send(reply | {key: [theirs]})

    async with session_pair(services={"calc": answer}) as (near, _far):
        with pytest.raises(error) as caught:
            await client(near, "calc").add(1)
        with anyio.fail_after(PATIENCE):  # while the error, and all that its traceback holds, is kept
            assert isinstance(await ours.wait_closed(), ChannelRefused)
        assert caught.value.__traceback__ is not None


# --- of the request ---------------------------------------------------------------------------------


async def test_what_is_wrong_with_a_request_is_raised_as_it_is_and_nothing_has_left() -> None:
    async with session_pair(Limits(message_size=4_096), services={"calc": serving(OneCalculator())}) as (near, far):
        calc = client(near, "calc")
        _ours, end = pipe()
        with pytest.raises(EncodeError):
            await calc.do("x", [end, object()])
        with pytest.raises(MessageTooLarge):
            await calc.do("x", [end, bytes(5_000)])
        assert not end.is_void
        assert await calc.add(1) == 2
        await settle()
        assert near.statistics().channels == far.statistics().channels == 1
        end.close()


# --- leaving ----------------------------------------------------------------------------------------


@by_a_relay_too
async def test_leaving_a_call_cancels_it_there(way: Any) -> None:
    calculator = OneCalculator()
    async with way(calculator) as calc:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calc.wait)
            await until(lambda: calculator.began == 1)
            assert calculator.ended == 0
            tasks.cancel_scope.cancel()
        await until(lambda: calculator.ended == 1)
        assert await calc.add(1) == 2


@by_a_relay_too
async def test_a_stream_that_is_forgotten_is_stopped_there(way: Any) -> None:
    calculator = OneCalculator()
    async with way(calculator) as calc:
        numbers = calc.count(1_000_000)
        assert await anext(numbers) == 0
        del numbers
        gc.collect()
        with anyio.fail_after(PATIENCE):
            while not calculator.ended:
                await calc.add(1)  # somebody has to wait where the end is found


async def test_a_result_under_way_is_dropped_and_its_ends_are_refused() -> None:
    sender, receiver = pipe()
    ours, theirs = pipe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client(sender).do, "end")
        reply = (await receiver.receive())["reply"]
        await settle()
        tasks.cancel_scope.cancel()
        reply.send_nowait({"result": theirs})  # before the caller had its turn
    reason = await ours.wait_closed()
    assert isinstance(reason, ChannelRefused)
    assert reason.code == "not-taken"
    reply.close()
    sender.close()
    receiver.close()


async def test_a_stream_that_is_closed_while_another_task_reads_it_says_so_there() -> None:
    async def forever() -> AsyncIterator[int]:
        await anyio.sleep_forever()
        yield 1

    async with in_memory(OneCalculator(never=forever)) as calc:
        items = calc.items("never")
        never = anyio.Event()
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                with pytest.raises(ChannelClosed):
                    await anext(items)
                never.set()

            tasks.start_soon(read)
            await settle()
            assert not never.is_set()
            await items.aclose()


# --- again ------------------------------------------------------------------------------------------


class AgainWay(Way):
    """Goes from one sender to the next, as long as calls may be made again."""

    def __init__(self, *senders: Any) -> None:
        self.senders = list(senders)
        self.asked: list[str] = []

    async def requests(self) -> Any:
        return self.senders[0]

    async def calls_again(self, method: Method, error: CallError, requests: Any) -> bool:
        assert requests is self.senders[0]
        self.asked.append(method.name)
        del self.senders[0]
        return True


@asynccontextmanager
async def refusing_first(calculator: OneCalculator) -> AsyncIterator[tuple[Any, AgainWay]]:
    """A client whose first channel is refused with the first request in it, and whose second one is served."""
    refused, refusing = pipe()
    sender, receiver = pipe()
    way = AgainWay(refused, sender)

    async def refuse() -> None:
        await until(lambda: refusing.statistics().queued)
        refusing.refuse("draining")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serving(calculator), receiver, PEER)
        tasks.start_soon(refuse)
        yield Client("Calculator", CALC.methods, CALC.failures, way), way
        tasks.cancel_scope.cancel()
    refused.close()
    sender.close()


async def test_a_way_may_have_calls_made_again() -> None:
    async with refusing_first(OneCalculator()) as (calc, way):
        assert await calc.add(1) == 2
        assert way.asked == ["add"]
    async with refusing_first(OneCalculator()) as (calc, way):
        assert [number async for number in calc.count(3)] == [0, 1, 2]
        assert way.asked == ["count"]


async def test_a_call_with_ends_is_made_once() -> None:
    async with refusing_first(OneCalculator()) as (calc, way):
        ours, end = pipe()
        with pytest.raises(CallRefused) as caught:
            await calc.wait([{"a": end}])
        assert caught.value.code == "draining"
        assert way.asked == []
        assert isinstance(await ours.wait_closed(), ChannelRefused)


async def test_a_stream_that_has_begun_is_not_begun_again() -> None:
    async def some() -> AsyncIterator[int]:
        yield 1
        raise OutOfStock

    async with refusing_first(OneCalculator(some=some)) as (calc, way):
        way.senders.pop(0).close()
        items = calc.items("some")
        assert await anext(items) == 1
        with pytest.raises(OutOfStock):
            await anext(items)
        assert way.asked == []


async def test_a_call_that_has_failed_is_made_again_if_the_way_says_so() -> None:
    failed: list[Any] = []

    async def fail_once(value: Any) -> int:
        if not failed:
            failed.append(value)
            raise OutOfStock
        return 1

    sender, receiver = pipe()
    way = AgainWay(sender, sender)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serving(OneCalculator(fail_once=fail_once)), receiver, PEER)
        assert await Client("Calculator", CALC.methods, CALC.failures, way).do("fail_once") == 1
        sender.close()


async def test_a_stream_is_an_async_generator() -> None:
    calculator = OneCalculator()
    async with in_memory(calculator) as calc:
        numbers = calc.count(10)
        assert isinstance(numbers, AsyncGenerator)
        assert await numbers.asend(None) == 0
        with pytest.raises(TypeError, match="sent into"):
            await numbers.asend(1)
        with pytest.raises(LookupError):
            await numbers.athrow(LookupError())
        with pytest.raises(StopAsyncIteration):
            await anext(numbers)
        await until(lambda: calculator.ended == 1)


@pytest.mark.parametrize(("taken", "outcome"), [(0, CallRefused), (1, CallLost)])
async def test_a_call_never_began_if_its_channel_was_refused_before_it_though_the_session_ended_first(
    taken: int, outcome: type[CallError]
) -> None:
    """A server that stops refuses what it has not taken; the session may end before the reply says so, too."""
    requests, receiver = pipe()
    exchange = Exchange(CALC.methods["add"], CALC.failures, SenderWay(requests), {"a": 1, "b": 2})
    await exchange._ask()
    for _ in range(taken):
        (await receiver.receive())["reply"].close()
    receiver.refuse("draining")
    error = await exchange._without_words(SessionLost(chanlink.SessionClosed()))
    assert type(error) is outcome
    assert getattr(error, "code", "draining") == "draining"
    exchange.leave()
    requests.close()
