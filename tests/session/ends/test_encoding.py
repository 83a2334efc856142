"""`encode`: what comes of an encoded message is what comes of its value, everywhere and any number of times."""

import datetime
import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink import Encoded, EncodeError, LimitReached, Limits, MessageTooLarge, MessageTypeError, encode
from chanlink.testing import session_pair
from tests.channels.pairs import CHANNELS
from tests.patience import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

each_way = pytest.mark.parametrize("channel", CHANNELS, ids=lambda one: one.__name__)


class Color(enum.IntEnum):
    RED = 7


NOW = datetime.datetime(2030, 1, 2, 3, 4, 5, 6_000, datetime.UTC)
VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (b"", b""),
    ({"a": [1, 2.5, {"b": None}], 7: b"x", b"k": "é"}, {"a": [1, 2.5, {"b": None}], 7: b"x", b"k": "é"}),
    ((1, (2,)), [1, [2]]),
    (bytearray(b"abc"), b"abc"),
    (memoryview(b"abc"), b"abc"),
    (Color.RED, 7),
    (NOW, NOW),
    ({"body": bytes(200_000)}, {"body": bytes(200_000)}),
    ("x" * 300_000, "x" * 300_000),
    ([[]] * 5_000, [[]] * 5_000),
]


@each_way
async def test_receivers_get_the_value_each_time_it_is_sent(channel: Any) -> None:
    async with channel() as (sender, receiver), anyio.create_task_group() as tasks:

        async def send(messages: list[Encoded]) -> None:
            async with sender:
                for message in messages:
                    await sender.send(message)
                    await sender.send(message)

        tasks.start_soon(send, [encode(value) for value, _ in VALUES])
        with anyio.fail_after(PATIENCE):
            got = [value async for value in receiver]
        assert got == [there for _, there in VALUES for _ in range(2)]


@each_way
@pytest.mark.parametrize("capacity", [None, 0, 1])
async def test_every_way_of_sending_takes_it(channel: Any, capacity: int | None) -> None:
    message = encode({"n": [1]})
    async with channel(capacity) as (sender, receiver), anyio.create_task_group() as tasks:
        got = []

        async def receive() -> None:
            for _ in range(3):
                got.append(await receiver.receive())

        tasks.start_soon(receive)
        with anyio.fail_after(PATIENCE):
            await sender.send(message)
            assert (await chanlink.select(sender.sending(message))).error is None
            while True:
                try:
                    sender.send_nowait(message)
                    break
                except anyio.WouldBlock:
                    await anyio.sleep(0.001)
            while len(got) < 3:
                await anyio.sleep(0.001)
        sender.close()
        receiver.close()
    assert got == [{"n": [1]}] * 3


async def test_each_receiver_in_this_process_has_a_value_of_its_own() -> None:
    message, got = encode({"n": [1]}), []
    for _ in range(2):
        sender, receiver = chanlink.pipe()
        async with sender, receiver:
            await sender.send(message)
            got.append(await receiver.receive())
    got[0]["n"].append(2)
    assert got[1] == {"n": [1]}


async def test_what_was_encoded_does_not_change_with_its_value() -> None:
    value = {"n": [1], "data": bytearray(b"abc"), "long": bytearray(100_000)}
    message = encode(value)
    value["n"].append(2)
    value["data"][0] = value["long"][0] = 1
    async with session_pair() as (client, server):
        async with await client.open("x") as sender:
            await sender.send(message)
        with anyio.fail_after(PATIENCE):
            async with (await server.accept()).end as receiver:
                assert await receiver.receive() == {"n": [1], "data": b"abc", "long": bytes(100_000)}


def test_ends_are_refused_by_path_and_stay_the_callers() -> None:
    sender, receiver = chanlink.pipe()
    with pytest.raises(EncodeError, match=r"^reply\[1\]: an end can be sent once only"):
        encode({"reply": [1, sender]})
    sender.send_nowait(1)
    assert receiver.receive_nowait() == 1
    sender.close()
    receiver.close()


