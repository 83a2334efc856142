"""The side that serves calls: what it refuses, when a call ends, what its caller learns, and what is bounded.

Whole: the rules of one file, `calls/serving.py`, in the order of a call; they share the calculators that are served.
"""

import asyncio
import contextvars
import dataclasses
import gc
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, nullcontext
from itertools import pairwise
from typing import Any, Protocol

import anyio
import pytest
import sniffio
from anyio.lowlevel import checkpoint

from chanlink import (
    CallError,
    CallFailed,
    CallLost,
    CallRefused,
    ChannelFailed,
    ChannelRefused,
    ConfigError,
    Limits,
    MessageTypeError,
    Peer,
    Receiver,
    Sender,
    SessionLost,
    current_session,
    pipe,
)
from chanlink.calls.context import Call, call_context, current_call
from chanlink.calls.interface import Interface
from chanlink.calls.serving import IDLE, CallService
from chanlink.security.keys.trust import Grant
from chanlink.testing import session_pair
from chanlink.testing.sessions import PEER
from tests.channels.pairs import settle
from tests.patience import PATIENCE, until

from .calculators import CALC, WAYS, OneCalculator, OutOfStock, client, in_memory, over_relay, over_session, serving

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]
by_a_relay_too = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@asynccontextmanager
async def asked_by_hand(way: Any, implementation: object) -> AsyncIterator[Sender[Any]]:
    """A channel for requests that no client has made."""
    async with way(implementation) as calc:
        requests = await calc.add.args[2].requests()
        yield requests


async def ask(requests: Sender[Any], **entries: Any) -> Any:
    """What the reply to a request is."""
    reply_to, reply = pipe()
    await requests.send({"reply": reply_to, **entries})
    with anyio.fail_after(PATIENCE):
        answer = await reply.receive()
    reply.close()
    return answer


# --- what is no call --------------------------------------------------------------------------------

ADD: dict[str, Any] = {"method": "add", "arguments": {"a": 1, "b": 2}}
BAD: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no method": {"arguments": {}},
    "a method that is no name": ADD | {"method": 1},
    "no arguments": {"method": "add"},
    "seconds that are no number": ADD | {"seconds": "1"},
    "seconds that are a bool": ADD | {"seconds": True},
    "seconds that are not one": ADD | {"seconds": float("nan")},
    "a context that is no map": ADD | {"context": [1]},
    "a context of other things": ADD | {"context": {"a": 1}},
    "a context with other keys": ADD | {"context": {1: "a"}},
    "a context that is too long": ADD | {"context": {"a": "x" * 4_096}},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    **{name: (entries, "bad-request") for name, entries in BAD.items()},
    "another method": (ADD | {"method": "subtract"}, "no-such-method"),
    "a method of the object only": (ADD | {"method": "may_go_on"}, "no-such-method"),
    "a method of Python": (ADD | {"method": "__init__"}, "no-such-method"),
    "arguments in a list": (ADD | {"arguments": [1, 2]}, "bad-arguments"),
    "an argument too many": (ADD | {"arguments": {"a": 1, "c": 2}}, "bad-arguments"),
    "an argument too few": (ADD | {"arguments": {"b": 2}}, "bad-arguments"),
    "no time left": (ADD | {"seconds": 0}, "late"),
    "less than none": (ADD | {"seconds": -1.5}, "late"),
}


@by_a_relay_too
@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_call_is_refused_and_its_ends_too_and_others_go_on(way: Any, name: str) -> None:
    entries, code = REFUSED[name]
    async with asked_by_hand(way, OneCalculator()) as requests:
        ours, end = pipe()
        answer = await ask(requests, **{**entries, "end": end})
        assert answer["refused"] == code
        assert isinstance(await ours.wait_closed(), ChannelRefused)
        assert await ask(requests, **ADD) == {"result": 3}


