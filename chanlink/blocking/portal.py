"""An event loop in a thread of its own, for threads that hand it what is to be done, and wait.

anyio has a portal that does nearly that. Here is another one, for three reasons. A thread that gets an exception while
it waits there leaves without the value, and with it goes a message that had been taken (here: `Job`). Handing over
waits there for the event loop, too, which costs two more switches of threads. And a child process must not use, nor
wait for, a thread that only its parent has.

What a thread does here is, in this order: make the job, enter it in `_jobs`, look whether the event loop is gone, put
into `_inbox` what is to be called there, poke the event loop, whose first task calls it. Whoever ends the event loop
says first that it is gone, and refuses then what is left in `_jobs`. So no thread waits for what nobody will do.
"""

import builtins
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from types import NoneType
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import current_token

from chanlink import ConfigError
from chanlink.arguments import expect
from chanlink.forks import forget_in_child

from .jobs import NOTHING, Job, ignore

T = TypeVar("T")

LOOK = 0.1
"""Seconds for which a thread waits for a job it gave up before it looks whether the event loop is still there."""


class Portal:
    """The event loop, and its thread. `start` and `stop` are for one thread, the rest is for any."""

    def __init__(self, backend: str, backend_options: Mapping[str, Any] | None) -> None:
        expect("backend", backend, str)
        expect("backend_options", backend_options, Mapping, NoneType)
        self.backend = backend
        self._options = dict(backend_options or {})
        self._thread = threading.Thread(target=self._live, name=f"chanlink.blocking ({backend})", daemon=True)
        self._running = threading.Lock()
        """Held until the event loop runs, or could not."""
        self._stopping = self._gone = False
        self.is_forked = False
        """Whether this process is a child of the one that has the event loop."""
        self._error: Exception | None = None
        self._jobs: set[Job[Any]] = set()
        """All but those that are known to be over, and their value where it should be."""
        self._begun = threading.Lock()
        """Held until the thread runs."""
        self._inbox: deque[Callable[[], object]] = deque()
        self.tasks: TaskGroup
        self._something: anyio.Event
        self._call_soon: Callable[[Callable[[], object]], object] | None = None
        self._running.acquire()
        self._begun.acquire()
        forget_in_child(self)

    def forget(self) -> None:
        """A forked process has the event loop, but not the thread that runs it."""
        self.is_forked = True

    # --- the life of the event loop ---

    def start(self) -> None:
        """Raises `ConfigError` if there is no such backend, `RuntimeError` inside an event loop."""
        check_no_event_loop()
        try:
            self._thread.start()
            self._running.acquire()
        except BaseException:
            self.stop()
            raise
        if self._error is not None:
            raise ConfigError(f"the event loop of {self.backend!r} did not start: {self._error}") from self._error

    def stop(self) -> None:
        """End the event loop and what it still does, and wait for its thread. In a child of its process: nothing."""
        if self.is_forked:
            return
        self._stopping = True
        if self._call_soon is not None:
            self._wake()
        if self._thread.is_alive() or self._begun.acquire(timeout=LOOK):  # `start` may not have got to waiting for it
            self._thread.join()

    def _live(self) -> None:
        self._begun.release()
        try:
            anyio.run(self._main, backend=self.backend, backend_options=self._options)
        except Exception as exc:
            if self._call_soon is not None:
                raise  # a defect of ours
            self._error = exc
            self._running.release()
        finally:
            self._gone = True
            for job in list(self._jobs):
                self._refuse(job)

    async def _main(self) -> None:
        self._something = anyio.Event()
        async with anyio.create_task_group() as self.tasks:
            native: Any = current_token().native_token
            self._call_soon = getattr(native, "call_soon_threadsafe", None) or native.run_sync_soon
            self._running.release()
            while not self._stopping:
                await self._something.wait()
                self._something = anyio.Event()
                while self._inbox:
                    self._inbox.popleft()()
            self._gone = True
            self.tasks.cancel_scope.cancel()

    # --- what threads do ---

    def run(self, function: Callable[[], Awaitable[T]], unwanted: Callable[[T], object] = ignore) -> T:
        """Have the event loop run an async function, in the context of this thread, and wait for what comes of it.

        An exception in this thread cancels the function, and waits until it is over. If it had returned, `unwanted`
        gets its value, in the event loop. Raises `ConfigError` in a forked process, `RuntimeError` inside an event
        loop and after `stop`.
        """
        job = self.job(function, unwanted)
        try:
            self.hand_over(job)
            job.finished.acquire()
            # No call, so no signal, comes between this wait and the return.
            value, job.value, job.collected = job.value, NOTHING, True
            if job.error is None:
                return value
        except BaseException:
            job.left = True
            self.give_up(job)
            raise
        try:
            raise job.error
        finally:
            del job  # which is in the traceback that it has

    def run_sync(self, function: Callable[[], T]) -> T:
        """As `run`, for a function that does not wait."""

        async def once() -> T:
            return function()

        return self.run(once)

    def job(self, function: Callable[[], Awaitable[T]], unwanted: Callable[[T], object] = ignore) -> Job[T]:
        """A job that can be handed over. Raises as `run`."""
        if self.is_forked:
            raise ConfigError(
                "the event loop belongs to the process that this one was forked from: connect anew in this one"
            )
        if threading.get_ident() == self._thread.ident:
            raise RuntimeError("this is the event loop, which would wait for itself: await the function itself")
        check_no_event_loop()
        return Job(function, unwanted)

    def hand_over(self, job: Job[Any]) -> None:
        """Have a job done; `give_up` in case of an exception, also one that this raises."""
        self._jobs.add(job)
        if self._gone or self._stopping:
            self._refuse(job)
        else:
            self.poke(partial(self._start, job))

    def _start(self, job: Job[Any]) -> None:
        """In the event loop, also: what threads have left is given up, before anything that they ask for later."""
        for other in list(self._jobs):
            if not other.look():
                self._jobs.discard(other)
        job.start(self.tasks)

    def _refuse(self, job: Job[Any]) -> None:
        """The event loop will not do it. Two threads may say so at once: who takes it out of the set is the one."""
        with suppress(KeyError):
            self._jobs.remove(job)
            job.refuse()

    def give_up(self, job: Job[Any]) -> None:
        """Cancel a job, also one that is over, and wait until it is. An exception in this thread ends the wait."""
        try:
            self.poke(job.give_up)
            while not job.settled.acquire(timeout=LOOK) and self._thread.is_alive():
                pass
        except BaseException:
            self.poke(job.give_up)  # the first may not have reached it
            raise

    def poke(self, callback: Callable[[], object]) -> None:
        """Have it called in the event loop, if there is one, with what this thread has of context variables."""
        if not self.is_forked and self._call_soon is not None:
            self._inbox.append(partial(copy_context().run, callback))
            self._wake()

    def _wake(self) -> None:
        assert self._call_soon is not None
        try:
            self._call_soon(lambda: self._something.set())  # that one which is waited for then
        except RuntimeError:
            if not self._gone:
                raise


def check_no_event_loop() -> None:
    """Raise `RuntimeError` if to wait here would stop an event loop. In a notebook, whose cells run in one, it may."""
    if hasattr(builtins, "__IPYTHON__"):
        return
    try:
        current_token()
    except RuntimeError:
        return
    raise RuntimeError("this would stop the event loop that runs in this thread: use chanlink itself there")
