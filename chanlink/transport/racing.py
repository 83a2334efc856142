"""Several ways to the same place: whichever is there first (RFC 8305)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio
from anyio.abc import AsyncResource

from chanlink.errors import ConnectFailed

R = TypeVar("R", bound=AsyncResource)

HEAD_START = 0.25
"""Seconds that one has before the next one begins, too (RFC 8305, section 5)."""


async def race(attempts: Sequence[Callable[[], Awaitable[R]]]) -> R:
    """What the first attempt gives that succeeds. The next one begins when the one before has failed, or has had its
    head start; when there is a result, the others are cancelled. Raises the `ConnectFailed` of the last one."""
    if len(attempts) == 1:
        return await attempts[0]()
    arrived: list[R] = []
    problems: dict[int, ConnectFailed] = {}

    async def run(number: int, over: anyio.Event) -> None:
        try:
            arrived.append(await attempts[number]())
            runners.cancel_scope.cancel()
        except ConnectFailed as exc:
            problems[number] = exc
        over.set()

    try:
        async with anyio.create_task_group() as runners:
            for number in range(len(attempts)):
                runners.start_soon(run, number, over := anyio.Event())
                with anyio.move_on_after(HEAD_START):
                    await over.wait()
        if not arrived:
            raise problems[len(attempts) - 1]
        return arrived.pop(0)
    finally:
        for late in arrived:  # two at the same moment; or the caller was cancelled then
            await late.aclose()
