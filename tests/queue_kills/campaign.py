"""Brings up a queue with workers and submitters, lets bad things happen to them, and asks what has become of the jobs.

At the end each job must have exactly one outcome, of which submitters, workers and the queue say the same.
"""

import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from chanlink import JobFailed, JobRefused
from chanlink.patterns import QueueClient, queue_client
from tests.kills.cutting import Proxy
from tests.patience import PATIENCE

from .bad_days import Clock, Disk
from .database import HOW, Database
from .diary import Tail
from .meeting import ENOUGH, Plan, link
from .processes import Process
from .promises import BAD, Outcome, Seen, broken

WORKERS, SUBMITTERS = 3, 2
QUEUES = {"memory": 1, "sqlite": 1, "postgres": 2}
"""How many processes of a queue there may be on one store."""
LOOK = 0.05
"""Seconds between two looks at how the processes are."""
JOBS, LULL = 20, 100
"""How many jobs end between two bad things, on the average; and after how many looks it is not waited for more."""
AT_A_TIME = 20
"""Jobs that are asked for."""
ANOTHER = 0.1
"""Seconds until a queue whose store has failed is asked again."""
HASTE = 10.0
"""Seconds for an answer that nobody depends on."""
HOUR = 3_600


class Place:
    """Where a queue is to be found: its port is ours though nobody listens, and what leads there can be cut."""

    def __init__(self) -> None:
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.port = self._holder.getsockname()[1]
        self.proxy = Proxy(f"tcp://127.0.0.1:{self.port}")

    def close(self) -> None:
        self.proxy.close()
        self._holder.close()


class Campaign:
    def __init__(self, folder: Path, store: str, seed: str, stack: ExitStack) -> None:
        self._folder = folder
        self._chance = random.Random(f"{seed} {store}")
        self._later: list[tuple[int, Callable[[], None]]] = []
        """What is to be done after so many looks."""
        self.seen: Counter[str] = Counter()
        self._clock = Clock(folder)
        self._disk = Disk(folder / "store") if store == "sqlite" else None
        self._database = Database(self._clock.of_database) if store == "postgres" else None
        for what in (self._disk, self._database):
            if what is not None:
                stack.callback(what.close)
        self.plan = Plan(seed, store, self._database.conninfo if self._database else "")
        self.plan.save(folder)
        self._places = [Place() for _ in range(QUEUES[store])]
        for place in self._places:
            stack.callback(place.close)
        self._begin(stack)

    def _begin(self, stack: ExitStack) -> None:
        def start(name: str, module: str, *arguments: str) -> Process:
            process = Process(self._folder, name, module, *arguments, clock=self._clock.file)
            stack.callback(process.kill)
            return process

        self._queues = [start(f"queue-{n}", "queue", str(place.port)) for n, place in enumerate(self._places)]
        places = len(self._places)
        self._workers, self._submitters = (
            [start(name := f"{module}-{n}", module, name, self._places[n % places].proxy.address) for n in range(count)]
            for module, count in (("worker", WORKERS), ("submitter", SUBMITTERS))
        )

    # --- what happens ---

    def run(self, rounds: int) -> None:
        """So often something bad happens, each time when some jobs have got through since; then all ends."""
        ended = Tail(self._folder, "submitter", "ended")
        happenings = self._happenings()
        for _ in range(rounds):
            self._wait_for(ended, self._chance.randrange(1, 2 * JOBS))
            happening = self._chance.choice(happenings)
            happening()
            self.seen[happening.__name__.strip("_").replace("_", " ")] += 1
        self._end()

    def _wait_for(self, ended: Tail, jobs: int) -> None:
        """Until so many have their outcome, or not so many for a while: then the next bad thing may come early."""
        for _ in range(LULL):
            self._tend()
            if (jobs := jobs - ended.more()) <= 0:
                break

    def _happenings(self) -> list[Callable[[], None]]:
        always = [
            self._kill_worker,
            self._stop_worker,
            self._end_worker,
            self._kill_submitter,
            self._cut,
            self._set_clock,
        ]
        kept = [self._kill_queue, self._stop_queue, self._end_queue]
        of_store = {
            "memory": [],
            "sqlite": [*kept, *([self._fill_disk] if self._disk and self._disk.is_small else [])],
            "postgres": [*kept, self._restart_database, self._cut_database],
        }
        return always + of_store[self.plan.store]

    def _tend(self) -> None:
        """What is gone is followed by another one, and what was put off is done."""
        for process in (*self._queues, *self._workers, *self._submitters):
            process.tend()
        self._later = [(looks - 1, what) for looks, what in self._later]
        due = [what for looks, what in self._later if looks <= 0]
        self._later = [entry for entry in self._later if entry[0] > 0]
        for what in due:
            what()
        time.sleep(LOOK)

    def _in(self, seconds: float, what: Callable[[], None]) -> None:
        self._later.append((int(seconds / LOOK), what))

    def _one(self, processes: list[Process]) -> Process:
        return self._chance.choice(processes)

    def _kill_worker(self) -> None:
        self._one(self._workers).kill()

    def _kill_submitter(self) -> None:
        self._one(self._submitters).kill()

    def _kill_queue(self) -> None:
        self._one(self._queues).kill()

    def _end_worker(self) -> None:
        self._one(self._workers).signal(signal.SIGTERM)

    def _end_queue(self) -> None:
        self._one(self._queues).signal(signal.SIGTERM)

    def _stop_worker(self) -> None:
        """It goes on when its jobs have been given to others."""
        self._stop(self._one(self._workers), self.plan.silence * self._chance.uniform(0.5, 2))

    def _stop_queue(self) -> None:
        """It goes on when others have its jobs, if there are others."""
        longest = self.plan.lease if len(self._queues) > 1 else self.plan.silence
        self._stop(self._one(self._queues), longest * self._chance.uniform(0.5, 2))

    def _stop(self, process: Process, seconds: float) -> None:
        process.signal(signal.SIGSTOP)
        self._in(seconds, lambda: process.signal(signal.SIGCONT))

    def _cut(self) -> None:
        self._chance.choice(self._places).proxy.cut()

    def _set_clock(self) -> None:
        self._clock.set(self._chance.choice([-24 * HOUR, -HOUR, -60, 0, 60, HOUR]))

    def _fill_disk(self) -> None:
        assert self._disk is not None
        self._disk.fill()
        self._in(self._chance.uniform(0.5, 2), self._disk.empty)

    def _restart_database(self) -> None:
        assert self._database is not None
        self._database.restart(self._chance.choice(HOW))

    def _cut_database(self) -> None:
        assert self._database is not None
        self._database.cut()

    # --- how it ends ---

    def _end(self) -> None:
        for _, what in self._later:
            what()
        self._later.clear()
        self._clock.set(0)
        self._tend()
        (self._folder / ENOUGH).touch()
        until = time.monotonic() + PATIENCE
        while any(submitter.runs for submitter in self._submitters):
            assert time.monotonic() < until, f"{self._unended()} have no outcome; {self._statuses()}"
            for process in (*self._queues, *self._workers):
                process.tend()
            for submitter in self._submitters:
                submitter.check()
            time.sleep(0.05)

    def _unended(self) -> list[str]:
        seen = Seen(self._folder)
        return [f"{job} ({kind})" for job, kind in seen.brought.items() if not seen.heard[job]][:20]

    def _statuses(self) -> list[str]:
        """What the queues say of themselves, as far as they do."""
        said = []
        for place in self._places:
            try:
                said.append(anyio.run(_status, self._folder, place.proxy.address))
            except TimeoutError:
                said.append("the queue does not answer")
        return said

    def check(self) -> Seen:
        """What was seen. Raises `AssertionError` with each promise that was broken."""
        seen = Seen(self._folder)
        for place in self._places:
            stored = anyio.run(_ask, self._folder, place.proxy.address, list(seen.brought))
            wrong = list(broken(seen, stored, self.plan))
            assert not wrong, "\n".join([f"{len(wrong)} promises are broken", *wrong[:30]])
        return seen