@pytest.mark.parametrize("message", [1, None, [], {}, ADD, ADD | {"reply": 1}, ADD | {"reply": [1]}], ids=str)
async def test_what_has_no_reply_is_ignored_and_its_ends_are_refused(message: Any) -> None:
    async with asked_by_hand(over_session, OneCalculator()) as requests:
        ours, end = pipe()
        await requests.send({**message, "end": end} if type(message) is dict else [message, end])
        assert isinstance(await ours.wait_closed(), ChannelRefused)
        ours, end = pipe()
        await requests.send(ADD | {"reply": end})  # of the wrong kind
        assert isinstance(await ours.wait_closed(), ChannelRefused)
        assert await ask(requests, **ADD) == {"result": 3}


async def test_entries_that_nobody_knows_are_ignored_and_their_ends_refused() -> None:
    async with asked_by_hand(over_session, OneCalculator()) as requests:
        ours, end = pipe()
        assert await ask(requests, **ADD, more=[{"end": end}]) == {"result": 3}
        assert isinstance(await ours.wait_closed(), ChannelRefused)


# --- ends -------------------------------------------------------------------------------------------


@by_a_relay_too
@pytest.mark.parametrize("code", ["out-of-stock", "handler-failed"])
async def test_ends_of_a_call_that_failed_are_refused(way: Any, code: str) -> None:
    async def fail(end: Any) -> None:
        raise OutOfStock if code == "out-of-stock" else LookupError

    async with way(OneCalculator(fail=fail)) as calc:
        ours, end = pipe()
        with pytest.raises(CallFailed):
            await calc.do("fail", [{"end": end}])
        reason = await ours.wait_closed()
        assert isinstance(reason, ChannelRefused)
        assert reason.code == code


@by_a_relay_too
async def test_ends_of_a_call_that_was_left_are_refused(way: Any) -> None:
    calculator = OneCalculator()
    async with way(calculator) as calc:
        ours, end = pipe()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calc.wait, end)
            await until(lambda: calculator.began)
            tasks.cancel_scope.cancel()
        refusal = await ours.wait_closed()
        assert isinstance(refusal, ChannelRefused)
        assert refusal.code == "cancelled"


class Keeps(Protocol):
    def items(self, end: Any) -> AsyncGenerator[int, None]: ...


class Keeper:
    def __init__(self) -> None:
        self.kept: list[Any] = []

    async def items(self, end: Any) -> AsyncGenerator[int, None]:
        self.kept.append(end)
        while True:
            yield 1


async def test_ends_of_a_stream_that_was_left_are_refused_wherever_it_stood() -> None:
    keeper = Keeper()
    keeps: Interface[Any] = Interface(Keeps)
    async with session_pair(services={"keeper": keeps.serving(keeper)}) as (near, _far):
        for turns in range(20):
            ours, end = pipe()
            async with aclosing(keeps.client(near, "keeper").items(end)) as items:
                for _ in range(turns + 1):
                    await anext(items)
            with anyio.fail_after(PATIENCE):
                refusal = await ours.wait_closed()
            assert isinstance(refusal, ChannelRefused)
            assert refusal.code == "cancelled"


@by_a_relay_too
async def test_what_a_method_keeps_of_its_arguments_stays(way: Any) -> None:
    kept: list[Sender[int]] = []

    async def keep(sender: Any) -> None:
        kept.append(sender)

    async with way(OneCalculator(keep=keep)) as calc:
        sender, receiver = pipe()
        await calc.do("keep", sender)
        await calc.add(1)
        await kept[0].send(3)
        assert await receiver.receive() == 3
        kept[0].close()


@by_a_relay_too
@pytest.mark.parametrize("made", ["result", "item"])
async def test_a_result_that_cant_be_sent_is_a_failure_and_its_ends_are_refused(
    way: Any, made: str, caplog: pytest.LogCaptureFixture
) -> None:
    ours: list[Any] = []

    def bad() -> Any:
        sender, receiver = pipe()
        ours.append(sender)
        return [receiver, receiver]  # the same end twice

    async def result(value: Any) -> Any:
        return bad()

    async def item() -> AsyncIterator[Any]:
        yield bad()

    async with way(OneCalculator(result=result, item=item)) as calc:
        with pytest.raises(CallFailed) as caught:
            await (calc.do("result") if made == "result" else anext(calc.items("item")))
        assert caught.value.code == "handler-failed"
        assert isinstance(await ours[0].wait_closed(), ChannelRefused)
        assert await calc.add(1) == 2
    assert "twice" in caplog.text


