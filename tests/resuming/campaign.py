"""One exchange against one list of acts, and many of these."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from typing import NamedTuple
from unittest import mock

import anyio

import chanlink
from chanlink import Limits, Session, SessionClosed
from chanlink.security import handshake, handshake_server
from chanlink.security.keys.certificate import Role
from chanlink.security.rekey import Secrets, Thresholds
from chanlink.security.suites import Suite
from chanlink.testing import LocalServer, local_server
from tests.attacker.man import Man, attacker
from tests.patience import PATIENCE

from .acts import KINDS, Act, Trouble, random_acts
from .exchange import Exchange

KILLS = 40
"""Acts of one plan in a campaign: a session may come back a hundred times at once."""

KEPT = (65_536, 300_000, 16 * 1024 * 1024)
"""The least that there may be, and more: with little, senders wait for acknowledgements."""


class Plan(NamedTuple):
    """What happens to one session."""

    seed: int
    acts: Sequence[Act]
    at_the_end: int
    """So many of the acts are kept for when the session is being closed."""
    kept: int
    """What either side keeps of what it has sent: `Limits.unacknowledged`."""

    @property
    def limits(self) -> Limits:
        """On a busy machine, closing over a connection that breaks several times may take long."""
        return Limits(close=PATIENCE, unacknowledged=self.kept)


def random_plan(seed: int) -> Plan:
    chance = random.Random(seed)
    return Plan(seed, random_acts(chance, KILLS), chance.choice([0, 0, 1, 2, 3]), chance.choice(KEPT))


async def play(plan: Plan) -> Counter[str]:
    """One session. Raises `AssertionError` for what is wrong, `TimeoutError` if something hangs."""
    exchange, reasons = Exchange(random.Random(plan.seed)), {}
    with anyio.fail_after(PATIENCE):
        async with (
            local_server(limits=plan.limits) as server,
            attacker(server.address) as man,
            anyio.create_task_group() as tasks,
        ):
            trouble = Trouble(man, plan.acts, tasks)

            async def serve() -> None:
                session = await server.listener.accept()
                tasks.start_soon(nobody_else)
                await exchange.as_server(session)
                reasons["server"] = await session.wait_closed()

            async def nobody_else() -> None:
                raise AssertionError(f"a stranger: {await server.listener.accept()}")

            tasks.start_soon(serve)
            async with _connected(server, man, plan.limits) as client, anyio.create_task_group() as inner:
                inner.start_soon(exchange.as_client, client)
                trouble.begin()
                await trouble.until_left(plan.at_the_end)
                exchange.enough.set()
            reasons["client"] = await client.wait_closed()
            trouble.seen["epochs"] += client._below.epoch
            while "server" not in reasons:
                await anyio.sleep(0.002)
            tasks.cancel_scope.cancel()
    exchange.check()
    for side, reason in reasons.items():
        assert isinstance(reason, SessionClosed), f"{side}: {reason!r}"
        assert not reason.code, f"{side}: {reason!r}"
    trouble.seen["connections"] += len(man.connections)
    return trouble.seen + exchange.volume


def _connected(server: LocalServer, man: Man, limits: Limits) -> AbstractAsyncContextManager[Session]:
    return chanlink.connect(
        man.address, identity=server.identity("client"), peer=server.public_key, limits=limits, resume=PATIENCE / 2
    )


def kills(seen: Counter[str]) -> int:
    """How many acts were done; each cut a connection."""
    return sum(seen[kind] for kind in KINDS)


@contextmanager
def renewing() -> Iterator[None]:
    """Connections renew their keys after a little, so that many are cut in the middle of it."""
    often = partial(handshake.keys_for, thresholds=Thresholds(records=16, volume=10_000, burst=10**6))

    def keys_for(secrets: Secrets, suite: Suite, role: Role, thresholds: object = None) -> object:
        return often(secrets, suite, role)

    with mock.patch.object(handshake, "keys_for", keys_for), mock.patch.object(handshake_server, "keys_for", keys_for):
        yield


async def campaign(most: int, seed: int, at_once: int = 8) -> Counter[str]:
    """Plans with one seed after the other, some at once, until so many acts were done."""
    total: Counter[str] = Counter()
    seeds = iter(range(seed, seed + 10**9))

    async def work() -> None:
        while kills(total) < most:
            number = next(seeds)
            try:
                total.update(await play(random_plan(number)))
            except Exception as exc:
                exc.add_note(f"with the seed {number}")
                raise
            total["sessions"] += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(at_once):
            tasks.start_soon(work)
    return total
