"""A channel of requests: what lies there together is asked of the store together."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from operator import attrgetter
from secrets import token_hex
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from chanlink.channels.channel import Receiver
from chanlink.errors import ChannelError, DecodeError, MessageTypeError, StoreError
from chanlink.session.session import until_draining

from .core import Core
from .followers import STOPS, Follower
from .line import Line
from .outbox import answer
from .payloads import pack
from .requests import (
    MAX_FAILED,
    MAX_SLOTS,
    Ask,
    Refusal,
    Request,
    after_of,
    attached_of,
    id_of,
    number_of,
    payload_of,
    read_request,
    refuse_ends,
    says_of,
)
from .store import CANCELLED, STATES, Failed, Known, NewJob

AT_A_TIME = 256
"""Requests that are taken together, at most."""
SHOWN = 100
"""Workers, and jobs of each, that a status has."""
MAX_BYTES = 2 * 1024 * 1024
"""Of an answer that lists jobs: half of what a peer takes if it was told nothing else."""
NOT_STORED = "store-failed", "whether it was stored is not known; the log over there says why"

T = TypeVar("T")


class RequestChannel:
    """The requests of one client, and the lines of those that are workers."""

    def __init__(self, core: Core, requests: Receiver[Any], name: str, asks: Collection[Ask], lines: TaskGroup) -> None:
        """`asks` are those that it may ask. `lines` has a task for each line."""
        self._core = core
        self._requests = requests
        self._name = name
        self._asks = asks
        self._lines = lines
        self._submits = False
        self._followers: dict[Follower, None] = {}
        self._ended = anyio.Event()
        """One of them is over."""

    async def serve(self) -> None:
        """Until there are no more requests. What the answers have begun goes on."""
        try:
            while requests := await self._next():
                with stopping(requests):
                    for ask, group in groupby(requests, attrgetter("ask")):
                        await self._grant(ask, [*group])
        finally:
            if self._submits:
                self._core.submitter_left()

    async def _next(self) -> Sequence[Request]:
        """The next ones, all that lie there; none if there will be none."""
        requests: list[Request] = []
        while not requests:
            messages: list[Any] | None = None
            with until_draining():
                try:
                    messages = await self._requests.receive_many(AT_A_TIME)
                except (ChannelError, DecodeError):  # the client's business; its lines and tickets go on
                    return ()
            if messages is None:
                await self._drain()
                return ()
            requests = [request for request in map(read_request, messages) if request is not None]
        return requests

    async def _drain(self) -> None:
        """Nothing is granted any more. Whoever waits for what runs now is told what becomes of that."""
        self._requests.refuse(*STOPS)
        for follower in [*self._followers]:
            follower.drain(runs=self._core.attempts.newest(follower.job_id) is not None)
        while self._followers:
            self._ended = anyio.Event()
            await self._ended.wait()

    async def _grant(self, ask: Ask, requests: Sequence[Request]) -> None:
        """Answer requests of one sort."""
        if ask not in self._asks:
            for request in requests:
                request.answer.fail("not-allowed", f"this service does not take {ask}")
            return
        match ask:
            case "submit":
                await self._submit(requests)
            case "find":
                await self._find(requests)
            case "cancel" | "retry":
                await self._change(ask, requests)
            case "status" | "failed":
                for request in requests:
                    await self._tell(request)
            case "work":
                for request in requests:
                    with refusing(request):
                        self._work(request)

    # --- those who bring jobs, or look for them ---

    async def _submit(self, requests: Sequence[Request]) -> None:
        new: list[NewJob] = []
        followers: list[Follower] = []
        for request in requests:
            with refusing(request):
                job = self._new_job(request)
                followers.append(self._follower(job.id, request, attaches=job.attached))
                new.append(job)
        if not self._submits:
            self._submits = True
            self._core.submitter_came()
        try:
            added = await self._core.add(new)
        except StoreError as exc:
            self._core.store_failed(exc)
            for follower in followers:
                follower.fail(*NOT_STORED)
            return
        for follower, known in zip(followers, added, strict=True):
            if known is None:
                follower.fail("queue-full", "no more jobs may wait")
            else:
                self._core.opens(follower, known)

    def _new_job(self, request: Request) -> NewJob:
        """The job of a request. Raises `Refusal`."""
        entries = request.entries
        new = NewJob(
            id_of(entries) if "id" in entries else token_hex(16), payload_of(entries, "job"), attached_of(entries)
        )
        try:
            self._core.check_job(new.payload)
        except (DecodeError, MessageTypeError) as exc:
            raise Refusal("bad-job", str(exc)) from None
        return new

    def _follower(self, job_id: str, request: Request, *, attaches: bool = False) -> Follower:
        follower = Follower(job_id, request.answer, self._core.followers, attaches=attaches, over=self._over)
        self._followers[follower] = None
        return follower

    def _over(self, follower: Follower) -> None:
        del self._followers[follower]
        self._ended.set()

    async def _find(self, requests: Sequence[Request]) -> None:
        followers: list[Follower] = []
        for request in requests:
            with refusing(request):
                followers.append(self._follower(id_of(request.entries), request))
        try:
            found = await self._core.store.find([follower.job_id for follower in followers])
        except StoreError as exc:
            self._core.store_failed(exc)
            for follower in followers:
                follower.fail(*NOT_STORED)
            return
        for follower, known in zip(followers, found, strict=True):
            if known is None:
                follower.fail(*unknown(follower.job_id))
            else:
                self._core.opens(follower, known)

    async def _change(self, ask: Ask, requests: Sequence[Request]) -> None:
        """Cancel jobs, or retry them."""
        wanted: list[tuple[Request, str]] = []
        for request in requests:
            with refusing(request):
                wanted.append((request, id_of(request.entries)))
        ids = [job_id for _, job_id in wanted]
        try:
            found = await (self._core.cancel(ids) if ask == "cancel" else self._core.retry(ids))
        except StoreError as exc:
            self._core.store_failed(exc)
            for request, _ in wanted:
                request.answer.fail(*NOT_STORED)
            return
        for (request, job_id), known in zip(wanted, found, strict=True):
            if known is None:
                request.answer.fail(*unknown(job_id))
            else:
                answer(request.answer, word(known))

    async def _tell(self, request: Request) -> None:
        """Answer a question."""
        with refusing(request):
            try:
                answer(request.answer, await (self._status() if request.ask == "status" else self._failed(request)))
            except StoreError as exc:
                self._core.store_failed(exc)
                request.answer.fail(*NOT_STORED)

    async def _status(self) -> dict[str, Any]:
        workers = [
            {"name": line.name, "slots": line.slots, "running": fitting(islice(line.jobs(), SHOWN), MAX_BYTES // SHOWN)}
            for line in islice(self._core.lines, SHOWN)
        ]
        status: dict[str, Any] = {"workers": workers, "submitters": self._core.submitters}
        counts = await self._core.store.counts()
        return status | {state: counts[state] for state in STATES}

    async def _failed(self, request: Request) -> list[dict[str, Any]]:
        after, most = after_of(request.entries), number_of(request.entries, "most", MAX_FAILED)
        jobs = (
            {"id": job.id, "code": job.outcome.code, "text": job.outcome.text, "attempt": job.attempt}
            for job in await self._core.store.failed(after, most)
            if isinstance(job.outcome, Failed)
        )
        return fitting(jobs, MAX_BYTES)

    # --- those who work ---

    def _work(self, request: Request) -> None:
        core, entries = self._core, request.entries
        line = Line(
            request.answer,
            says_of(entries),
            name=self._name,
            slots=number_of(entries, "slots", MAX_SLOTS),
            check=core.check_result,
            attempts=core.attempts,
            outcomes=core.outcomes,
            lines=core,
        )
        core.enter(line)
        self._lines.start_soon(self._hear, line)

    async def _hear(self, line: Line) -> None:
        try:
            await line.run()
        finally:
            self._core.leave(line)


@contextmanager
def stopping(requests: Sequence[Request]) -> Iterator[None]:
    """Those that have no answer yet when the block is left by a cancellation get none: the queue stops."""
    try:
        yield
    finally:
        for request in requests:
            if not request.answer.is_void:
                request.answer.fail(*STOPS)
                refuse_ends(request.entries)


@contextmanager
def refusing(request: Request) -> Iterator[None]:
    """A `Refusal` in the block is the answer."""
    try:
        yield
    except Refusal as exc:
        request.answer.fail(exc.code, exc.text)
        refuse_ends(request.entries)


def unknown(job_id: str) -> tuple[str, str]:
    """Why there is no ticket for this job."""
    return "unknown-job", f"there is no job {job_id!r}, or it was forgotten"


def fitting(entries: Iterable[T], most: int) -> list[T]:
    """The first ones, as many as have no more than so many bytes together."""
    fit: list[T] = []
    for entry in entries:
        most -= len(pack(entry))
        if most < 0:
            break
        fit.append(entry)
    return fit


def word(known: Known) -> str:
    """What a job is, in one word."""
    if isinstance(known.outcome, Failed) and known.outcome.code == CANCELLED:
        return CANCELLED
    return "waiting" if known.state == "delayed" else known.state