async def _ask(folder: Path, address: str, ids: list[str]) -> dict[str, Outcome | None]:
    """What a queue says of each job; and that nothing is left there to be done."""
    stored: dict[str, Outcome | None] = {}
    left = iter(ids)
    async with link(folder, address) as way:
        jobs = queue_client(way, "jobs")

        async def ask() -> None:
            for one in left:
                with anyio.fail_after(PATIENCE):
                    stored[one] = await _outcome(jobs, one)

        async with anyio.create_task_group() as tasks:
            for _ in range(AT_A_TIME):
                tasks.start_soon(ask)
        with anyio.fail_after(PATIENCE):
            status = await jobs.status()
        unended = {state: getattr(status, state) for state in ("waiting", "delayed", "running")}
        assert not any(unended.values()), f"something is left: {unended}"
    return stored


async def _status(folder: Path, address: str) -> str:
    with anyio.fail_after(HASTE):
        async with link(folder, address) as way:
            return str(await queue_client(way, "jobs").status())


async def _outcome(jobs: QueueClient[Any, Any], one: str) -> Outcome | None:
    while True:
        try:
            return Outcome("done", await (await jobs.find(one)).result())
        except JobFailed as exc:
            return Outcome(exc.code, exc.text if exc.code == BAD else "")
        except JobRefused as exc:
            if exc.code == "unknown-job":
                return None
            await anyio.sleep(ANOTHER)  # its store has not seen yet that there is a database again, say


class Report(NamedTuple):
    """Of one campaign."""

    store: str
    jobs: int
    attempts: int
    outcomes: Counter[str]
    happened: Counter[str]


def campaign(folder: Path, store: str, rounds: int, seed: str) -> Report:
    """So many bad days. Raises `AssertionError` for what must not be."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        run = Campaign(folder, store, seed, stack)
        run.run(rounds)
        seen = run.check()
    attempts = sum(line["what"] == "began" for lines in seen.worked.values() for line in lines)
    outcomes = Counter(outcomes[0].how for outcomes in seen.heard.values())
    return Report(store, len(seen.brought), attempts, outcomes, run.seen)
