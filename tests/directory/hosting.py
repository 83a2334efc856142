"""A directory that is served, and its clients."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from chanlink import Identity, Limits, Listener, Trust, listen
from chanlink.directory import Directory, MemoryStore, Store, directory_services

from .made import ALICE, BOB, MALLORY, identity

SERVER = identity(9, "directory")
EVERYBODY = Trust.of(ALICE.public_key, BOB.public_key, MALLORY.public_key)
QUICK = Limits(trust_interval=0.01)


class Served:
    """A directory at one address, which can be stopped and started again."""

    def __init__(self, tasks: TaskGroup, store: Callable[[], Store], trust: Trust) -> None:
        self._tasks = tasks
        self.store = store
        """What makes its store."""
        self.trust = trust
        self.address = "tcp://127.0.0.1:0"
        self._stop = anyio.Event()
        self._stopped = anyio.Event()
        self.listener: Listener

    async def start(self) -> None:
        self._stop, self._stopped = anyio.Event(), anyio.Event()
        self.listener = await self._tasks.start(self._run)
        self.address = self.listener.addresses[0]

    async def _run(self, *, task_status: TaskStatus[Listener]) -> None:
        async with directory_services(self.store()) as services:
            options: dict[str, Any] = {"identity": SERVER, "trust": self.trust, "services": services, "limits": QUICK}
            async with listen(self.address, **options) as listener:
                task_status.started(listener)
                await self._stop.wait()
        self._stopped.set()

    async def stop(self) -> None:
        self._stop.set()
        await self._stopped.wait()

    def directory(self, who: Identity = ALICE) -> Directory:
        return Directory(self.address, identity=who, peer=SERVER.public_key)


@asynccontextmanager
async def served(store: Callable[[], Store] = MemoryStore, trust: Trust = EVERYBODY) -> AsyncIterator[Served]:
    async with anyio.create_task_group() as tasks:
        one = Served(tasks, store, trust)
        await one.start()
        yield one
        await one.stop()


def trust_file(path: Path, **lines: Identity) -> Trust:
    """One with a line for each; the name of the argument says with which names, ``web1`` or ``web1_and_web2``."""
    text = "".join(f'names="{name.replace("_and_", ",")}" {who.public_key}\n' for name, who in lines.items())
    path.write_text(text)
    return Trust.load(path)