def test_a_file_is_refused_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with open(tmp_path / "file", "rb") as file:
        with pytest.raises(EncodeError, match=r"^body: a BufferedReader can't be sent"):
            encode({"body": file})
        assert file.read() == b"abc"


@pytest.mark.parametrize("value", [object(), {1.5: 1}, {True: 1}, datetime.datetime(2030, 1, 1), 2**64, "\ud800", {1}])
def test_what_cannot_be_sent_cannot_be_encoded(value: object) -> None:
    with pytest.raises(EncodeError):
        encode([value])


def test_a_message_that_holds_itself_nests_too_deep() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(EncodeError, match="it nests too deep"):
        encode(value)


@each_way
async def test_it_is_a_whole_message_and_no_part_of_one(channel: Any) -> None:
    """In memory it would pass as any object does; over a session nothing is sent."""
    async with channel() as (sender, receiver):
        if channel.__name__ == "in_memory":
            await sender.send([encode(1)])
            assert isinstance((await receiver.receive())[0], Encoded)
        else:
            with pytest.raises(EncodeError, match=r"^\[0\]: an Encoded can't be sent"):
                await sender.send([encode(1)])
        sender.close()
        receiver.close()


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (bytes(2_000), MessageTooLarge),
        ([[[[1]]]], EncodeError),
        ([1] * 4_096, LimitReached),
        (dict.fromkeys(range(2_049)), LimitReached),
    ],
    ids=["size", "depth", "values", "int-keys"],
)
async def test_the_bounds_of_the_peer_hold_and_the_channel_goes_on(value: object, error: type[Exception]) -> None:
    size = 2**20 if error is LimitReached else 1_000
    limits = Limits(message_size=size, message_depth=3, message_values=4_096, message_int_keys=2_048)
    async with session_pair(limits) as (client, server):
        sender = await client.open("x")
        with pytest.raises(error):
            await sender.send(encode(value))
        with pytest.raises(error):
            sender.send_nowait(encode(value))
        await sender.send(encode([[[1]]]))
        with anyio.fail_after(PATIENCE):
            receiver = (await server.accept()).end
            assert await receiver.receive() == [[[1]]]
        sender.close()
        receiver.close()


async def test_a_backlog_of_encoded_messages_leaves_with_its_receiver() -> None:
    async with session_pair() as (client, server):
        sender, receiver = chanlink.pipe()
        await sender.send(encode({"n": (1, 2)}))
        async with await client.open("x") as carrier:
            await carrier.send(receiver)
        with anyio.fail_after(PATIENCE):
            async with (await server.accept()).end as carried, await carried.receive() as there:
                await sender.send(encode(2))
                assert [await there.receive(), await there.receive()] == [{"n": [1, 2]}, 2]
        sender.close()


@dataclass
class Order:
    number: int
    parts: list[str]


async def test_an_object_is_encoded_for_channels_of_its_type() -> None:
    order = Order(7, ["screw"])
    message = encode(order, Order)
    with pytest.raises(EncodeError):
        encode(order)
    sender, receiver = chanlink.pipe(item_type=Order)
    async with sender, receiver, session_pair() as (client, server):
        await sender.send(message)
        async with await client.open("x", Order) as away:
            await away.send(message)
            away.send_nowait(message)
        with anyio.fail_after(PATIENCE):
            here = await receiver.receive()
            there = (await server.accept()).end.typed(Order)
            assert [here, await there.receive(), await there.receive()] == [order, order, order]
            assert here is not order
            there.close()


async def test_a_message_of_another_type_is_one_to_its_receiver_only() -> None:
    """In memory it is found as it is sent."""
    sender, receiver = chanlink.pipe(item_type=Order)
    async with sender, receiver, session_pair() as (client, server):
        with pytest.raises(MessageTypeError):
            await sender.send(encode({"number": "x"}))
        async with await client.open("x", Order) as away:
            await away.send(encode({"number": "x"}))
            await away.send(encode({"number": 1, "parts": []}))
        with anyio.fail_after(PATIENCE):
            there = (await server.accept()).end.typed(Order)
            with pytest.raises(MessageTypeError):
                await there.receive()
            assert await there.receive() == Order(1, [])
            there.close()