async def test_a_result_that_is_too_large_for_the_caller_is_a_failure_and_logged_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def large(size: Any) -> bytes:
        return bytes(size)

    services = {"calc": serving(OneCalculator(large=large))}
    async with session_pair(Limits(message_size=4_096), Limits(), services=services) as (near, _far):
        calc = client(near, "calc")
        assert await calc.do("large", 4_000) == bytes(4_000)
        with pytest.raises(CallFailed) as caught:
            await calc.do("large", 5_000)
        assert caught.value.code == "handler-failed"
    assert "MessageTooLarge" in caplog.text


@pytest.mark.parametrize("method", ["add", "x", [1], None], ids=str)
async def test_a_caller_that_takes_no_reply_at_all_harms_no_other_call(
    method: Any, caplog: pytest.LogCaptureFixture
) -> None:
    services = {"calc": serving(OneCalculator())}
    async with session_pair(Limits(message_size=5), Limits(), services=services) as (near, _far):
        requests = await client(near, "calc").add.args[2].requests()
        for _ in range(2):  # the channel goes on
            with pytest.raises(ChannelFailed) as caught:
                await ask(requests, method=method, arguments={"a": 1})
            assert caught.value.code == "handler-failed"
    assert "MessageTooLarge" in caplog.text


@dataclasses.dataclass
class Ratio:
    over: int
    under: int

    def __post_init__(self) -> None:
        self.value = self.over / self.under


class Divides(Protocol):
    async def value(self, ratio: Ratio) -> float: ...


class Divider:
    async def value(self, ratio: Ratio) -> float:
        return ratio.value


async def test_a_class_that_cant_be_made_of_what_the_caller_sends_fails_that_call_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with session_pair(services={"divider": Interface(Divides).serving(Divider())}) as (near, _far):
        requests = await near.open("divider")
        ours, end = pipe()
        arguments = {"ratio": {"over": 1, "under": 0}}
        assert await ask(requests, method="value", arguments=arguments, end=end) == {"failed": "handler-failed"}
        assert isinstance(await ours.wait_closed(), ChannelRefused)
        arguments = {"ratio": {"over": 1, "under": 2}}
        assert await ask(requests, method="value", arguments=arguments) == {"result": 0.5}
        requests.close()
    assert "ZeroDivisionError" in caplog.text


async def test_a_result_whose_caller_has_left_is_dropped_with_its_ends() -> None:
    ours: list[Any] = []
    began, go_on = anyio.Event(), anyio.Event()

    async def slow(value: Any) -> Any:
        began.set()
        with anyio.CancelScope(shield=True):
            await go_on.wait()
        sender, receiver = pipe()
        ours.append(sender)
        return receiver

    async with over_session(OneCalculator(slow=slow)) as calc:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calc.do, "slow")
            await began.wait()
            tasks.cancel_scope.cancel()
        await calc.add(1)  # the refusal of the reply has arrived before this
        go_on.set()
        await until(lambda: ours)
        assert isinstance(await ours[0].wait_closed(), ChannelRefused)


# --- deadlines --------------------------------------------------------------------------------------


@by_a_relay_too
async def test_what_is_left_of_the_callers_time_bounds_the_method_and_shrinks_from_hop_to_hop(way: Any) -> None:
    seconds: list[float] = []

    async def left(value: Any) -> None:
        assert current_call().deadline == anyio.current_effective_deadline()
        seconds.append(current_call().deadline - anyio.current_time())

    async def hop(value: Any) -> None:
        await left(None)
        await anyio.sleep(0.05)
        await inner.do("left")

    async with in_memory(OneCalculator(left=left)) as inner, way(OneCalculator(hop=hop)) as calc:
        with anyio.fail_after(10 * PATIENCE):
            await anyio.sleep(0.05)
            await calc.do("hop")
        first, second = seconds
        assert second + 0.03 <= first <= 10 * PATIENCE - 0.03
        await calc.do("hop")
        assert seconds[2:] == [float("inf")] * 2


