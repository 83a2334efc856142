"""The task that hears what is in etcd: all of it, and then each change.

It hears one server. A server that is cut off from the others would go on to say nothing, as if nothing changed: so it
is asked now and then for something that it can answer only if most of the others agree. When it does not, another one
is heard, from the beginning, and meanwhile nobody goes by what was heard before.
"""

import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio
from anyio import CancelScope

from chanlink import StoreError, clock
from chanlink.printing import printable_logger

from . import gateway
from .gateway import Gateway
from .layout import Layout, Message, Row, below, encoded, text_of
from .replica import Replica

logger = printable_logger(__name__)

LOOK = 1.0
"""Seconds after which the server that is heard has to show that it still belongs to the others."""
GRACE = 5.0
"""Seconds for which what was heard is gone by while etcd is not: an election among its servers takes one or two."""
PAUSE = 0.5
"""Seconds, at most, after which another server is tried."""
PAGE = 500
"""Entries that are read at once."""
LEASES = 32
"""That are asked for at once."""
CATCHING_UP = 2.0
"""Seconds for which a change of ours is waited for, until it comes back."""


class Watching:
    """Hears etcd. `run` is its task."""

    def __init__(self, etcd: Gateway, layout: Layout, replica: Replica) -> None:
        self._gateway = etcd
        self._layout = layout
        self._replica = replica
        self._endpoint: str | None = None
        self.is_live = False
        """Whether what was heard is what there is, but for the last moment."""
        self._until = 0.0
        """What was heard is good until then, by our own clock, if nothing is heard any more."""
        self.problem: StoreError | None = None
        """Why it is not."""
        self._changed = anyio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._hear()
            except StoreError as exc:
                self.problem = exc
            if self.is_live:
                self._until = clock.now() + GRACE
                logger.warning("the directory does not hear etcd any more: %s", self.problem)
            self.is_live = False
            self._wake()
            await anyio.sleep(random.uniform(0, PAUSE))

    @property
    def is_fresh(self) -> bool:
        """Whether what there is can be told by what was heard."""
        return self.is_live or clock.now() < self._until

    async def tried(self) -> None:
        """Returns when etcd is heard. Raises `StoreError` when none of its servers could be."""
        with anyio.move_on_after(gateway.PATIENCE):
            while not self.is_live:
                await self._changed.wait()
            return
        raise StoreError(f"etcd can't be heard: {self.problem or 'it does not answer'}") from self.problem

    async def reached(self, revision: int) -> None:
        """Returns when what happened until then was heard, or will not be for now."""
        with anyio.move_on_after(CATCHING_UP):
            while self.is_live and self._replica.revision < revision:
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _hear(self) -> None:
        endpoint = self._endpoint = self._gateway.another(self._endpoint)
        revision = await self._load(endpoint)
        request = {**below(self._layout.entries), "start_revision": str(revision + 1)}
        async with (
            self._gateway.stream(endpoint, "/v3/watch", {"create_request": request}) as messages,
            anyio.create_task_group() as tasks,
        ):
            checked: list[StoreError] = []
            tasks.start_soon(self._check, endpoint, tasks.cancel_scope, checked)
            try:
                await self._follow(messages)
            except StoreError as exc:
                checked.append(exc)
            tasks.cancel_scope.cancel()
        raise checked[0]

    async def _check(self, endpoint: str, scope: CancelScope, checked: list[StoreError]) -> None:
        request = {**below(self._layout.entries), "count_only": True}
        while True:
            await anyio.sleep(LOOK)
            try:
                await self._gateway.call("/v3/kv/range", request, endpoint)
            except StoreError as exc:
                checked.append(exc)
                scope.cancel()
                return

    async def _follow(self, messages: AsyncIterator[Message]) -> None:
        async for message in messages:
            if message.get("canceled"):
                raise StoreError(f"etcd does not tell any more: {message.get('cancel_reason', '')!s:.200}")
            for event in message.get("events", ()):
                self._apply(event)
            if message.get("created"):
                self.is_live, self.problem = True, None
            else:
                self._replica.heard(int(message["header"]["revision"]))
            self._wake()

    def _apply(self, event: Mapping[str, Any]) -> None:
        if event.get("type") == "DELETE":
            self._replica.forget(*self._layout.which(text_of(event["kv"]["key"])))
        else:
            row = self._layout.row(event["kv"])
            self._replica.put(row, row.life)

    # --- all that there is ---

    async def _load(self, endpoint: str) -> int:
        """Read all entries, as of one moment; returns the revision of that."""
        rows: list[tuple[Row, float]] = []
        request = {**below(self._layout.entries), "limit": str(PAGE)}
        revision = "0"
        while True:
            answer = await self._gateway.call("/v3/kv/range", {**request, "revision": revision}, endpoint)
            kvs = answer.get("kvs", [])
            rows += await lives(self._gateway, [self._layout.row(kv) for kv in kvs])
            revision = revision if revision != "0" else str(answer["header"]["revision"])
            if not answer.get("more"):
                break
            request["key"] = encoded(text_of(kvs[-1]["key"]) + "\0")
        self._replica.replace(rows)
        self._replica.heard(int(revision))
        return int(revision)


async def lives(etcd: Gateway, rows: list[Row]) -> list[tuple[Row, float]]:
    """How long each lives from now on; without those that do so no more. Raises `StoreError`.

    Where the clock of its writer and ours can't both be right, etcd is asked.
    """
    found: dict[int, float] = {}
    limiter = anyio.CapacityLimiter(LEASES)
    problems: list[StoreError] = []

    async def ask(number: int, row: Row) -> None:
        async with limiter:
            try:
                found[number] = await _left(etcd, row)
            except StoreError as exc:
                problems.append(exc)

    async with anyio.create_task_group() as tasks:
        for number, row in enumerate(rows):
            guess = row.guess()
            if guess is not None:
                found[number] = guess
            else:
                tasks.start_soon(ask, number, row)
    if problems:
        raise problems[0]
    return [(row, found[number]) for number, row in enumerate(rows) if found[number] > 0]


async def _left(etcd: Gateway, row: Row) -> float:
    """By the clock of etcd, whose leases live for two seconds at least."""
    answer = await etcd.call("/v3/lease/timetolive", {"ID": row.lease})
    granted, left = int(answer.get("grantedTTL", 0)), int(answer.get("TTL", 0))
    return min(row.life, left - max(granted - row.life, 0))
