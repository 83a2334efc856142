"""The client: runs commands over a session.

::

    async with chanlink.connect("tcp://build:9323", peer=key) as session:
        done = await run(session, ["sha256sum"], stdin=b"hello")
        print(done.status, done.stdout)

        async with start(session, ["bc", "-l"]) as calculator:      # talk with a command while it runs
            await calculator.stdio.send(b"2^64\\n")
            print(await calculator.stdio.receive())
"""

import io
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, NamedTuple, TypedDict, Unpack

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream

import chanlink

from .attempts import Attempt
from .messages import (
    CANCELLED,
    SERVICE,
    BadMessage,
    Listed,
    Size,
    StartError,
    read_list,
    read_name,
    read_status,
    run_message,
    signal_number,
)
from .pumps import FileSink, FileSource, copy_in, copy_out
from .words import Word

__all__ = [
    "BadMessage",
    "Command",
    "Completed",
    "Listed",
    "Settings",
    "Size",
    "StartError",
    "attach",
    "detach",
    "kill",
    "listing",
    "run",
    "start",
]


class Settings(TypedDict, total=False):
    """What may be said of a command besides its words."""

    directory: Word | None
    """Where to run it."""
    environment: Mapping[Word, Word] | None
    """Variables that are set besides the server's own."""
    user: str | None
    """Whom to run it as, if the server may do that."""
    limits: Mapping[str, int] | None
    """What it may use at most: ``processor`` and ``time`` in seconds, ``memory`` in bytes, ``files``, ``processes``."""


class Completed(NamedTuple):
    """A command that has ended."""

    status: int
    """Its exit status; ``-n`` if signal n ended it."""
    stdout: bytes
    """What it wrote; empty if that went elsewhere."""
    stderr: bytes
    note: str = ""
    """Why the server has stopped it, if it has."""


class Command:
    """A command that runs on the other side. Made by `start`."""

    note = ""
    """After `wait`: why the server has stopped it, if it has."""

    def __init__(
        self,
        requests: chanlink.Sender[Any],
        stdio: chanlink.ByteStream,
        stderr: chanlink.ByteStream,
        replies: chanlink.Receiver[Any],
        control: chanlink.Sender[Any] | None,
    ) -> None:
        self.stdio = stdio
        """Its standard input and output. Send to it; `send_eof` is the end of file for the command. Receive from it,
        to its end."""
        self.stderr = stderr
        """Receive from it, to its end."""
        self._requests = requests
        self._replies = replies
        self._control = control

    async def wait(self) -> int:
        """Wait until the command has ended and its outputs were read; returns its status, as in `Completed`.

        Raises `StartError` when it was not run, `chanlink.ChannelRefused` when the server does not serve us, another
        `chanlink.ChannelBroken` when the connection or the server was lost, `BadMessage`.
        """
        status, self.note = read_status(await _answer(self._requests, self._replies))
        return status

    async def signal(self, name: str) -> None:
        """Send a signal ("INT") to the command and its children.

        Once it ends after INT, QUIT or TERM, whatever it has left behind is stopped, too. Nothing happens when it has
        ended. Raises `BadMessage` for a name that is not known here.
        """
        signal_number(name)
        await self._say({"signal": name})

    async def resize(self, size: Size) -> None:
        """Give its terminal, if it has one, another size."""
        await self._say({"resize": list(size)})

    async def _say(self, message: dict[str, Any]) -> None:
        if self._control is None:
            raise RuntimeError("the command was started without control")
        with suppress(chanlink.ChannelBroken):
            await self._control.send(message)


@asynccontextmanager
async def start(
    session: chanlink.Session,
    argv: Sequence[Word],
    *,
    terminal: Size | None = None,
    control: bool = True,
    **settings: Unpack[Settings],
) -> AsyncGenerator[Command, None]:
    """Start a command: an async context manager that gives a `Command`. Nothing waits for the server.

    ``argv`` is the program and its arguments, exactly; there is no shell. With a ``terminal`` of some size, that is its
    input and both outputs; all that it writes is in ``stdio`` then. Read both outputs: a command waits when nobody
    takes what it writes. Without ``control`` it can be sent neither signals nor a size, and costs a channel less.

    Leaving the block stops the command if it still runs: its processes get TERM, and after five seconds KILL.
    """
    if not argv:
        raise ValueError("argv is empty")
    stdio, their_stdio = chanlink.byte_pipe()
    stderr, their_stderr = chanlink.byte_pipe()
    status, replies = chanlink.pipe()
    theirs: dict[str, Any] = {"stdio": their_stdio, "stderr": their_stderr, "status": status}
    ours: list[Any] = [stdio, stderr, replies]
    orders = None
    if control:
        orders, theirs["control"] = chanlink.pipe()
        ours.append(orders)
    async with AsyncExitStack() as ends:
        # Theirs too, for the case that the request can't be sent; closing an end that has moved does nothing.
        for end in (*theirs.values(), *ours):
            await ends.enter_async_context(end)
        await stderr.send_eof()  # nothing goes there
        requests: chanlink.Sender[Any] = await ends.enter_async_context(await session.open(SERVICE))
        await requests.send(run_message(argv, theirs, terminal=terminal, **settings))
        requests.close()  # here, so that it leaves with the request
        try:
            yield Command(requests, stdio, stderr, replies, orders)
        finally:
            _give_up(stdio, stderr)


async def _answer(requests: chanlink.Sender[Any], replies: chanlink.Receiver[Any]) -> object:
    try:
        return await replies.receive()
    except chanlink.ChannelError:
        await requests.flush()  # raises if the request was refused: then that is the reason
        raise