async def test_a_deadline_that_fires_there_first_is_told_and_bounds_a_stream_too() -> None:
    calculator = OneCalculator()
    async with asked_by_hand(over_session, calculator) as requests:
        assert await ask(requests, method="wait", arguments={}, seconds=0.01) == {"failed": "deadline"}
        assert (calculator.began, calculator.ended) == (1, 1)
        reply_to, reply = pipe(1)
        await requests.send({"method": "count", "arguments": {"to": 10**9}, "reply": reply_to, "seconds": 0.05})
        last = [message async for message in reply][-1]
        assert last == {"failed": "deadline"}
        assert (calculator.began, calculator.ended) == (2, 2)


@pytest.mark.parametrize("answer", [{"failed": "deadline"}, {"refused": "late"}], ids=["deadline", "late"])
async def test_a_deadline_that_fires_there_a_moment_too_early_is_the_callers_own(answer: Any) -> None:
    sender, receiver = pipe()
    async with anyio.create_task_group() as tasks:

        async def reply() -> None:
            async with (await receiver.receive())["reply"] as to:
                await to.send(answer)

        tasks.start_soon(reply)
        with anyio.move_on_after(0.3) as scope:
            await client(sender).add(1)
        assert scope.cancelled_caught
    sender.close()
    receiver.close()


@by_a_relay_too
async def test_longest_bounds_calls_without_a_deadline_and_no_streams(way: Any) -> None:
    async def slow(value: Any) -> str:
        await anyio.sleep(0.2)
        return "done"

    async def items() -> AsyncIterator[float]:
        yield current_call().deadline

    async with way(OneCalculator(slow=slow, items=items), longest=0.02) as calc:
        with pytest.raises(CallFailed) as caught:
            await calc.do("slow")
        assert caught.value.code == "deadline"
        with anyio.fail_after(PATIENCE):
            assert await calc.do("slow") == "done"
        assert await anext(calc.items("items")) == float("inf")


# --- cancellation -----------------------------------------------------------------------------------


async def test_a_call_that_was_left_before_it_began_never_begins() -> None:
    calculator = OneCalculator()
    async with over_session(calculator, calls=1) as calc:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calc.wait)
            await until(lambda: calculator.began == 1)
            async with anyio.create_task_group() as more:
                for _ in range(10):
                    more.start_soon(calc.wait)
                await settle()
                more.cancel_scope.cancel()
            tasks.cancel_scope.cancel()
        assert await calc.add(1) == 2  # behind all of them
        assert (calculator.began, calculator.ended) == (1, 1)


async def test_a_method_that_cancels_itself_has_failed_and_others_go_on() -> None:
    async def cancel(value: Any) -> None:
        if sniffio.current_async_library() != "asyncio":
            with anyio.CancelScope() as scope:
                scope.cancel()
                try:
                    await anyio.sleep(0)
                except BaseException as exc:
                    leaked = exc
            raise leaked
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await anyio.sleep(0)

    async with in_memory(OneCalculator(cancel=cancel)) as calc:
        for _ in range(3):
            with pytest.raises(CallFailed) as caught:
                await calc.do("cancel")
            assert caught.value.code == "cancelled"
            assert await calc.add(1) == 2


async def test_a_cancellation_that_a_method_leaves_behind_ends_no_other_call() -> None:
    async def cancel_later(value: Any) -> int:
        if sniffio.current_async_library() == "asyncio":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        return 1

    async with in_memory(OneCalculator(cancel_later=cancel_later)) as calc:
        for _ in range(200):
            assert await calc.do("cancel_later") == 1
            assert await calc.add(1) == 2


