"""How far a plain message goes in the code before its sender goes on."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import chanlink
from chanlink.testing import session_pair

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

ROOT = Path(chanlink.__file__).parent
WAY = [
    "channels/handle.py",  # is the sender open?
    "channels/waiting.py",  # is the task cancelled, or is it the turn of others?
    "session/ends/remote.py",  # is the channel open, is there room?
    "wire/outgoing.py",
    "wire/messages/encode.py",
    "channels/values.py",  # is it a plain message?
    "wire/mux.py",  # its stream has something to say
    "session/driver.py",  # and so has the session: the writer is woken
]
"""The files that it crosses up to the queue of its stream, in the order in which it comes to them."""


async def files_crossed(sender: Any, message: object) -> list[str]:
    """The files whose functions are called while a message is sent."""
    found: dict[str, None] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            found[path.relative_to(ROOT).as_posix()] = None

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        await sender.send(message)
    finally:
        sys.setprofile(before)
    return list(found)


async def test_a_message_of_plain_data_crosses_eight_files() -> None:
    async with (
        session_pair() as (client, server),
        await client.open("service") as sender,
        (await server.accept()).end as receiver,
    ):
        await sender.send("the first one opens the stream")
        await receiver.receive()
        assert await files_crossed(sender, {"a": 1}) == WAY
        assert await receiver.receive() == {"a": 1}


async def test_in_memory_it_crosses_five() -> None:
    sender, receiver = chanlink.pipe()
    async with sender, receiver:
        crossed = await files_crossed(sender, {"a": 1})
    assert crossed == [f"channels/{name}.py" for name in ("handle", "waiting", "memory", "values", "cores")]
