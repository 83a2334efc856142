"""Channels and byte streams that each break one promise, by the name of that promise."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from chanlink import (
    ByteStream,
    ChannelFailed,
    ChannelRefused,
    EndOfChannel,
    Receiver,
    Sender,
    pipe,
)
from chanlink.testing import check_channel
from chanlink.testing.promises import Promises


class Proxy:
    """An end of which a method is replaced, one that is given the end itself first; all else is passed on."""

    def __init__(self, inner: Any, **replaced: Callable[..., Any]) -> None:
        self.inner = inner
        self.count = 0
        self.seen: list[Any] = []
        for name, function in replaced.items():
            setattr(self, name, self._bound(function))

    def _bound(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: function(self, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def __aenter__(self) -> "Proxy":
        return self

    async def __aexit__(self, *exc: Any) -> Any:
        leave = self.__dict__.get("leave")
        return await (leave(*exc) if leave else self.inner.__aexit__(*exc))

    def __aiter__(self) -> "Proxy":
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except EndOfChannel:
            raise StopAsyncIteration from None


def ends_in(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [end for item in value for end in ends_in(item)]
    return [value] if isinstance(value, Sender | Receiver | ByteStream) else []


# --- receivers --------------------------------------------------------------------------------------


async def lose_the_seventh(end: Proxy) -> Any:
    end.count += 1
    if end.count == 7:
        await end.inner.receive()
    return await end.inner.receive()


async def swap_two(end: Proxy) -> Any:
    end.count += 1
    if end.count == 7:
        end.seen.append(await end.inner.receive())
    elif end.count == 8:
        return end.seen.pop()
    return await end.inner.receive()


async def floats_for_ints(end: Proxy) -> Any:
    item = await end.inner.receive()
    return float(item) if type(item) is int else item


async def cut_what_is_large(end: Proxy) -> Any:
    item = await end.inner.receive()
    return item[:-1] if len(item) > 100_000 else item


async def end_early(end: Proxy) -> Any:
    end.count += 1
    if end.count == 5:
        raise EndOfChannel
    return await end.inner.receive()


async def an_end_for_a_failure(end: Proxy, *args: Any) -> Any:
    try:
        return await end.inner.receive(*args)
    except ChannelFailed:
        raise EndOfChannel from None


async def the_last_reason(end: Proxy) -> Any:
    try:
        return await end.inner.receive()
    except ChannelFailed:
        raise ChannelFailed("second") from None


async def tell_only_one(end: Proxy, *args: Any) -> Any:
    try:
        return await end.inner.receive(*args)
    except anyio.EndOfStream:
        end.count += 1
        if end.count > 1:
            await anyio.sleep_forever()
        raise


async def look_away_after_taking(end: Proxy, *args: Any) -> Any:
    item = await end.inner.receive(*args)
    await checkpoint()
    return item


async def double_some(end: Proxy) -> Any:
    end.count += 1
    if end.count % 7 == 0 and end.seen:
        return end.seen.pop()
    end.seen.append(await end.inner.receive())
    return end.seen[-1]


async def more_than_asked(end: Proxy, limit: int = 1_000) -> Any:
    return await end.inner.receive_many(limit + 1)


def nothing_for_would_block(end: Proxy) -> Any:
    try:
        return end.inner.receive_nowait()
    except anyio.WouldBlock:
        return None


async def close_the_ends_in_it(end: Proxy) -> Any:
    item = await end.inner.receive()
    for one in ends_in(item):
        one.close()
    return item


async def remember_the_ends_in_it(end: Proxy) -> Any:
    item = await end.inner.receive()
    end.seen += ends_in(item)
    return item


def close_what_came_through(end: Proxy, reason: str = "") -> None:
    end.inner.close(reason)
    for one in end.seen:
        one.close()


def hold_what_nobody_took(end: Proxy, reason: str = "") -> None:
    with suppress(anyio.WouldBlock, anyio.ClosedResourceError):
        while True:
            end.seen.append(end.inner.receive_nowait())
    end.inner.close(reason)


def refuse_without_a_reason(end: Proxy, reason: str = "") -> None:
    end.inner.close()


# --- senders ----------------------------------------------------------------------------------------


async def just_close(end: Proxy, *exc: Any) -> None:
    end.inner.close()


def complain_the_second_time(end: Proxy) -> None:
    end.count += 1
    assert end.count < 2
    end.inner.close()


async def never(end: Proxy, *args: Any) -> Any:
    await anyio.sleep_forever()


async def at_once(end: Proxy) -> None:
    await checkpoint()


async def return_early(end: Proxy, item: Any) -> None:
    """Of a rendezvous with many messages."""
    end.seen.append(item)
    if len(end.seen) == 3:
        for one in end.seen:
            await end.inner.send(one)


def swallow(end: Proxy, item: Any) -> None:
    with suppress(anyio.WouldBlock):
        end.inner.send_nowait(item)


async def break_when_cancelled(end: Proxy, item: Any) -> None:
    try:
        await end.inner.send(item)
    except anyio.get_cancelled_exc_class():
        end.inner.fail("cancelled")
        raise


async def close_ends_when_cancelled(end: Proxy, item: Any) -> None:
    try:
        await end.inner.send(item)
    except anyio.get_cancelled_exc_class():
        for one in ends_in(item):
            one.close()
        raise


async def send_something_else(end: Proxy, item: Any) -> None:
    await end.inner.send(["something else"])


async def lose_what_waits(end: Proxy, item: Any) -> None:
    for one in ends_in(item):
        one.receive_nowait()
    await end.inner.send(item)


async def send_fresh_ends(end: Proxy, item: Any) -> None:
    sender, receiver = pipe()
    end.seen += [*pipe(), sender, receiver]
    await end.inner.send([end.seen[1], sender])


async def drop_the_second(end: Proxy, item: Any) -> None:
    with suppress(TypeError, KeyError):
        item = [item["args"][0], None]
        for one in ends_in(item):
            one.close()
    await end.inner.send(item)


# --- byte streams -----------------------------------------------------------------------------------


async def lose_a_byte(end: Proxy, *args: Any) -> bytes:
    data = await end.inner.receive(*args)
    return data[:-1] if len(data) > 1_000 else data  # type: ignore[no-any-return]


async def close_both_ways(end: Proxy) -> None:
    await end.inner.aclose()


async def fail_instead(end: Proxy) -> None:
    if not end.inner.is_void:
        end.inner.fail("broken")
    await end.inner.aclose()


async def all_there_is(end: Proxy, max_bytes: int = 65_536) -> bytes:
    return await end.inner.receive()  # type: ignore[no-any-return]


async def say_all_first(end: Proxy, *args: Any) -> bytes:
    while not end.count:
        await checkpoint()
    return await end.inner.receive(*args)  # type: ignore[no-any-return]


async def note_the_end(end: Proxy) -> None:
    end.count = 1
    await end.inner.send_eof()


async def swallow_bytes(end: Proxy, item: bytes) -> None:
    await checkpoint()
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        end.inner._put_nowait(item)


async def forget(end: Proxy, item: bytes) -> None:
    await checkpoint()


async def wait_when_refused(end: Proxy, item: bytes) -> None:
    try:
        await end.inner.send(item)
    except ChannelRefused:
        await anyio.sleep_forever()


async def send_in_two(end: Proxy, item: bytes) -> None:
    await end.inner.send(item[:900])
    await end.inner.send(item[900:])


async def end_with_nothing(end: Proxy, item: bytes) -> None:
    await (end.inner.send(item) if item else end.inner.send_eof())


# --- the promises -----------------------------------------------------------------------------------

Fault = tuple[dict[str, Callable[..., Any]], dict[str, Callable[..., Any]]]
"""What is replaced at the sender, and at the receiver."""

CHANNEL_FAULTS: list[tuple[str, Fault]] = [
    ("messages_arrive_in_order_and_then_the_end", ({}, {"receive": lose_the_seventh})),
    ("messages_arrive_in_order_and_then_the_end", ({}, {"receive": swap_two})),
    ("data_of_every_kind_arrives_as_it_was_sent", ({}, {"receive": floats_for_ints})),
    ("a_large_message_arrives_whole", ({}, {"receive": cut_what_is_large})),
    ("a_closed_channel_is_drained_before_its_end", ({}, {"receive": end_early})),
    ("a_failure_comes_after_the_messages_before_it", ({}, {"receive": an_end_for_a_failure})),
    ("the_first_reason_stays", ({}, {"receive": the_last_reason})),
    ("leaving_the_block_ends_the_channel", ({"leave": just_close}, {})),
    ("closing_twice_is_harmless", ({"close": complain_the_second_time}, {})),
    ("closing_wakes_every_task_that_waits", ({}, {"receive": tell_only_one})),
    ("an_idle_sender_learns_of_a_refusal", ({"wait_closed": never}, {})),
    ("a_blocked_sender_learns_of_a_refusal", ({}, {"close": refuse_without_a_reason})),
    ("flush_says_when_messages_were_left_behind", ({"flush": at_once}, {})),
    ("capacity_bounds_what_is_sent_and_not_taken", ({"send_nowait": swallow}, {})),
    ("nothing_is_queued_without_a_bound", ({"send_nowait": swallow}, {})),
    ("a_rendezvous_returns_when_the_message_was_taken", ({"send": return_early}, {})),
    ("flush_returns_when_everything_was_taken", ({"flush": at_once}, {})),
    ("receive_many_takes_what_is_there", ({}, {"receive_many": more_than_asked})),
    ("nowait_never_waits", ({}, {"receive_nowait": nothing_for_would_block})),
    ("many_tasks_share_a_channel", ({}, {"receive": double_some})),
    ("a_cancelled_receive_loses_nothing", ({}, {"receive": look_away_after_taking})),
    ("a_cancelled_send_is_whole_or_nothing", ({"send": break_when_cancelled}, {})),
    ("ends_travel_in_messages", ({}, {"receive": close_the_ends_in_it})),
    ("sending_an_end_moves_it", ({"send": send_something_else}, {})),
    ("what_waits_in_an_end_travels_with_it", ({"send": lose_what_waits}, {})),
    ("an_end_that_is_over_arrives_so", ({"send": send_fresh_ends}, {})),
    ("an_end_twice_in_a_message_is_refused", ({"send": drop_the_second}, {})),
    ("an_end_is_lent_until_its_message_is_accepted", ({"send": close_ends_when_cancelled}, {})),
    ("ends_that_nobody_took_are_refused", ({}, {"close": hold_what_nobody_took})),
    (
        "ends_outlive_the_channel_that_they_travelled_through",
        ({}, {"receive": remember_the_ends_in_it, "close": close_what_came_through}),
    ),
]

BYTE_STREAM_FAULTS: list[tuple[str, dict[str, Callable[..., Awaitable[Any]]]]] = [
    ("bytes_arrive_exactly_and_then_the_end", {"receive": lose_a_byte}),
    ("each_half_ends_by_itself", {"send_eof": close_both_ways}),
    ("closing_ends_what_was_sent_in_order", {"aclose": fail_instead}),
    ("receive_returns_no_more_than_asked", {"receive": all_there_is}),
    ("both_directions_flow_at_once", {"send_eof": note_the_end, "receive": say_all_first}),
    ("bytes_are_not_queued_without_a_bound", {"send": forget}),
    ("nothing_is_accepted_after_the_end", {"send": swallow_bytes}),
    ("a_writer_learns_that_its_reader_is_gone", {"send": forget}),
    ("a_cancelled_receive_of_bytes_loses_nothing", {"receive": look_away_after_taking}),
    ("a_failure_is_no_end", {"receive": an_end_for_a_failure}),
    ("leaving_the_block_closes_the_stream", {"leave": just_close}),
    ("an_idle_writer_learns_of_a_refusal", {"wait_closed": never}),
    ("a_blocked_writer_learns_of_a_refusal", {"send": wait_when_refused}),
    ("a_cancelled_send_of_bytes_is_whole_or_nothing", {"send": send_in_two}),
    ("no_bytes_are_no_end", {"send": end_with_nothing}),
    ("closing_wakes_every_task_that_reads", {"receive": tell_only_one}),
    ("a_byte_stream_moves_with_what_waits_in_it", {}),
]
"""The last one needs nothing: a proxy in a message is no end, and does not move."""


# --- finding them -----------------------------------------------------------------------------------

IMPATIENCE = 0.3
"""Seconds; for faults that are seen by nothing happening. When all is slow, they are seen all the same."""


def each_fault_of(promises: Promises) -> pytest.MarkDecorator:
    """For a test of one fault of a channel: all that break one of these promises."""
    names = [promise.__name__ for promise in promises]
    faults = [(promise, fault) for promise, fault in CHANNEL_FAULTS if promise in names]
    return pytest.mark.parametrize(("promise", "fault"), faults, ids=[promise for promise, _ in faults])


async def find(promise: str, fault: Fault) -> None:
    """Check a channel with this fault; it has to be found."""

    @asynccontextmanager
    async def factory(capacity: int | None) -> AsyncIterator[Any]:
        with proxies(pipe(capacity), fault) as pair:
            yield pair

    with pytest.raises(AssertionError) as caught:
        await check_channel(factory, only=[promise], patience=IMPATIENCE)
    assert f"this channel does not keep the promise {promise!r} (" in str(caught.value)


@contextmanager
def proxies(ends: tuple[Any, Any], fault: Fault) -> Iterator[list[Proxy]]:
    """Two ends with a fault; with all that came through them, they are closed afterwards."""
    pair = [Proxy(end, **replaced) for end, replaced in zip(ends, fault, strict=True)]
    try:
        yield pair
    finally:
        for one in [one for proxy in pair for one in (proxy.inner, *proxy.seen)]:
            if isinstance(one, Sender | Receiver | ByteStream):
                one.close()
