"""What a client asks a queue, and what it says of the answers."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from chanlink import EncodeError, InterfaceError, JobLost, JobRefused, MessageTooLarge, MessageTypeError, Peer, Receiver
from chanlink.patterns import FailedJob, QueueClient, queue_client
from chanlink.patterns.jobs.payloads import pack
from chanlink.testing import session_pair
from tests.channels.pairs import settle
from tests.patience import PATIENCE, until

from .scripted import ScriptedQueue, scripted
from .test_status import STATUS

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks"), pytest.mark.without_sockets]


async def answered(call: Callable[[], Awaitable[Any]], queue: ScriptedQueue, ask: str, answer: Any) -> tuple[Any, Any]:
    """What a call returns, and what its request was."""
    results: list[Any] = []

    async def run() -> None:
        results.append(await call())

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            request = await queue.request(ask)
            async with request.pop("answer") as sender:
                await sender.send(answer)
    return results[0], request


async def test_what_it_asks_for_and_gets() -> None:
    async with scripted() as (client, queue):
        failed = [{"id": "a", "code": "c", "text": "t", "attempt": 2}]
        calls: list[tuple[Callable[[], Awaitable[Any]], str, Any, dict[str, Any]]] = [
            (lambda: client.cancel("one"), "cancel", "cancelled", {"id": "one"}),
            (lambda: client.retry("one"), "retry", "waiting", {"id": "one"}),
            (lambda: client.failed("a", 5), "failed", failed, {"after": "a", "most": 5}),
            (lambda: client.failed(), "failed", [], {"most": 100}),
            (client.status, "status", STATUS, {}),
        ]
        results = []
        for call, ask, answer, entries in calls:
            result, request = await answered(call, queue, ask, answer)
            assert request == {"ask": ask} | entries
            results.append(result)
        assert results[:4] == ["cancelled", "waiting", [FailedJob("a", "c", "t", 2)], []]
        assert results[4].submitters == 6


async def test_a_job_gets_the_id_that_it_is_given_or_a_random_one() -> None:
    async with scripted() as (client, queue):
        ids = set()
        first = {"state": "running", "attempt": 2, "new": False}
        for id in ("one", None, None):
            ticket, request = await answered(lambda id=id: client.submit([1], id=id), queue, "submit", first)
            assert (request["job"], request["id"], ticket.id, ticket.new) == (
                pack([1]),
                id or ticket.id,
                ticket.id,
                False,
            )
            ids.add(ticket.id)
            ticket.close()
        assert len(ids) == 3
        ticket, request = await answered(lambda: client.find("one"), queue, "find", first)
        assert request == {"ask": "find", "id": "one"}
        ticket.close()


@pytest.mark.parametrize("code", ["queue-full", "bad-job", "draining-not", "store-failed", "unknown-job"])
async def test_a_refusal_is_the_error_that_it_is(code: str) -> None:
    async with scripted() as (client, queue), anyio.create_task_group() as tasks:

        async def submit() -> None:
            with pytest.raises(JobLost if code == "draining-not" else JobRefused) as caught:
                await client.submit(1)
            assert code in str(caught.value)

        tasks.start_soon(submit)
        (await queue.request("submit"))["answer"].fail(code, "the text")


async def test_a_service_that_there_is_not_refuses() -> None:
    async with session_pair(services={}) as (session, _):
        client = queue_client(session, "jobs")
        with anyio.fail_after(PATIENCE), pytest.raises(JobRefused, match="no-such-service"):
            await client.submit(1)
        async with client.jobs() as work:
            with anyio.fail_after(PATIENCE), pytest.raises(JobRefused, match="no-such-service"):
                await anext(work)


async def test_a_session_that_is_over_is_said() -> None:
    async with session_pair(services={}) as (session, _):
        client = queue_client(session, "jobs")
        await session.aclose()
        with anyio.fail_after(PATIENCE), pytest.raises(JobRefused, match="no-session"):
            await client.status()


async def test_a_session_that_is_lost_meanwhile_leaves_it_unknown() -> None:
    queue = ScriptedQueue()
    async with session_pair(services={"jobs": queue}) as (session, server), anyio.create_task_group() as tasks:
        client = queue_client(session, "jobs")

        async def submit() -> None:
            with pytest.raises(JobLost):
                await client.submit(1)

        tasks.start_soon(submit)
        await queue.request("submit")
        server.abort()
    queue.close()


async def test_what_was_not_sent_when_the_session_is_lost_is_refused() -> None:
    outcomes: list[Exception] = []

    over = anyio.Event()

    async def deaf(requests: Receiver[Any], peer: Peer) -> None:
        await over.wait()

    async def submit(client: QueueClient[Any, Any]) -> None:
        with pytest.raises((JobLost, JobRefused)) as caught:
            await client.submit(bytes(300_000))
        outcomes.append(caught.value)

    async with session_pair(services={"jobs": deaf}) as (session, server):
        client = queue_client(session, "jobs")
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(submit, client)
            await until(lambda: client._way._channel and client._way._channel.statistics().waiting)
            await settle()
            server.abort()
        over.set()
        assert {type(error) for error in outcomes} == {JobLost, JobRefused}
        assert {error.code for error in outcomes if isinstance(error, JobRefused)} == {"session-lost"}


async def test_what_cannot_be_submitted_is_said_at_once() -> None:
    async with scripted(int) as (client, _):
        with pytest.raises(MessageTypeError):
            await client.submit("one")
        untyped: QueueClient[Any, Any] = queue_client(client._way._target, "jobs")
        with pytest.raises(EncodeError):
            await untyped.submit(object())
        with pytest.raises(MessageTooLarge):
            await untyped.submit(bytes(100_000_000))


async def test_arguments_are_checked() -> None:
    async with scripted() as (client, _):
        for id in ("", "x" * 201):
            with pytest.raises(ValueError, match="id"):
                await client.submit(1, id=id)
        with pytest.raises(TypeError, match="id"):
            await client.find(1)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="attach"):
            await client.submit(1, attach=1)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="most"):
            await client.failed(most=1_001)
        with pytest.raises(ValueError, match="slots"):
            client.jobs(slots=0)
        with pytest.raises(TypeError, match="slots"):
            client.jobs(slots="8")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="target"):
        queue_client("jobs", "jobs")  # type: ignore[call-overload]
    async with session_pair(services={}) as (session, _):
        with pytest.raises(InterfaceError):
            queue_client(session, "jobs", type(_))
