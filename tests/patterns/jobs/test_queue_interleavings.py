"""A queue under random interleavings: each job has one outcome, on which all agree, and no attempt is given twice."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from chanlink import Receiver
from chanlink.patterns.jobs.payloads import pack, unpack_as
from chanlink.patterns.jobs.queue import work_queue
from chanlink.patterns.jobs.sqlite import SQLiteStore
from chanlink.testing import session_pair
from tests.patience import PATIENCE

from .raw import Asker, Worker, asker

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]

SEEDS = range(8)
ATTEMPTS = 4


class Player:
    """A worker that does anything, and remembers what it was told."""

    def __init__(self, worker: Worker, slots: int, log: "Log") -> None:
        self.worker = worker
        self.slots = slots
        self.free = slots
        self.jobs: dict[int, tuple[str, int]] = {}
        self.said: dict[int, tuple[str, int] | None] = {}
        """What it has ended; None if there is another attempt."""
        self.log = log

    async def ask(self, number: int) -> None:
        if 0 < number <= self.free:
            self.free -= number
            await self.worker.say(ask=number)

    def hear(self) -> None:
        """What has come."""
        while True:
            try:
                notice = self.worker.notices.receive_nowait()
            except anyio.WouldBlock:
                return
            self.take(notice)

    def take(self, notice: dict[str, Any]) -> None:
        if "job" in notice:
            attempt = notice["id"], notice["attempt"]
            self.log.given[attempt] += 1
            self.jobs[notice["job"]] = attempt
            assert len(self.jobs) <= self.slots
            return
        key = notice.get("counted", notice.get("stale"))
        if "counted" in notice:
            assert key in self.said
            if (job := self.said[key]) is not None:
                self.log.counted[job] += 1
        self.said.pop(key, None)
        if self.jobs.pop(key, None) is not None:
            self.free += 1

    async def end(self, rng: random.Random, words: list[str]) -> None:
        """Say what has become of a job."""
        if not self.jobs:
            return
        key = rng.choice([*self.jobs])
        word = rng.choice(words)
        if word == "progress":
            await self.worker.say(progress=key, value=pack(0.5))
            return
        job = self.jobs.pop(key)
        self.free += 1
        self.said[key] = None if word == "again" else job
        match word:
            case "done":
                await self.worker.done(key, [*job])
            case "failed":
                await self.worker.say(failed=key, code=f"by-{job[1]}")
            case "again":
                await self.worker.say(again=key, after=rng.choice([0, 0.002]), code="again")


class Log:
    """What all workers were told."""

    def __init__(self) -> None:
        self.given: Counter[tuple[str, int]] = Counter()
        self.counted: Counter[tuple[str, int]] = Counter()


class Game:
    def __init__(self, rng: random.Random, askers: list[Asker]) -> None:
        self.rng = rng
        self.askers = askers
        self.log = Log()
        self.players: list[Player] = []
        self.tickets: dict[str, list[Receiver[Any]]] = {}

    async def submit(self) -> None:
        job_id = str(self.rng.randrange(25))
        ticket = await self.rng.choice(self.askers).submit(job_id, id=job_id)
        self.tickets.setdefault(job_id, []).append(ticket)

    async def join(self) -> None:
        slots = self.rng.randint(1, 3)
        worker = await self.rng.choice(self.askers).work(slots=slots, ask=0)
        self.players.append(Player(worker, slots, self.log))

    async def step(self) -> None:
        player = self.rng.choice(self.players) if self.players else None
        match self.rng.choice(["submit", "submit", "join", "ask", "ask", "end", "end", "leave", "cancel", "rest"]):
            case "submit":
                await self.submit()
            case "join" if len(self.players) < 4:
                await self.join()
            case "ask" if player is not None:
                await player.ask(self.rng.randint(1, 3))
            case "end" if player is not None:
                player.hear()
                await player.end(self.rng, ["done", "failed", "again", "progress"])
            case "leave" if player is not None and self.rng.random() < 0.2:
                player.hear()
                player.worker.close()
                self.players.remove(player)
            case "cancel" if self.tickets and self.rng.random() < 0.3:
                answer = await self.askers[0].ask("cancel", id=self.rng.choice([*self.tickets]))
                answer.close()
            case _:
                await anyio.sleep(self.rng.choice([0, 0.002]))

    async def finish(self) -> dict[str, dict[str, Any]]:
        """Work until all have their outcome; gives these, on which all tickets agree."""
        if not self.players:
            await self.join()
        outcomes: dict[str, dict[str, Any]] = {}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.work)
            for job_id, tickets in self.tickets.items():
                lasts = [[message async for message in ticket][-1] for ticket in tickets]
                assert all(last == lasts[0] for last in lasts)
                outcomes[job_id] = lasts[0]
            tasks.cancel_scope.cancel()
        await anyio.sleep(0.01)
        for player in self.players:
            player.hear()
        return outcomes

    async def work(self) -> None:
        while True:
            for player in self.players:
                player.hear()
                await player.ask(player.free)
                await player.end(self.rng, ["done"])
            await anyio.sleep(0.001)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("silence", [60, 0.03])
@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_each_job_has_one_outcome_and_each_attempt_one_worker(
    seed: int, silence: float, store: str, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    kept = None if store == "memory" else SQLiteStore(tmp_path / "jobs.db", fsync=False)
    async with (
        work_queue(store=kept, silence=silence, attempts=ATTEMPTS) as queue,
        session_pair(services={"jobs": queue}) as (one, _),
        session_pair(services={"jobs": queue}) as (other, _),
        asker(one) as first,
        asker(other) as second,
    ):
        game = Game(rng, [first, second])
        for _ in range(150):
            await game.step()
        with anyio.fail_after(PATIENCE):
            outcomes = await game.finish()
            status = await first.answer("status")
        assert not any(status[state] for state in ("waiting", "delayed", "running"))
        for player in game.players:
            player.worker.close()
    check(game.log, outcomes)


def check(log: Log, outcomes: dict[str, dict[str, Any]]) -> None:
    assert set(log.given.values()) <= {1}, "an attempt was given twice"
    assert set(log.counted.values()) <= {1}
    counted = Counter(job_id for job_id, _ in log.counted)
    assert set(counted.values()) <= {1}, "two attempts of a job have counted"
    for (job_id, number), _ in log.counted.items():
        outcome = outcomes[job_id]
        if "done" in outcome:
            assert unpack_as(outcome["done"]) == [job_id, number]
        else:
            assert (outcome["failed"], outcome["attempt"]) == (f"by-{number}", number)
    assert max(number for _, number in log.given) <= ATTEMPTS
