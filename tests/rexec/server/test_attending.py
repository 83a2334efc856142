"""What is done while a command runs, with channels in this process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import anyio
import pytest

import chanlink
from examples.rexec.messages import BAD_REQUEST, Attach, Streams
from examples.rexec.policy.order import Order
from examples.rexec.server.attending import attend, collect, follow, kill
from examples.rexec.server.detached import Detached
from examples.rexec.server.process import Process
from examples.rexec.server.starter import Starter
from tests.patience import PATIENCE
from tests.rexec.servers import alive

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]
ENVIRONMENT = {b"PATH": b"/usr/bin:/bin"}


class Caller(NamedTuple):
    """The other ends of what a command has."""

    stdio: chanlink.ByteStream
    stderr: chanlink.ByteStream
    control: chanlink.Sender[Any]
    status: chanlink.Receiver[Any]


@asynccontextmanager
async def attended(script: str) -> AsyncIterator[tuple[Caller, Process]]:
    """A command that is attended in the background, until it has ended or is given up."""
    async with AsyncExitStack() as stack:
        starter = await stack.enter_async_context(Starter(0.2))
        stdio, their_stdio = chanlink.byte_pipe()
        stderr, their_stderr = chanlink.byte_pipe()
        control, their_control = chanlink.pipe()
        their_status, status = chanlink.pipe()
        ends = (stdio, their_stdio, stderr, their_stderr, control, their_control, their_status, status)
        for end in ends:
            await stack.enter_async_context(end)
        process = await starter.start(Order([b"sh", b"-c", script.encode()], ENVIRONMENT))
        await stack.enter_async_context(process)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.enter_context(anyio.fail_after(PATIENCE))
        tasks.start_soon(attend, process, Streams(their_stdio, their_stderr, their_control), their_status)
        yield Caller(stdio, stderr, control, status), process


async def all_of(stream: chanlink.ByteStream) -> bytes:
    data = b""
    async for piece in stream:
        data += piece
    return data


async def test_bytes_go_there_and_back_to_their_ends() -> None:
    async with attended("cat; echo end >&2; exit 3") as (caller, process):
        await caller.stdio.send(b"data")
        await caller.stdio.send_eof()
        assert await all_of(caller.stdio) == b"data"
        assert await all_of(caller.stderr) == b"end\n"
    assert process.returncode == 3


async def test_an_input_that_breaks_off_is_not_its_end() -> None:
    async with attended("cat > /dev/null; echo all of it") as (caller, process):
        await caller.stdio.send(b"half")
        caller.stdio.fail("cancelled")
    assert process.returncode != 0


async def test_without_a_caller_it_is_stopped() -> None:
    async with attended("sleep 1000") as (caller, process):
        caller.status.close()
    assert not alive(process.pid)


async def test_what_the_caller_says_is_done_and_what_can_not_be_read_is_refused() -> None:
    async with attended("trap 'echo hup' HUP; echo ready; while :; do sleep 0.01; done") as (caller, _):
        assert await caller.stdio.receive() == b"ready\n"
        await caller.control.send({"signal": "HUP"})
        assert await caller.stdio.receive() == b"hup\n"
        await caller.control.send({"signal": "NOSUCH"})
        with pytest.raises(chanlink.ChannelRefused) as caught:
            await caller.control.wait_closed()
            await caller.control.send({})
        assert caught.value.code == BAD_REQUEST
        caller.status.close()


async def test_output_that_nobody_reads_any_more_ends_the_command() -> None:
    async with attended("while :; do echo y; done 2> /dev/null") as (caller, process):
        caller.stdio.refuse("closed")
    assert process.returncode != 0


async def test_what_a_detached_command_writes_can_be_followed_and_it_can_be_killed() -> None:
    async with Starter(0.2) as starter, anyio.create_task_group() as tasks:
        entry = Detached("name", "sh")
        words = [b"sh", b"-c", b"echo out; echo err >&2; sleep 1000"]
        process = await starter.start(Order(words, ENVIRONMENT), no_input=True)
        entry.process = process

        async def run() -> None:
            async with process:
                with entry.scope:
                    await collect(process, entry, [0, 0, 0])
            entry.end(process.returncode, "")

        tasks.start_soon(run)
        stdout, their_stdout = chanlink.byte_pipe()
        stderr, their_stderr = chanlink.byte_pipe()
        status, statuses = chanlink.pipe()
        async with stdout, their_stdout, stderr, their_stderr, status, statuses:
            answers: list[object] = []

            async def answer() -> None:
                answers.append(await follow(Attach("name", status, their_stdout, their_stderr), entry))

            tasks.start_soon(answer)
            with anyio.fail_after(PATIENCE):
                assert await stdout.receive() == b"out\n"
                assert await stderr.receive() == b"err\n"
                await kill(entry, 0)
                while not answers:
                    await anyio.sleep(0.001)
        assert answers == [{"signal": 15}]