@by_a_relay_too
async def test_what_finishes_goes_on_when_its_caller_leaves(way: Any) -> None:
    calculator = OneCalculator()
    async with way(calculator) as calc:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calc.finish, "a")
            await until(lambda: calculator.began == 1)
            tasks.cancel_scope.cancel()
        await settle()
        assert calculator.ended == 0
        calculator.may_go_on.set()
        await until(lambda: calculator.ended == 1)
        assert await calc.finish("b") == "b"


async def test_the_block_of_the_session_waits_for_what_finishes() -> None:
    calculator = OneCalculator()
    async with anyio.create_task_group() as tasks:
        async with session_pair(services={"calc": serving(calculator)}) as (near, far):

            async def call() -> None:
                with pytest.raises(CallLost):
                    await client(near, "calc").finish("a")

            async def go_on() -> None:
                await far.wait_closed()
                await settle()
                assert calculator.ended == 0
                calculator.may_go_on.set()

            tasks.start_soon(call)
            await until(lambda: calculator.began == 1)
            tasks.start_soon(go_on)
        assert calculator.ended == 1


async def test_what_finishes_has_its_time() -> None:
    methods = {name: dataclasses.replace(method, longest=0.02) for name, method in CALC.methods.items()}
    service = CallService(methods, CALC.failures, lambda: nullcontext(OneCalculator()))
    async with session_pair(services={"calc": service}) as (near, _far):
        with pytest.raises(CallFailed) as caught:
            await client(near, "calc").finish("a")
        assert caught.value.code == "deadline"


# --- revoking ---------------------------------------------------------------------------------------


async def test_what_is_revoked_is_refused_if_it_never_began_and_lost_if_it_may_have() -> None:
    calculator = OneCalculator()
    async with session_pair(services={"calc": serving(calculator, calls=1)}) as (near, far):
        calc = client(near, "calc")
        came_to: dict[str, Any] = {}

        async def call(name: str) -> None:
            with pytest.raises(CallError) as caught:
                await calc.wait()
            came_to[name] = caught.value

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, "begun")
            await until(lambda: calculator.began == 1)
            tasks.start_soon(call, "waiting")
            await settle()
            far._regrant(Grant("somebody", frozenset()))
        assert isinstance(came_to["begun"], CallLost)
        refused = came_to["waiting"]
        assert isinstance(refused, CallRefused)
        assert refused.code == "revoked"
        await until(lambda: calculator.ended == 1)
        with pytest.raises(CallRefused) as caught:
            await calc.add(1)
        assert caught.value.code == "no-such-service"


