"""`Exec`: another program carries the bytes, by its standard input and output."""

import math
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio
from anyio import CancelScope
from anyio.abc import Process

from chanlink.arguments import expect
from chanlink.errors import ConfigError, ConnectFailed

from .address import reason_of
from .base import Transport
from .carried import Carrier, CarrierAttribute, Means
from .pipes import PipeTransport, make_room

FAREWELL = 1.0
"""Seconds that a child has to end after its input has, and again after TERM; then it is killed."""
_DEAF = 'trap "" INT QUIT; exec "$@"'
"""Ctrl-C is for the program that has the session: it may have something to say by it yet."""


class Exec(Carrier):
    """A program whose standard input and output carry a session, such as ``kubectl exec -i pod -- chanlink stdio``.

    Its words are given as they are, without a shell; its standard error is ours. It is started for each connection, and
    ended with it: its input ends, after a second it gets TERM, and after another one KILL. Ctrl-C on a terminal does
    not reach it. A program is no name for a server, so `connect` needs ``peer=``, or a `Trust`.
    """

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | os.PathLike[str] | None = None
    ) -> None:
        """``argv`` is the program and its words, ``env`` its whole environment if that is not ours, ``cwd`` the folder
        that it is started in. Raises `TypeError`, and `ConfigError` without any words."""
        if isinstance(argv, str) or not isinstance(argv, Sequence) or not all(isinstance(word, str) for word in argv):
            raise TypeError("argv must be words: ['kubectl', 'exec', '-i', ...]")
        expect("cwd", cwd, str, os.PathLike, type(None))
        if not argv:
            raise ConfigError("argv has no word: the first one is the program")
        if any("\0" in word for word in argv):
            raise ConfigError("a word of argv has a zero byte")
        self.argv = tuple(argv)
        self._env, self._cwd = env, cwd

    def __str__(self) -> str:
        return ""

    def __repr__(self) -> str:
        return f"Exec({list(self.argv)!r})"

    async def connect_with(self, means: Means) -> Transport:
        """As a `Carrier`."""
        return await start(self.argv, self._env, self._cwd)


async def start(
    argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: str | os.PathLike[str] | None = None
) -> "ChildTransport":
    """Start a program, and have its standard input and output. Raises `ConnectFailed`."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    try:
        make_room(ours_out)
        make_room(ours_in)
        process = await _open(argv, theirs_in, theirs_out, env, cwd)
    except BaseException:
        os.close(ours_in)
        os.close(ours_out)
        raise
    finally:
        os.close(theirs_in)
        os.close(theirs_out)
    return ChildTransport(ours_in, ours_out, process, argv[0])


async def _open(argv: Sequence[str], stdin: int, stdout: int, env: Any, cwd: Any) -> Process:
    words = ["/bin/sh", "-c", _DEAF, "sh", *argv]
    scope = CancelScope(shield=True)  # a child that nobody knows of would stay
    try:
        with scope:
            process = await anyio.open_process(words, stdin=stdin, stdout=stdout, stderr=None, env=env, cwd=cwd)
    except OSError as exc:
        raise ConnectFailed(f"{argv[0]}: {reason_of(exc)}") from exc
    return process


class ChildTransport(PipeTransport):
    """The pipes of a child, which ends with them."""

    def __init__(self, reading: int, writing: int, process: Process, name: str) -> None:
        super().__init__(reading, writing)
        self._process = process
        self._name = name
        self._is_over = False
        self._vouched = ""

    def vouch_for(self, key: str) -> None:
        """It has authenticated who has this key, a line of OpenSSH: see `CarrierAttribute.vouched_key`."""
        self._vouched = key

    def close_now(self) -> bool:
        """The child has to be waited for."""
        return False

    async def aclose(self) -> None:
        super().close_now()
        if self._is_over:
            return
        self._is_over = True
        with CancelScope(shield=True):
            if not (await self._ends(FAREWELL) or await self._ends(FAREWELL, self._process.terminate)):
                await self._ends(math.inf, self._process.kill)
            await self._process.aclose()

    async def _ends(self, seconds: float, end: Callable[[], None] = lambda: None) -> bool:
        """Whether the child ends within the time."""
        with suppress(ProcessLookupError):
            end()
        with anyio.move_on_after(seconds):
            await self._process.wait()
            return True
        return False

    async def why_ended(self) -> str:
        """What became of the child, if it has ended by itself; else nothing."""
        with anyio.move_on_after(FAREWELL):
            status = await self._process.wait()
            return f"{self._name} {words_of(status)}"
        return ""

    @property
    def extra_attributes(self) -> Any:
        why: Callable[[], Awaitable[str]] = self.why_ended
        known: dict[Any, Callable[[], Any]] = {CarrierAttribute.why_ended: lambda: why}
        if self._vouched:
            known[CarrierAttribute.vouched_key] = lambda: self._vouched
        return known


def words_of(status: int) -> str:
    """What a child's status says."""
    if status < 0:
        return f"was ended by signal {-status}"
    return f"ended with status {status}" + {126: ": it can't be run", 127: ": there is no such program"}.get(status, "")
