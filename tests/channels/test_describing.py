"""What is said of an end in a debugger, and in the warning about one that was forgotten."""

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

import chanlink
from chanlink.channels.describing import brief
from chanlink.errors import ConnectionLost, SessionLost
from chanlink.testing import session_pair
from tests.patience import PATIENCE

pytestmark = pytest.mark.anyio


async def test_a_channel_in_memory_says_its_state_and_what_went_through() -> None:
    sender, receiver = chanlink.pipe(5)
    assert repr(sender) == "<Sender: open, capacity 5>"
    assert repr(receiver) == "<Receiver: open, capacity 5>"
    clone = sender.clone()
    sender.send_nowait("one")
    sender.send_nowait("two")
    await receiver.receive()
    assert repr(sender) == "<Sender: open, capacity 5, sent 2, taken 1, queued 1, other senders 1>"
    assert repr(receiver) == "<Receiver: open, capacity 5, taken 1, queued 1>"
    clone.close()
    sender.close()
    assert repr(sender).startswith("<Sender: closed, ")
    await receiver.receive()
    assert repr(receiver) == "<Receiver: over (ended), capacity 5, taken 2>"
    receiver.close()
    assert repr(receiver).startswith("<Receiver: closed, ")


async def test_an_end_that_is_over_says_why() -> None:
    sender, receiver = chanlink.pipe()
    receiver.refuse("no-more", "words that are left out")
    assert repr(sender) == "<Sender: over (refused: no-more)>"
    sender, receiver = chanlink.pipe()
    sender.fail("no-more")
    assert repr(receiver) == "<Receiver: over (failed: no-more)>"  # though nobody has taken the failure yet
    with pytest.raises(chanlink.ChannelFailed):
        await receiver.receive()
    assert repr(receiver) == "<Receiver: over (failed: no-more)>"


async def test_an_end_in_a_message_says_so_until_it_is_gone() -> None:
    sender, receiver = chanlink.pipe(0)
    inner, other = chanlink.pipe(0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sender.send, [inner])
        await anyio.wait_all_tasks_blocked()
        assert repr(inner) == "<Sender: being sent in a message, capacity 0>"
        assert repr(sender) == "<Sender: open, capacity 0, tasks that wait 1>"
        [moved] = await receiver.receive()
    assert repr(inner) == "<Sender: sent away, capacity 0>"
    for end in (sender, moved, other):
        end.close()


async def test_the_two_directions_of_a_byte_stream_are_over_one_by_one() -> None:
    near, far = chanlink.byte_pipe()
    await near.send(b"12345")
    await far.receive(2)
    assert repr(near) == "<ByteStream: open, sent 5, queued 3>"
    assert repr(far) == "<ByteStream: open, received 2, arrived 3>"
    await near.send_eof()
    assert repr(near) == "<ByteStream: sending is over (ended), sent 5, queued 3>"
    near.refuse("enough")
    assert repr(near).startswith("<ByteStream: sending is over (ended), receiving is over (refused: enough), ")
    for end in (near, far):
        end.close()
    assert repr(far).startswith("<ByteStream: closed, ")


async def test_an_end_of_a_session_says_of_which_service_it_is_at_any_depth() -> None:
    async with session_pair() as (client, server):
        sender = await client.open("orders", capacity=2)
        assert repr(sender) == "<Sender of the service 'orders': open, capacity 2>"
        there = (await server.accept()).end
        answer_to, answers = chanlink.pipe()
        await sender.send({"reply": answer_to})
        message = await there.receive()
        assert repr(there).startswith("<Receiver of the service 'orders': open, capacity 2, taken 1")
        deeper, stays = chanlink.byte_pipe()
        await message["reply"].send(deeper)
        arrived = await answers.receive()
        for end in (message["reply"], answers, arrived, stays):
            assert repr(end).startswith(f"<{type(end).__name__} of the service 'orders': open")
        stream = await client.open_stream("files")
        assert repr(stream) == "<ByteStream of the service 'files': open>"
        client.abort()
        await client.wait_closed()
        assert "<Receiver of the service 'orders': over (lost: " in repr(answers)
        with pytest.raises(SessionLost):
            await sender.send(1)
        assert "<Sender of the service 'orders': over (lost: SessionClosed), " in repr(sender)
        for end in (sender, there, message["reply"], answers, arrived, stays, stream):
            end.close()


