"""One call at a keeper: a client's descriptors and its command line; see `messages`."""

import contextlib
import io
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import anyio
from anyio.abc import SocketAttribute, UNIXSocketStream

import chanlink

from ...settings_file import expanded
from ..arguments import Options
from ..connecting import NO_TERMINAL, Destination, destination
from ..descriptors import FAILED
from ..parsing import parse
from ..run_options import add_run, check
from .messages import Records, ShareError, record
from .running import run_shared

READ = 64 * 1024


class Sessions(Protocol):
    """What a call needs of the keeper."""

    def session(
        self, where: Destination, options: Options
    ) -> contextlib.AbstractAsyncContextManager[chanlink.Session]: ...
    def describe(self) -> list[str]: ...
    def stop(self) -> None: ...


async def answer_call(stream: UNIXSocketStream, sessions: Sessions) -> None:
    """Do what a client asks for; its command is stopped when it goes away."""
    call = _Call(stream)
    try:
        with suppress(anyio.BrokenResourceError, anyio.EndOfStream, ShareError):
            _check_user(stream)
            await call.run(sessions)
    finally:
        call.close()


def _check_user(stream: UNIXSocketStream) -> None:
    """The folder of the socket keeps others out; where the system can tell whose process it is, look twice."""
    if hasattr(socket, "SO_PEERCRED"):
        raw = stream.extra(SocketAttribute.raw_socket).getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if struct.unpack("3i", raw)[1] != os.geteuid():
            raise ShareError("another user is at the socket")


class _Call:
    def __init__(self, stream: UNIXSocketStream) -> None:
        self._stream = stream
        self._records = Records()
        self._descriptors: list[int] = []
        self._signal, self._signals = chanlink.pipe()
        self._answer, self._answers = chanlink.pipe()

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        for end in (self._signal, self._signals, self._answer, self._answers):
            end.close()

    async def run(self, sessions: Sessions) -> None:
        data, self._descriptors = await self._stream.receive_fds(READ, 3)
        self._records.add(data)
        request = await self._next()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, tasks.cancel_scope)
            with suppress(anyio.BrokenResourceError):
                await self._say("status", str(await self._serve(request, sessions)))
                if request == [b"stop"]:
                    sessions.stop()
            tasks.cancel_scope.cancel()

    async def _next(self) -> list[bytes]:
        while (fields := self._records.take()) is None:
            self._records.add(await self._stream.receive(READ))
        return fields

    async def _listen(self, call: anyio.CancelScope) -> None:
        """What the client says while its command runs."""
        with suppress(anyio.BrokenResourceError, anyio.EndOfStream, ShareError):
            while True:
                match await self._next():
                    case [b"signal", name]:
                        await self._signal.send(name.decode(errors="replace"))
                    case [b"answer", text]:
                        await self._answer.send(text.decode(errors="replace"))
        call.cancel()

    async def _say(self, kind: str, text: str) -> None:
        """Have the client print something; an error may quote a server, all else is made printable before."""
        await self._stream.send(record(kind, chanlink.printable(text) if kind == "error" else text))

    # --- what is asked for ---

    async def _serve(self, request: Sequence[bytes], sessions: Sessions) -> int:
        match request:
            case [b"run", folder, *words] if words and len(self._descriptors) == 3:
                terminal, *argv = map(os.fsdecode, words)
                return await self._run(os.fsdecode(folder), terminal, argv, sessions)
            case [b"list"]:
                for line in sessions.describe():
                    await self._say("output", line)
                return 0
            case [b"stop"]:
                return 0
        await self._say("error", "the keeper does not understand this; end it with: rexec share --stop")
        return FAILED

    async def _run(self, folder: str, terminal: str, argv: Sequence[str], sessions: Sessions) -> int:
        options = await self._parse(argv)
        if isinstance(options, int):
            return options
        options.ask = self._ask
        if options.terminal and terminal:
            options.environment.insert(0, ("TERM", terminal))
        try:
            options.identity, options.peer = (_from(folder, name) for name in (options.identity, options.peer))
            where = destination(options, options.address)
            options.user = options.user or where.user
            async with sessions.session(where, options) as session:
                return await run_shared(session, options, self._descriptors, self._signals, self._say)
        except Exception as exc:
            await self._complain(options.explain(exc, options) or f"a defect: {type(exc).__name__}: {exc}")
            return FAILED

    async def _parse(self, argv: Sequence[str]) -> Options | int:
        """The options, or the exit status if that is all there is to do (--help, a mistake)."""
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                options = parse(argv, [add_run])
                check(options)
                return options
        except SystemExit as exc:
            if out.getvalue():
                await self._say("output", out.getvalue().rstrip("\n"))
            if err.getvalue():
                await self._complain(err.getvalue().rstrip("\n").removeprefix("rexec: "))
            return exc.code if isinstance(exc.code, int) else FAILED

    async def _complain(self, problem: str) -> None:
        await self._say("error", problem)

    async def _ask(self, question: str) -> bool:
        await self._say("ask", question)
        answer = await self._answers.receive()
        if answer == "no terminal":
            raise chanlink.ConfigError(NO_TERMINAL)
        return bool(answer.lower() == "yes")


def _from(folder: str, name: str | None) -> str | None:
    """A file that the client named, from where the client is. Raises `OSError` for a home folder that is not there."""
    return name if name is None or name.startswith("ssh-") else os.path.join(folder, expanded(name))
