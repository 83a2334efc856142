"""The client: runs commands over a session.

::

    async with chanlink.connect("tcp://build:9323", peer=key) as session:
        done = await run(session, ["sha256sum"], stdin=b"hello")
        print(done.status, done.stdout)

        async with start(session, ["bc", "-l"]) as calculator:      # talk with a command while it runs
            await calculator.stdin.send(b"2^64\\n")
            print(await calculator.stdout.receive())
"""

import io
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream

import chanlink

from .messages import CANCELLED, SERVICE, BadMessage, StartError, Word, read_status, request_message
from .pumps import FileSink, FileSource, copy_in, copy_out

__all__ = ["BadMessage", "Command", "Completed", "StartError", "run", "start"]


class Completed(NamedTuple):
    """A command that has ended."""

    status: int
    """Its exit status; ``-n`` if signal n ended it."""
    stdout: bytes
    """What it wrote; empty if that went elsewhere."""
    stderr: bytes


class Command:
    """A command that runs on the other side.  Made by `start`."""

    def __init__(
        self,
        requests: chanlink.Sender[Any],
        stdin: chanlink.ByteStream,
        stdout: chanlink.ByteStream,
        stderr: chanlink.ByteStream,
        replies: chanlink.Receiver[Any],
    ) -> None:
        self.stdin = stdin
        """Send to it; `send_eof` is the end of file for the command."""
        self.stdout = stdout
        """Receive from it, to its end."""
        self.stderr = stderr
        """Receive from it, to its end."""
        self._requests = requests
        self._replies = replies

    async def wait(self) -> int:
        """Wait until the command has ended and its outputs were read; returns its status, as in `Completed`.

        Raises `StartError` when it was not run, `chanlink.ChannelRefused` when the server does not serve us, another
        `chanlink.ChannelBroken` when the connection or the server was lost, `BadMessage`.
        """
        try:
            return read_status(await self._replies.receive())
        except chanlink.ChannelError:
            await self._requests.flush()  # raises if the request was refused: then that is the reason
            raise


@asynccontextmanager
async def start(
    session: chanlink.Session,
    argv: Sequence[Word],
    *,
    directory: Word | None = None,
    environment: Mapping[Word, Word] | None = None,
) -> AsyncGenerator[Command, None]:
    """Start a command: an async context manager that gives a `Command`.  Nothing waits for the server.

    ``argv`` is the program and its arguments, exactly; there is no shell. ``environment`` is set besides the server's
    own. Read both outputs: a command waits when nobody takes what it writes.

    Leaving the block stops the command if it still runs: its processes get TERM, and after five seconds KILL.
    """
    if not argv:
        raise ValueError("argv is empty")
    stdin, their_stdin = chanlink.byte_pipe()
    stdout, their_stdout = chanlink.byte_pipe()
    stderr, their_stderr = chanlink.byte_pipe()
    status: chanlink.Sender[Any]
    status, replies = chanlink.pipe()
    ends = {"stdin": their_stdin, "stdout": their_stdout, "stderr": their_stderr, "status": status}
    requests: chanlink.Sender[Any] = await session.open(SERVICE)
    # Theirs too, for the case that the request can't be sent; closing an end that has moved does nothing.
    async with (
        status,
        their_stdin,
        their_stdout,
        their_stderr,
        replies,
        stdin,
        stdout,
        stderr,
        requests,
    ):
        await requests.send(request_message(argv, ends, directory, environment))
        try:
            yield Command(requests, stdin, stdout, stderr, replies)
        finally:
            _give_up(stdin, stdout, stderr)


def _give_up(stdin: chanlink.ByteStream, *outputs: chanlink.ByteStream) -> None:
    """Say of streams that are not over that the command is given up; of the input, lest it look like its end."""
    with suppress(chanlink.ChannelClosed):
        stdin.fail(CANCELLED)
    for output in outputs:
        with suppress(chanlink.ChannelClosed):
            output.refuse(CANCELLED)


async def run(
    session: chanlink.Session,
    argv: Sequence[Word],
    *,
    stdin: bytes | ByteReceiveStream = b"",
    stdout: ByteSendStream | None = None,
    stderr: ByteSendStream | None = None,
    directory: Word | None = None,
    environment: Mapping[Word, Word] | None = None,
) -> Completed:
    """Run a command to its end: feed it ``stdin``, and collect its outputs in memory or write them to streams.

    Returns after everything that the command wrote has been written. The streams are not closed. An output stream that
    breaks is no error: the command gets SIGPIPE when it goes on writing there. Otherwise as `start` and `Command.wait`;
    also raises an `OSError` of the streams. Cancelled: the command is stopped, as by `start`.
    """
    outputs = io.BytesIO(), io.BytesIO()
    source = FileSource(io.BytesIO(stdin)) if isinstance(stdin, bytes) else stdin
    async with start(session, argv, directory=directory, environment=environment) as command:
        feeding = _Attempt(copy_in, source, command.stdin)
        waiting = _Attempt(command.wait)
        copying = (
            _Attempt(copy_out, command.stdout, stdout or FileSink(outputs[0])),
            _Attempt(copy_out, command.stderr, stderr or FileSink(outputs[1])),
        )
        async with anyio.create_task_group() as feeder:
            feeder.start_soon(feeding)
            async with anyio.create_task_group() as tasks:
                for attempt in (waiting, *copying):
                    tasks.start_soon(attempt)
            feeder.cancel_scope.cancel()  # the rest of the input is not wanted any more
    for attempt in (waiting, feeding, *copying):  # what `wait` raises is the reason for most of the other errors
        attempt.check()
    return Completed(waiting.value, outputs[0].getvalue(), outputs[1].getvalue())


class _Attempt:
    """A call in a task whose error is looked at afterwards.

    One that fails does not cancel the others: what has already arrived is still written when the connection breaks.
    And its error is not wrapped in an ExceptionGroup.
    """

    value: Any = None

    def __init__(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        self._function = function
        self._args = args
        self._error: Exception | None = None

    async def __call__(self) -> None:
        try:
            self.value = await self._function(*self._args)
        except Exception as exc:
            self._error = exc

    def check(self) -> None:
        if self._error is not None:
            raise self._error
