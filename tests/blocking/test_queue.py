"""Work queues from threads: jobs are brought, worked on, and left in every way."""

import gc
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

import chanlink
from chanlink import JobFailed, JobRefused, MessageTypeError, Trust, blocking
from chanlink.patterns import work_queue
from tests.patience import PATIENCE

from .conftest import ALICE, SERVER, connected


@asynccontextmanager
async def queue_server() -> AsyncGenerator[str, None]:
    async with work_queue(attempts=3) as queue:
        services = {"jobs": queue}
        trust = Trust.of(ALICE.public_key)
        async with chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=trust, services=services) as listener:
            yield listener.addresses[0]


@pytest.fixture
def address() -> Iterator[str]:
    """Of a queue that nobody else has."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(queue_server()) as address:
        yield address


@pytest.fixture
def session(address: str, backend: dict[str, Any]) -> Iterator[blocking.Session]:
    with connected(address, **backend) as session:
        yield session


def work(queue: blocking.QueueClient[Any, Any], jobs: int) -> None:
    """Double so many."""
    with queue.jobs() as work:
        for _, job in zip(range(jobs), work, strict=False):
            with job:
                job.progress("soon")
                assert job.done(job.value * 2)


def test_jobs_are_brought_and_worked_on(session: blocking.Session) -> None:
    queue = session.queue("jobs", int, int)
    assert repr(queue) == "<blocking <QueueClient of 'jobs'>>"
    with ThreadPoolExecutor() as threads, queue.submit(21, id="page-17", timeout=PATIENCE) as ticket:
        assert (ticket.id, ticket.new) == ("page-17", True)
        assert not queue.submit(1, id="page-17").new
        working = threads.submit(work, queue, 1)
        assert list(ticket.progress()) in ([], ["soon"])
        assert ticket.result(timeout=PATIENCE) == 42
        working.result(PATIENCE)
    found = queue.find("page-17")
    assert found.result() == 42
    assert "page-17" in repr(found)
    assert queue.status().done == 1


def test_a_loop_over_jobs_may_be_all_there_is(session: blocking.Session) -> None:
    queue = session.queue("jobs")
    tickets = [queue.submit(number) for number in range(3)]
    for number, job in enumerate(queue.jobs()):
        assert job.value == number
        assert job.attempt == 1
        assert not job.stale
        assert "attempt 1" in repr(job)
        job.done(None)
        if number == 2:
            break
    assert [ticket.result(timeout=PATIENCE) for ticket in tickets] == [None] * 3


def test_threads_share_the_jobs_of_a_worker(session: blocking.Session) -> None:
    queue = session.queue("jobs", int, int)
    together = threading.Barrier(3)
    with queue.jobs(slots=3) as work, ThreadPoolExecutor() as threads:

        def run() -> int:
            count = 0
            for job in work:
                with job:
                    if not count:
                        together.wait(PATIENCE)
                    count += 1
                    job.done(job.value)
            return count

        running = [threads.submit(run) for _ in range(3)]
        tickets = [queue.submit(number) for number in range(20)]
        assert [ticket.result(timeout=PATIENCE) for ticket in tickets] == [*range(20)]
        work.stop()
        assert sum(one.result(PATIENCE) for one in running) == 20
    assert repr(work) == "<blocking <Jobs for 3 slots>>"


def test_a_failure_is_the_error_that_it_is(session: blocking.Session) -> None:
    queue = session.queue("jobs")
    ticket = queue.submit(1, id="one")
    with queue.jobs() as work:
        with next(work) as job:
            assert job.fail("no-such-page", "17")
        with pytest.raises(JobFailed, match="no-such-page: 17"):
            ticket.result(timeout=PATIENCE)
        assert [one.id for one in queue.failed()] == ["one"]
        assert queue.retry("one") == "waiting"
        with next(work) as job:
            assert job.retry()
        with next(work) as job:
            assert job.attempt == 3
            assert job.done(2)
    assert queue.find("one").result(timeout=PATIENCE) == 2


def test_a_block_that_an_exception_leaves_is_a_retry_and_the_exception_goes_on(session: blocking.Session) -> None:
    queue = session.queue("jobs")
    ticket = queue.submit(1)
    with queue.jobs() as work:
        with pytest.raises(KeyboardInterrupt), next(work):
            raise KeyboardInterrupt
        with next(work) as job:
            assert job.attempt == 2
            job.done("at last")
    assert ticket.result(timeout=PATIENCE) == "at last"


def test_a_job_that_is_cancelled_is_stale(session: blocking.Session) -> None:
    queue = session.queue("jobs")
    one, other = queue.submit(1), queue.submit(2)
    with queue.jobs() as work, next(work) as job:
        assert [one.cancel(), queue.cancel(other.id)] == ["cancelled", "cancelled"]
        while not job.stale:
            session.ping()
        assert not job.done(1)
    for ticket in (one, other):
        with pytest.raises(JobFailed, match="cancelled"):
            ticket.result(timeout=PATIENCE)


def test_jobs_that_have_no_outcome_when_the_loop_is_left_are_given_again(session: blocking.Session) -> None:
    queue = session.queue("jobs")
    ticket = queue.submit(1)
    job = next(iter(queue.jobs()))
    gc.collect()
    with queue.jobs() as work, next(work) as again:
        assert again.attempt == 2
        assert job.stale
        again.done("by the second one")
    assert ticket.result(timeout=PATIENCE) == "by the second one"


def test_timeouts_lose_nothing(session: blocking.Session) -> None:
    queue = session.queue("jobs", int, str)
    ticket = queue.submit(1)
    with pytest.raises(TimeoutError):
        ticket.result(timeout=0.01)
    with queue.jobs() as work, next(work) as job:
        with pytest.raises(MessageTypeError):
            job.done(1)  # type: ignore[arg-type]
        assert job.done("one")
    assert ticket.result() == "one"
    ticket.close()


def test_ends_are_attached_by_functions_of_threads_and_by_async_ones(session: blocking.Session) -> None:
    queue = session.queue("jobs")
    kept: list[Any] = []

    def attach(attempt: int) -> Any:
        sender, receiver = session.pipe()
        kept.append(receiver)
        return {"out": sender, "attempt": attempt}

    async def attach_async(attempt: int) -> Any:
        return {"attempt": attempt}

    def work() -> None:
        with queue.jobs() as jobs, next(jobs) as job:
            assert job.attached["attempt"] == 1
            if job.value:
                job.attached["out"].send("hello")
            job.done(None)

    for function in (attach, attach_async):
        with ThreadPoolExecutor() as threads, queue.submit(function is attach, attach=function) as ticket:
            working = threads.submit(work)
            assert ticket.result(timeout=PATIENCE) is None
            working.result(PATIENCE)
    assert kept[0].receive(timeout=PATIENCE) == "hello"
    kept[0].close()


def test_a_service_that_there_is_not_is_said(session: blocking.Session) -> None:
    with pytest.raises(JobRefused, match="no-such-service"):
        session.queue("nothing").submit(1)
    with pytest.raises(JobRefused, match="no-such-service"):
        next(session.queue("nothing").jobs())


class Alarm(Exception):
    """What a signal handler raises, as that of Ctrl-C does."""


def interrupt(wait: Callable[[], object]) -> None:
    """Have a signal handler raise while this is waited for."""

    def ring(number: int, frame: object) -> None:
        raise Alarm

    before, me = signal.signal(signal.SIGUSR1, ring), threading.get_ident()
    ringing = threading.Timer(0.05, signal.pthread_kill, [me, signal.SIGUSR1])

    def interrupted() -> None:
        ringing.start()
        wait()

    try:
        with pytest.raises(Alarm):
            interrupted()
    finally:
        ringing.join()
        signal.signal(signal.SIGUSR1, before)


def test_ctrl_c_leaves_a_ticket_that_can_be_asked_again(session: blocking.Session) -> None:
    queue = session.queue("jobs")
    ticket = queue.submit(1)
    interrupt(ticket.result)
    interrupt(lambda: list(ticket.progress()))
    work(queue, 1)
    assert ticket.result(timeout=PATIENCE) == 2


def test_ctrl_c_leaves_a_worker_whose_jobs_others_get(session: blocking.Session) -> None:
    queue = session.queue("jobs")
    jobs = queue.jobs(slots=2)
    ticket = queue.submit(1)
    held = next(jobs)
    interrupt(lambda: next(jobs))
    with queue.jobs() as work, next(work) as again:
        assert (again.id, again.attempt, held.stale) == (held.id, 2, True)
        assert not held.done("too late")
        assert again.done("in time")
    assert ticket.result(timeout=PATIENCE) == "in time"
