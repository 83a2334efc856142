"""What is done to them, who looks up meanwhile, and what a right answer is.

One directory or one server of etcd is killed at a time, and is there again before the next one. Servers register again
and again. A right answer has the one entry of the name's owner, and no directory takes back what it has told somebody;
in the end all tell what was registered last. Whoever gets no answer from one directory gets it from another.
"""

import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import anyio

from chanlink import CallError, Identity, PublicKey
from chanlink.directory import Directory
from tests.command.calls import COMMAND, Keys, Server
from tests.etcd import Cluster
from tests.patience import PATIENCE
from tests.ports import free_port

NAMES = 20
TRIES = (2.0, 20.0)
"""Seconds for the first directory to answer, and for the next one."""


class Outcome(NamedTuple):
    """What a campaign has seen."""

    lookups: int
    seconds: float
    retried: int
    """Lookups that the first directory has not answered."""
    registered: int
    wrong: Sequence[str]
    lost: Sequence[str]


class Campaign:
    """Three directories, and those who use them."""

    def __init__(self, keys: Keys, cluster: Cluster, seed: int) -> None:
        self._keys = keys
        self._cluster = cluster
        self._random = random.Random(seed)
        self._ports = [free_port() for _ in range(3)]
        self._servers: list[Server] = []
        self._last: dict[str, int] = {}
        """By name: the serial that was registered last."""
        self._told: dict[tuple[Directory, str], int] = {}
        """By one reader's session with a directory, and name: which serial that has told."""
        self._owner = Identity.load(keys.home / "client")
        self._lookups = self._retried = self._registered = 0
        self._wrong: list[str] = []
        self._lost: list[str] = []

    async def run(self, rounds: int, readers: int, pause: float) -> Outcome:
        """Kill so many times, while so many look up without a break."""
        try:
            for number in range(3):
                self._servers.append(await anyio.to_thread.run_sync(self._start, number))
            async with self._clients(readers) as clients, anyio.create_task_group() as tasks:
                for number in range(NAMES):
                    await self._register(clients[0], f"web{number}")
                began = anyio.current_time()
                tasks.start_soon(self._keep_registering, clients[0])
                for mine in clients[1:]:
                    tasks.start_soon(self._look_up, mine)
                await anyio.sleep(pause)
                for _ in range(rounds):
                    await anyio.to_thread.run_sync(self._kill_one)
                    await anyio.sleep(pause)
                seconds = anyio.current_time() - began
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await self._agree(clients[1])
        finally:
            for server in self._servers:
                server.process.kill()
                server.process.wait(PATIENCE)
        return Outcome(self._lookups, seconds, self._retried, self._registered, self._wrong, self._lost)

    def _start(self, number: int) -> Server:
        store = "etcd://" + ",".join(one.removeprefix("http://") for one in self._cluster.endpoints)
        words = ["serve", f"tcp://127.0.0.1:{self._ports[number]}", "--store", store]
        return Server(self._keys, *words, command=[*COMMAND, "directory"])

    def _kill_one(self) -> None:
        """It is there again when this returns."""
        if self._random.random() < 0.5:
            number = self._random.randrange(3)
            self._servers[number].stop(signal.SIGKILL)
            self._servers[number] = self._start(number)
        else:
            member = self._random.choice(self._cluster.members)
            member.kill()
            self._cluster.start(member)

    @asynccontextmanager
    async def _clients(self, readers: int) -> AsyncIterator[list[list[Directory]]]:
        """For the one who registers, and for each reader: a session with each of the directories."""
        key = PublicKey.load(self._keys.home / "server.pub")
        async with AsyncExitStack() as stack:
            clients = [
                [Directory(f"tcp://127.0.0.1:{port}", identity=self._owner, peer=key) for port in self._ports]
                for _ in range(readers + 1)
            ]
            for mine in clients:
                for directory in mine:
                    await stack.enter_async_context(directory)
            yield clients

    async def _register(self, directories: list[Directory], name: str) -> None:
        for directory in self._random.sample(directories, 3):
            try:
                with anyio.fail_after(TRIES[1]):
                    entry = await directory.register(name, ["tcp://10.0.0.1:9323"], life=600)
            except (CallError, TimeoutError):
                continue
            self._registered += 1
            self._last[name] = entry.serial
            return

    async def _keep_registering(self, directories: list[Directory]) -> None:
        while True:
            await self._register(directories, f"web{self._random.randrange(NAMES)}")
            await anyio.sleep(0.02)

    async def _look_up(self, directories: list[Directory]) -> None:
        while True:
            name = f"web{self._random.randrange(NAMES)}"
            order = sorted(self._random.sample(directories, 3), key=lambda one: one.link.state != "ready")
            for attempt, directory in enumerate(order[:2]):
                try:
                    with anyio.fail_after(TRIES[attempt]):
                        found = await directory.lookup(name, fresh=True)
                except (CallError, TimeoutError) as exc:
                    self._retried += not attempt
                    if attempt:
                        self._lost.append(f"{name}: {exc!r}")
                    continue
                self._judge(directory, name, [(one.key, one.serial) for one in found])
                break
            self._lookups += 1

    def _judge(self, directory: Directory, name: str, found: list[tuple[PublicKey, int]]) -> None:
        if [key for key, _ in found] != [self._owner.public_key]:
            self._wrong.append(f"{name}: {len(found)} entries")
            return
        [(_, serial)] = found
        if serial < self._told.get((directory, name), 0):
            self._wrong.append(f"{name}: an older entry than before")
        self._told[directory, name] = serial

    async def _agree(self, directories: list[Directory]) -> None:
        """When nothing is killed any more, all of them come to tell what was registered last."""
        with anyio.fail_after(PATIENCE):
            for directory in directories:
                for name, last in self._last.items():
                    while not await self._tells(directory, name, last):
                        await anyio.sleep(0.05)

    async def _tells(self, directory: Directory, name: str, serial: int) -> bool:
        try:
            return any(one.serial >= serial for one in await directory.lookup(name, fresh=True))
        except CallError:
            return False
