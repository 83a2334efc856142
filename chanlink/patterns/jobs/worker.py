"""`Jobs`: where the jobs of a worker come from, over one session or one after the other."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Generic, Self, TypeVar

import anyio
from anyio import AsyncContextManagerMixin, CancelScope
from anyio.lowlevel import checkpoint

from chanlink.channels.channel import Receiver, Sender, pipe
from chanlink.errors import ChannelClosed, ChannelError, DecodeError, JobError, JobLost
from chanlink.tasks import tasks_beside

from .job import Job
from .way import WORD, Tries, Way, again, is_end
from .work_channel import WorkChannel

J = TypeVar("J")
R = TypeVar("R")


class Jobs(AsyncContextManagerMixin, AsyncIterator[Job[J, R]], Generic[J, R]):
    """The jobs of a worker: an async context manager, and an async iterator inside its block, for any number of tasks.

    Made by `QueueClient.jobs`. A job is asked for when somebody waits for one here, and fewer than ``slots`` are worked
    on. More than one is asked for only if others are worked on meanwhile.

    Iterating stops when the queue stops in order, and after `stop`. It raises `JobRefused` when the queue takes no
    worker here, and `JobLost` when the way to it was lost. Over a `Link` it goes on with the next session; the jobs
    that were worked on are stale by then, as the queue gives them to others.

    When the block is left, jobs that were asked for and not taken out go back to the queue, and so do those that have
    no outcome. A queue that stops waits for the outcomes of what is worked on before it ends the iteration: say them as
    you go, and not behind the loop. What a job raises goes on out of its block, and so ends a task group around it,
    unless it is caught there.
    """

    def __init__(self, way: Way, slots: int, job_type: Any, result_type: Any) -> None:
        self._way = way
        self._slots = slots
        self._job_type = job_type
        self._result_type = result_type
        self._waiting = 0
        """How many tasks wait for a job."""
        self._channel: WorkChannel | None = None
        self._entered = False
        self._stopped = False
        self._over: JobError | None = None
        """Why no more jobs come, if not because of `stop`."""
        self._changed = anyio.Event()

    def __repr__(self) -> str:
        return f"<Jobs for {self._slots} slots>"

    async def __anext__(self) -> Job[J, R]:
        """The next job. Cancelled: none is lost."""
        if not self._entered:
            raise RuntimeError("jobs come inside of the block: async with client.jobs() as work")
        await checkpoint()
        self._waiting += 1
        try:
            while (job := self._next()) is None:
                await self._changed.wait()
            return job
        finally:
            self._waiting -= 1

    def _next(self) -> Job[J, R] | None:
        """The next job, if there is one; else it is asked for."""
        if self._channel is not None and self._channel.ready:
            return self._channel.ready.popleft()
        if self._stopped or (self._over is not None and is_end(self._over)):
            raise StopAsyncIteration
        if self._over is not None:
            raise again(self._over) from self._over
        if self._channel is not None:
            self._channel.ask()
        return None

    def stop(self) -> None:
        """Ask for no more jobs: iterating stops, and what is worked on may have its outcome. Twice is harmless."""
        self._stopped = True
        if self._channel is not None:
            self._channel.stop()
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # --- the task ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        if self._entered:
            raise RuntimeError("this block was entered before: ask the client for another one")
        self._entered = True
        async with tasks_beside() as tasks:
            tasks.start_soon(self._run)
            try:
                yield self
            finally:
                self.stop()
                tasks.cancel_scope.cancel()

    async def _run(self) -> None:
        """Work by one channel after the other."""
        tries = Tries(patient=True)
        try:
            while not self._stopped:
                await tries.failed(await self._work(tries))
        except JobError as exc:
            self._over = exc
            self._change()

    async def _work(self, tries: Tries) -> JobError:
        """Work by one channel until that is over; returns why."""
        says, hears = pipe()
        try:
            notices = await self._way.send({"ask": "work", "slots": self._slots, "says": hears}, tries)
        except BaseException:
            says.close()
            hears.close()
            raise
        channel = WorkChannel(says, self._slots, self._job_type, self._result_type, lambda: self._waiting)
        error: JobError = JobLost(ChannelClosed("the block of this worker was left"))
        try:
            self._channel = channel
            if self._stopped:
                channel.stop()
            self._change()
            error = await self._talk(channel, says, notices, tries)
        finally:
            self._channel = None
            with CancelScope(shield=True), anyio.move_on_after(WORD):
                await channel.flush()
            says.close()
            notices.close()
            channel.is_lost(error.cause if isinstance(error, JobLost) else error)
        return error

    async def _talk(self, channel: WorkChannel, says: Sender[Any], notices: Receiver[Any], tries: Tries) -> JobError:
        """Send and take what there is, until the channel is over; returns why."""
        async with anyio.create_task_group() as tasks:
            with CancelScope() as reading:
                tasks.start_soon(self._send_rest, channel, reading)
                error = await self._read(channel, notices, tries)
            tasks.cancel_scope.cancel()
        if reading.cancelled_caught:  # the queue hears no more, and its own channel has not said why
            return await self._way.why(await says.wait_closed())
        return error

    async def _send_rest(self, channel: WorkChannel, reading: CancelScope) -> None:
        await channel.send_rest()
        reading.deadline = anyio.current_time() + WORD  # what is under way still counts

    async def _read(self, channel: WorkChannel, notices: Receiver[Any], tries: Tries) -> JobError:
        while True:
            try:
                channel.take(await notices.receive())
            except (ChannelError, DecodeError) as exc:
                return await self._way.why(exc)
            except JobError as exc:
                return exc
            tries.succeeded()
            if channel.ready:
                self._change()
