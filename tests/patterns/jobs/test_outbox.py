"""What is sent without a task, as there is room."""

from typing import Any

import anyio
import pytest

import chanlink
from chanlink import EndOfChannel
from chanlink.patterns.jobs.outbox import Outbox, answer

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


async def test_messages_wait_for_room_and_keep_their_order() -> None:
    sender, receiver = chanlink.pipe(1)
    moved: list[int] = []
    outbox = Outbox(sender, moved=lambda: moved.append(len(outbox)))
    for n in range(4):
        outbox.send(n)
    outbox.end()
    assert len(outbox) == 3
    assert [n async for n in receiver] == [0, 1, 2, 3]
    assert moved
    assert outbox.over


async def test_who_is_gone_gets_nothing_and_it_is_said() -> None:
    sender, receiver = chanlink.pipe(1)
    gone = anyio.Event()
    outbox = Outbox(sender, moved=gone.set)
    outbox.send(1)
    outbox.send(2)
    receiver.close()
    await gone.wait()
    outbox.send(3)
    assert (outbox.over, len(outbox)) == (True, 0)


async def test_an_answer_is_one_message_and_the_end() -> None:
    sender, receiver = chanlink.pipe(1)
    answer(sender, {"x": 1})
    found: Any = await receiver.receive()
    assert found == {"x": 1}
    with pytest.raises(EndOfChannel):
        await receiver.receive()