# --- draining ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [over_session, over_relay], ids=["session", "relay"])  # by_a_relay_too
async def test_a_draining_service_refuses_further_calls_and_goes_on_with_those_that_have_begun(way: Any) -> None:
    async def drain(value: Any) -> None:
        current_session().drain()

    calculator = OneCalculator(drain=drain)
    async with way(calculator) as calc:
        results: list[Any] = []

        async def call() -> None:
            results.append(await calc.finish("a"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: calculator.began == 1)
            await calc.do("drain")
            for _ in range(3):
                with pytest.raises(CallRefused) as caught:
                    await calc.add(1)
                assert caught.value.code == "draining"
            calculator.may_go_on.set()
        assert results == ["a"]


async def test_a_draining_service_ends_after_its_last_call() -> None:
    calculator = OneCalculator()
    left = anyio.Event()

    async def service(requests: Receiver[Any], peer: Peer) -> None:
        await serving(calculator)(requests, peer)
        left.set()

    async with session_pair(services={"calc": service}) as (near, far), anyio.create_task_group() as tasks:
        tasks.start_soon(client(near, "calc").finish, "a")
        await until(lambda: calculator.began == 1)
        far.drain()
        await settle()
        assert not left.is_set()
        calculator.may_go_on.set()
        with anyio.fail_after(PATIENCE):
            await left.wait()


async def test_requests_that_cross_with_the_draining_are_refused_or_carried_out_and_never_lost() -> None:
    came_to: list[str] = []

    async def call(calc: Any) -> None:
        try:
            assert await calc.add(1) == 2
        except CallRefused as exc:
            came_to.append(exc.code)
        else:
            came_to.append("result")

    for turns in range(20):
        async with session_pair(services={"calc": serving(OneCalculator(), calls=2)}) as (near, far):
            calc = client(near, "calc")

            async with anyio.create_task_group() as tasks:
                for _ in range(15):
                    tasks.start_soon(call, calc)
                for _ in range(turns):
                    await checkpoint()
                far.drain()
                for _ in range(15):
                    tasks.start_soon(call, calc)
    assert len(came_to) == 20 * 30
    assert set(came_to) == {"result", "draining"}


# --- bounds -----------------------------------------------------------------------------------------


@by_a_relay_too
async def test_no_more_calls_run_than_allowed_and_the_rest_waits_in_the_channel(way: Any) -> None:
    running = most = 0

    async def work(value: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0.001)
        running -= 1

    async with way(OneCalculator(work=work), calls=3) as calc:
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(calc.do, "work")
        assert most == 3


async def test_after_many_calls_at_once_few_tasks_wait_for_more() -> None:
    all_there = anyio.Event()
    came = 0

    async def meet(value: Any) -> None:
        nonlocal came
        came += 1
        if came == 100:
            all_there.set()
        await all_there.wait()

    async with in_memory(OneCalculator(meet=meet)) as calc:
        await calc.add(1)
        before = len(anyio.get_running_tasks())
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(calc.do, "meet")
        await until(lambda: len(anyio.get_running_tasks()) <= before + IDLE)
        assert await calc.add(1) == 2


async def test_callers_wait_when_the_service_takes_no_more() -> None:
    calculator = OneCalculator()
    async with session_pair(services={"calc": serving(calculator, calls=1)}) as (near, far):
        calc = client(near, "calc")
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(calc.wait, bytes(1_000))
            await settle()
            # What the window holds, and not all of it.
            assert far.statistics().channels < 60
            tasks.cancel_scope.cancel()
        assert await calc.add(1) == 2


# --- one implementation for each channel ------------------------------------------------------------


async def test_an_implementation_for_each_channel_is_left_after_its_last_call() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def made() -> AsyncIterator[OneCalculator]:
        log.append("entered")
        async with anyio.create_task_group() as tasks:

            async def later(value: Any) -> None:
                tasks.start_soon(outlive)

            async def outlive() -> None:
                try:
                    await anyio.sleep_forever()
                finally:
                    log.append("outlived")

            yield OneCalculator(later=later)
            log.append("left")
            tasks.cancel_scope.cancel()

    service = CALC.serving(made)
    async with session_pair(services={"calc": service}) as (near, _far):
        calc = client(near, "calc")
        await calc.do("later")
        assert await calc.add(1) == 2
        other = client(await near.open("calc"))
        assert await other.add(1) == 2
        assert log == ["entered", "entered"]
        near._shared("calc").close()
        await until(lambda: "outlived" in log)
        assert log == ["entered", "entered", "left", "outlived"]


# --- what a call knows ------------------------------------------------------------------------------


@by_a_relay_too
async def test_a_method_knows_its_call(way: Any) -> None:
    calls: list[Call] = []

    async def know(value: Any) -> None:
        async with anyio.create_task_group() as tasks:

            async def look() -> None:
                calls.append(current_call())

            tasks.start_soon(look)

    async with way(OneCalculator(know=know)) as calc:
        with call_context({"trace": "1", "span": "2"}), call_context({"span": "3"}):
            await calc.do("know")
        await calc.do("know")
        assert [call.method for call in calls] == ["do", "do"]
        assert [call.context for call in calls] == [{"trace": "1", "span": "3"}, {}]
        assert calls[0].peer == PEER
        assert calls[0].deadline == float("inf")
    with pytest.raises(LookupError):
        current_call()


async def test_a_service_in_a_method_has_calls_of_its_own() -> None:
    async def inner(value: Any) -> None:
        async with in_memory(OneCalculator(name=name)) as calc:
            assert await calc.do("name") == "do"
        assert current_call().context == {"a": "b"}

    async def name(value: Any) -> str:
        assert current_call().context == {}
        return current_call().method

    async with in_memory(OneCalculator(inner=inner)) as calc:
        with call_context({"a": "b"}):
            await calc.do("inner")


VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("of a test", default=0)


@by_a_relay_too
@pytest.mark.parametrize("calls", [1, 10])
async def test_no_call_sees_what_another_one_has_put_into_its_context(way: Any, calls: int) -> None:
    async def add(value: Any) -> int:
        before = VARIABLE.get()
        VARIABLE.set(before + 1)
        return before

    async with way(OneCalculator(add=add), calls=calls) as calc:
        assert [await calc.do("add") for _ in range(10)] == [0] * 10


# --- logs -------------------------------------------------------------------------------------------


async def test_what_a_caller_can_make_a_method_raise_is_logged_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "chanlink.calls")

    async def raise_(error: Any) -> None:
        raise errors[error]

    errors = {
        "lost": SessionLost(ValueError()),
        "failed": ChannelFailed("abandoned"),
        "refused": CallRefused("busy"),
        "type": MessageTypeError("no"),
        "group": ExceptionGroup("", [ChannelRefused("closed")]),
    }
    async with in_memory(OneCalculator(raise_=raise_)) as calc:
        for error in errors:
            with pytest.raises(CallFailed) as caught:
                await calc.do("raise_", error)
            assert caught.value.code == "handler-failed"
    assert len(caplog.records) == len(errors)
    assert not [record for record in caplog.records if record.exc_info or record.levelno > logging.INFO]


