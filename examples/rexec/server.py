"""The service: executes what trusted peers ask for.

    await chanlink.serve({SERVICE: rexec}, "tcp://127.0.0.1:9323", trust=...)

Whoever may use it may run anything that this process may run.

The status sender is the life-line of a command: when its receiver is gone, because the caller left, was killed or lost
its connection, the command is stopped.
"""

import logging
import shlex
from contextlib import suppress

import anyio

import chanlink

from .messages import (
    BAD_REQUEST,
    CANCELLED,
    SERVICE,
    BadMessage,
    Request,
    StartError,
    ends_in,
    error_message,
    printable,
    status_message,
)
from .process import OutputPipe, Process
from .pumps import copy_in, copy_out

__all__ = ["SERVICE", "rexec"]

logger = logging.getLogger("rexec")


async def rexec(requests: chanlink.Receiver[object], peer: chanlink.Peer) -> None:
    """Serve one channel of requests; each command runs in a task of its own.

    Returns when the channel and all commands are over. Cancelled: the commands are stopped first.
    """
    async with anyio.create_task_group() as commands:
        try:
            async for message in requests:
                commands.start_soon(_answer, message, requests, peer)
        except chanlink.ChanlinkError as exc:
            # The commands go on: whether somebody still waits for them, they learn from their own ends.
            logger.info("%s: no more requests: %s", peer.name, printable(str(exc)))


async def _answer(message: object, requests: chanlink.Receiver[object], peer: chanlink.Peer) -> None:
    try:
        request = Request.from_message(message)
    except BadMessage as exc:
        logger.warning("%s sent a bad request: %s", peer.name, exc)
        _reject(message, requests, str(exc))
        return
    try:
        async with request.stdin, request.stdout, request.stderr, request.status:
            await request.status.send(await _execute(request, peer))
    except chanlink.ChannelBroken as exc:
        logger.info("%s: nobody waits for the status: %s", peer.name, printable(str(exc)))


def _reject(message: object, requests: chanlink.Receiver[object], problem: str) -> None:
    """Answer at the status sender, if there is one; else at the channel of requests, which is over then."""
    status = message.get("status") if isinstance(message, dict) else None
    if isinstance(status, chanlink.Sender):
        with suppress(chanlink.ChannelBroken, anyio.WouldBlock):
            status.send_nowait(error_message(StartError(BAD_REQUEST, problem)))
    else:
        requests.refuse(BAD_REQUEST, problem)
    for end in ends_in(message):
        end.close()


async def _execute(request: Request, peer: chanlink.Peer) -> dict[str, object]:
    """Run the command to its end; returns its status message."""
    line = printable(shlex.join(word.decode(errors="replace") for word in request.argv))
    try:
        process = Process(request.argv, request.directory, request.environment)
    except StartError as exc:
        logger.info("%s asked for %s: %s: %s", peer.name, line, exc.code, printable(exc.text))
        return error_message(exc)
    logger.info("%s runs %s", peer.name, line)
    async with process:
        await _attend(process, request)
    assert process.returncode is not None
    logger.info("%s: %s ended: %d", peer.name, line, process.returncode)
    return status_message(process.returncode)


async def _attend(process: Process, request: Request) -> None:
    """Move the bytes until the command has ended, and its outputs; return earlier if it is to be stopped."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_without_receiver, request.status, tasks.cancel_scope)
        tasks.start_soon(_feed, request.stdin, process, tasks.cancel_scope)
        async with anyio.create_task_group() as outputs:
            outputs.start_soon(_forward, process.stdout, request.stdout)
            outputs.start_soon(_forward, process.stderr, request.stderr)
            await process.exited()
            process.stdout.linger()
            process.stderr.linger()
        process.finish()
        tasks.cancel_scope.cancel()


async def _stop_without_receiver(status: chanlink.Sender[dict[str, object]], command: anyio.CancelScope) -> None:
    await status.wait_closed()
    command.cancel()


async def _feed(stdin: chanlink.ByteStream, process: Process, command: anyio.CancelScope) -> None:
    try:
        await copy_out(stdin, process.stdin)
    except chanlink.ChannelBroken:
        command.cancel()  # it must not take half of its input for all of it
    else:
        process.stdin.close()


async def _forward(pipe: OutputPipe, stream: chanlink.ByteStream) -> None:
    refusal = await copy_in(pipe, stream)
    # What nobody reads any more is closed: the command gets SIGPIPE, as it would in a pipeline. But not when the whole
    # command is given up: it is stopped then, and what it says while it cleans up must not kill it.
    if refusal is None or (isinstance(refusal, chanlink.ChannelRefused) and refusal.code != CANCELLED):
        pipe.close()
