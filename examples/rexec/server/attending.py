"""What is done while a command runs: its bytes are moved, it is told what its caller says, and its end is waited for.

A command with a caller is attended; one that is detached has its output collected, which others may follow.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio

import chanlink

from ..messages import BAD_REQUEST, CANCELLED, Attach, BadMessage, Streams, read_control, status_message
from ..pumps import copy_in, copy_out
from .detached import Detached
from .process import GuardLost, Process
from .streams import OutputPipe


async def attend(process: Process, streams: Streams, status: chanlink.Sender[Any]) -> None:
    """Move the bytes until the command has ended, and its outputs; return earlier if it is to be stopped."""
    async with anyio.create_task_group() as tasks:
        stop = tasks.cancel_scope.cancel
        tasks.start_soon(_stop_without_receiver, status, stop)
        tasks.start_soon(_feed, streams.stdio, process, stop)
        if streams.control is not None:
            tasks.start_soon(_obey, streams.control, process)
        async with anyio.create_task_group() as outputs:
            if len(process.outputs) == 1:
                outputs.start_soon(_forward, process.outputs[0], streams.stdio, stop)
                await streams.stderr.send_eof()
            else:
                outputs.start_soon(_forward, process.outputs[0], streams.stdio)
                outputs.start_soon(_forward, process.outputs[1], streams.stderr)
            await _until_exited(process, stop)
        process.finish()
        stop()


async def _until_exited(process: Process, stop: Callable[[], None]) -> None:
    try:
        await process.exited()
    except GuardLost:
        stop()
        return
    if process.interrupted:  # its caller wants no more of it: nothing is left behind
        await process.stop()
    for output in process.outputs:
        output.linger()


async def _stop_without_receiver(status: chanlink.Sender[Any], stop: Callable[[], None]) -> None:
    await status.wait_closed()
    stop()


async def _feed(stdin: chanlink.ByteStream, process: Process, stop: Callable[[], None]) -> None:
    try:
        await copy_out(stdin, process.stdin)
    except chanlink.ChannelBroken:
        stop()  # it must not take a part of its input for the whole
    else:
        process.end_input()


async def _obey(control: chanlink.Receiver[Any], process: Process) -> None:
    try:
        async for message in control:
            order = read_control(message)
            if isinstance(order, int):
                process.signal(order)
            else:
                process.resize(order)
    except BadMessage as exc:
        control.refuse(BAD_REQUEST, str(exc))
    except chanlink.ChanlinkError:
        pass  # the caller is gone; the life-line decides what that means


async def _forward(pipe: OutputPipe, stream: chanlink.ByteStream, stop: Callable[[], None] | None = None) -> None:
    """Copy an output. ``stop`` is given for a terminal, of which one direction alone can't be closed."""
    refusal = await copy_in(pipe, stream)
    if refusal is not None and (not isinstance(refusal, chanlink.ChannelRefused) or refusal.code == CANCELLED):
        return  # the whole command is given up; what it says while it cleans up must not kill it
    # An output that nobody reads any more is closed: the command gets SIGPIPE, as in a pipeline.
    if stop is None:
        pipe.close()
    elif refusal is not None:
        stop()


# --- detached commands --------------------------------------------------------------------------


async def collect(process: Process, entry: Detached, moved: list[int]) -> None:
    """Keep what a command writes, until it has ended."""

    async def keep(number: int, output: OutputPipe) -> None:
        with suppress(anyio.EndOfStream):
            while True:
                data = await output.receive()
                moved[number] += len(data)
                await entry.backlog.put(number, data)

    async with anyio.create_task_group() as outputs:
        for number, output in enumerate(process.outputs, start=1):
            outputs.start_soon(keep, number, output)
        await _until_exited(process, entry.scope.cancel)
    process.finish()


async def follow(request: Attach, entry: Detached) -> dict[str, Any]:
    """Send what a command has written and still writes; returns its status message."""
    early = ""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_without_receiver, request.status, tasks.cancel_scope.cancel)
        with entry.backlog.reader() as reader:
            if entry.backlog.dropped:
                early = f"the first {entry.backlog.dropped} bytes of its output were not kept"
            with suppress(chanlink.ChannelRefused):
                async for output, data in reader:
                    await (request.stdout if output == 1 else request.stderr).send(data)
        await entry.over.wait()
        tasks.cancel_scope.cancel()
    if entry.returncode is None:
        raise GuardLost("the end of a command is not known")
    return status_message(entry.returncode, "; ".join(filter(None, (early, entry.note))))


async def kill(entry: Detached, number: int) -> None:
    """Signal a command; 0: stop it, and wait until that is done."""
    if number == 0:
        entry.scope.cancel()
        await entry.over.wait()
    elif entry.process is not None:
        entry.process.signal(number)