async def test_a_failure_that_is_logged_keeps_no_ends(caplog: pytest.LogCaptureFixture) -> None:
    async def hold(value: Any) -> None:
        _mine = mine.pop()
        raise LookupError

    async with in_memory(OneCalculator(hold=hold)) as calc:
        sender, receiver = pipe()
        mine = [sender]
        del sender
        with pytest.raises(CallFailed):
            await calc.do("hold")
        assert caplog.records
        gc.collect()
        with pytest.raises(ChannelFailed) as caught:
            await receiver.receive()
        assert caught.value.code == "abandoned"


async def test_sys_exit_in_a_method_is_its_failure() -> None:
    async def leave(value: Any) -> None:
        raise SystemExit(3) if value else BaseExceptionGroup("", [SystemExit(3), ValueError()])

    async with over_session(OneCalculator(leave=leave)) as calc:
        for value in (True, False):
            with pytest.raises(CallFailed):
                await calc.do("leave", value)
        assert await calc.add(1) == 2


async def test_what_is_configured_is_checked() -> None:
    for options in ({"calls": 0}, {"longest": 0}, {"longest": -1.0}):
        with pytest.raises(ConfigError):
            serving(OneCalculator(), **options)


# --- turns -------------------------------------------------------------------------------------------


MANY = 1_000


async def test_others_have_their_turn_while_many_calls_are_carried_out() -> None:
    begun = 0

    class Counts(OneCalculator):
        async def add(self, a: int, b: int = 0) -> int:
            nonlocal begun
            begun += 1
            return a + b

    sender, receiver = pipe(MANY)
    replies = []
    for _ in range(MANY):
        reply_to, reply = pipe()
        sender.send_nowait({"reply": reply_to, **ADD})
        replies.append(reply)
    seen = [0]
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serving(Counts()), receiver, PEER)
            while begun < MANY:
                await checkpoint()
                seen.append(begun)
            tasks.cancel_scope.cancel()
    # Each of the tasks that serve has a turn of a few calls; trio may begin the next round before the last was seen.
    assert max(after - before for before, after in pairwise(seen)) < MANY / 4
    assert [reply.receive_nowait()["result"] for reply in replies] == [3] * MANY
    for end in (sender, *replies):
        end.close()