@pytest.mark.parametrize("words", ["two\nlines", "\x1b[2J", "right\u202eleft", "\ud800"])
async def test_whatever_the_other_side_says_is_printed_in_one_line(words: str) -> None:
    sender, receiver = chanlink.pipe()
    receiver.refuse(words, words)
    assert repr(sender).isprintable()
    sender, receiver = chanlink.pipe()
    sender.fail(words, words)
    selected = await chanlink.select(receiver)
    assert repr(selected).isprintable()
    if words != "\ud800":
        async with session_pair() as (client, server):
            sender = await client.open(words)
            incoming = await server.accept()
            assert repr(incoming).isprintable()
            assert repr(sender).isprintable()
            sender.close()
            incoming.end.close()


async def test_what_was_selected_is_said_briefly() -> None:
    sender, receiver = chanlink.pipe()
    sender.send_nowait({"body": "x" * 10_000, "lines": "a\nb"})
    words = repr(await chanlink.select(receiver))
    assert words.startswith("Selected(index=0, channel=<Receiver: open, taken 1>, value={'body': 'xxx")
    assert len(words) < 500
    assert words.isprintable()
    sender.close()
    words = repr(await chanlink.select(receiver))
    assert words.startswith("Selected(index=0, channel=<Receiver: over (ended), taken 1>, error=EndOfChannel(")


def test_a_selector_says_how_many_cases_it_has() -> None:
    sender, receiver = chanlink.pipe()
    selector = chanlink.Selector()
    selector.add(receiver)
    selector.add(sender.closing())
    assert repr(selector) == "<Selector with 2 cases>"
    sender.close()
    receiver.close()


def test_a_long_value_is_cut() -> None:
    assert brief("short") == "'short'"
    assert len(brief(b"x" * 10_000)) == len(brief("x" * 10_000)) == 200
    assert len(brief([ConnectionLost("y" * 1_000)] * 1_000)) < 3_000


# --- forgotten ends -----------------------------------------------------------------------------


def forget(ends: list[Any]) -> None:
    ends.clear()
    gc.collect()


async def test_a_warning_about_a_forgotten_end_names_its_service() -> None:
    async with session_pair() as (client, server):
        requests = [await client.open("orders")]
        answer_to, answers = chanlink.pipe()
        await requests[0].send(answer_to)
        there = (await server.accept()).end
        with anyio.fail_after(PATIENCE):
            arrived = [await there.receive()]
        for ends in (arrived, requests):
            with pytest.warns(ResourceWarning, match="a Sender of the service 'orders' was forgotten"):
                forget(ends)
        answers.close()
        there.close()


FORGETFUL = """\
import chanlink

def make():
    return chanlink.pipe()  # the line

sender, receiver = make()
receiver.close()
sender, receiver = chanlink.byte_pipe(), make()[1]
"""


@pytest.mark.slow
def test_with_tracemalloc_it_says_where_the_end_was_made(tmp_path: Path) -> None:
    program = tmp_path / "forgetful.py"
    program.write_text(FORGETFUL)
    options = ["-X", "dev", "-X", "tracemalloc=4"]  # more frames make the import ten times slower
    done = subprocess.run([sys.executable, *options, program], capture_output=True, text=True, check=True)
    warning, _, rest = done.stderr.partition("\n")
    assert warning.endswith("ResourceWarning: a Sender was forgotten without closing it")
    assert f'File "{program}", lineno 4' in rest.partition("ResourceWarning")[0]
    assert "return chanlink.pipe()  # the line" in rest