def _give_up(stdio: chanlink.ByteStream, stderr: chanlink.ByteStream) -> None:
    """Say of streams that are not over that the command is given up; of the input, lest it look like its end."""
    with suppress(chanlink.ChannelClosed):
        stdio.fail(CANCELLED)
    for output in (stdio, stderr):
        with suppress(chanlink.ChannelClosed):
            output.refuse(CANCELLED)


async def run(
    session: chanlink.Session,
    argv: Sequence[Word],
    *,
    stdin: bytes | ByteReceiveStream = b"",
    stdout: ByteSendStream | None = None,
    stderr: ByteSendStream | None = None,
    terminal: Size | None = None,
    beside: Callable[[Command], Coroutine[Any, Any, Any]] | None = None,
    **settings: Unpack[Settings],
) -> Completed:
    """Run a command to its end: feed it ``stdin``, and collect its outputs in memory or write them to streams.

    ``beside`` is called with the command, in a task that is cancelled when it has ended: to send it signals.

    Returns after everything that the command wrote has been written. The streams are not closed. An output stream that
    breaks is no error: the command gets SIGPIPE when it goes on writing there. Otherwise as `start` and `Command.wait`;
    also raises an `OSError` of the streams. Cancelled: the command is stopped, as by `start`.
    """
    outputs = io.BytesIO(), io.BytesIO()
    source = FileSource(io.BytesIO(stdin)) if isinstance(stdin, bytes) else stdin
    async with start(session, argv, terminal=terminal, control=beside is not None, **settings) as command:
        feeding = Attempt(copy_in, source, command.stdio)
        waiting = Attempt(command.wait)
        copying = (
            Attempt(copy_out, command.stdio, stdout or FileSink(outputs[0])),
            Attempt(copy_out, command.stderr, stderr or FileSink(outputs[1])),
        )
        if stdin == b"":
            await feeding()  # here, so that the end of the input leaves with the request
        async with anyio.create_task_group() as feeder:
            if stdin != b"":
                feeder.start_soon(feeding)
            if beside is not None:
                feeder.start_soon(beside, command)
            async with anyio.create_task_group() as tasks:
                for attempt in copying:
                    tasks.start_soon(attempt)
                await waiting()
            feeder.cancel_scope.cancel()  # the rest of the input is not wanted any more
    status = waiting.result()  # what `wait` raises is the reason for most of the other errors
    for moving in (feeding, *copying):
        moving.check()
    return Completed(status, outputs[0].getvalue(), outputs[1].getvalue(), command.note)


# --- commands that go on without us -------------------------------------------------------------


async def detach(session: chanlink.Session, argv: Sequence[Word], name: str = "", **settings: Unpack[Settings]) -> str:
    """Start a command that goes on when we leave, with an empty input; returns its name.

    The server keeps the end of its output for `attach`. Raises `StartError`, and otherwise as `Command.wait`.
    """
    answer = await _ask(session, lambda status: run_message(argv, {"status": status}, detach=name, **settings))
    return read_name(answer, "detached")


async def attach(
    session: chanlink.Session,
    name: str,
    *,
    stdout: ByteSendStream | None = None,
    stderr: ByteSendStream | None = None,
) -> Completed:
    """What a detached command has written, as far as it was kept, and what it writes until it ends.

    It waits for us if we are slow. Leaving it leaves it alone. Raises as `run`; `StartError` if there is none.
    """
    outputs = io.BytesIO(), io.BytesIO()
    our_stdout, their_stdout = chanlink.byte_pipe()
    our_stderr, their_stderr = chanlink.byte_pipe()
    copying = (
        Attempt(copy_out, our_stdout, stdout or FileSink(outputs[0])),
        Attempt(copy_out, our_stderr, stderr or FileSink(outputs[1])),
    )
    ends = {"stdout": their_stdout, "stderr": their_stderr}
    async with our_stdout, their_stdout, our_stderr, their_stderr:
        waiting = Attempt(_ask, session, lambda status: {"request": "attach", "name": name, **ends, "status": status})
        async with anyio.create_task_group() as tasks:
            for attempt in copying:
                tasks.start_soon(attempt)
            await waiting()
            for end in ends.values():
                end.close()  # they are still here if the request could not be sent
    answer = waiting.result()
    for attempt in copying:
        attempt.check()
    status, note = read_status(answer)
    return Completed(status, outputs[0].getvalue(), outputs[1].getvalue(), note)


async def kill(session: chanlink.Session, name: str, signal: str | None = None) -> None:
    """Stop a detached command (TERM, and after five seconds KILL) and wait for its end; or only send it a signal.

    Raises `StartError` if there is none, and otherwise as `Command.wait`.
    """
    request = {"request": "kill", "name": name} | ({} if signal is None else {"signal": signal})
    read_name(await _ask(session, lambda status: {**request, "status": status}), "killed")


async def listing(session: chanlink.Session) -> list[Listed]:
    """Our detached commands: those that run, and the last that have ended. Raises as `Command.wait`."""
    return read_list(await _ask(session, lambda status: {"request": "list", "status": status}))


async def _ask(session: chanlink.Session, request: Callable[[chanlink.Sender[Any]], dict[str, Any]]) -> object:
    status, replies = chanlink.pipe()
    requests: chanlink.Sender[Any] = await session.open(SERVICE)
    async with status, replies, requests:
        await requests.send(request(status))
        requests.close()
        return await _answer(requests, replies)
