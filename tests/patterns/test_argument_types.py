"""Arguments of wrong types, at all patterns, as tests/test_argument_types.py has it for the rest; and what they say."""

import inspect
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

import chanlink
from chanlink import patterns
from chanlink.patterns import broadcast, cut, queue_client, watch, work_queue
from chanlink.patterns.jobs.job import Given, Job, Worker
from chanlink.testing import session_pair
from tests.test_argument_types import MADE_BY_US, NUMBERS, TEXTS, TYPES, Rows, check_rows

pytestmark = pytest.mark.anyio

SENDERS = (None, "x", 5)
SERVICE = {"session": (None, "x"), "service": TEXTS, "item_type": TYPES}
MESSAGES = {"messages": (*NUMBERS, None)}
REASON = {"code": TEXTS, "text": TEXTS}
WRONG: Rows = {
    "Broadcast.add": {"sender": SENDERS},
    "Broadcast.subscribe": {"capacity": NUMBERS},
    "Job.fail": REASON,
    "Job.retry": {"after": ("x", None), **REASON},
    "Policy": MESSAGES,
    "QueueClient.cancel": {"id": TEXTS},
    "QueueClient.failed": {"after": TEXTS, "most": NUMBERS},
    "QueueClient.find": {"id": TEXTS},
    "QueueClient.jobs": {"slots": NUMBERS},
    "QueueClient.retry": {"id": TEXTS},
    "QueueClient.submit": {"id": (5, b"x"), "attach": (5, "x")},
    "Subscription": {"receiver": (None, "x")},
    "MemoryStore": {"keep": ("x", None), "most_ended": (*NUMBERS, None)},
    "PostgresStore": {
        "conninfo": TEXTS,
        "queue": TEXTS,
        "lease": ("x", None),
        "keep": ("x", None),
        "most_ended": (*NUMBERS, None),
    },
    "SQLiteStore": {"path": (5, None), "fsync": (1, "x"), "keep": ("x", None), "most_ended": (*NUMBERS, None)},
    "Watch.add": {"sender": SENDERS},
    "WorkQueue.service": {"asks": (5, None)},
    "broadcast": {"policy": (None, cut), "item_type": TYPES},
    "cut": MESSAGES,
    "drop_oldest": MESSAGES,
    "follow": SERVICE,
    "queue_client": {"target": (None, "x"), "service": TEXTS, "job_type": TYPES, "result_type": TYPES},
    "subscribe": {**SERVICE, "capacity": NUMBERS},
    "wait": {**MESSAGES, "seconds": ("x", None)},
    "watch": {"item_type": TYPES},
    "work_queue": {
        "job_type": TYPES,
        "result_type": TYPES,
        "store": (5, "x"),
        "silence": ("x", None),
        "attempts": (*NUMBERS, None),
        "most": (*NUMBERS, None),
    },
}
WRONG |= {name.replace("QueueClient", "WorkQueue"): row for name, row in WRONG.items() if "QueueClient." in name}
ENCODED = "an `EncodeError` says where in the message stands what can't be sent"
ANYTHING = {
    "Broadcast": MADE_BY_US,
    "Broadcast.send": ENCODED,
    "Broadcast.send_nowait": ENCODED,
    "FailedJob": MADE_BY_US,
    "Job": MADE_BY_US,
    "Job.done": ENCODED,
    "Job.progress": ENCODED,
    "Jobs": MADE_BY_US,
    "QueueClient": MADE_BY_US,
    "QueueClient.submit(job)": ENCODED,
    "QueueStatus": MADE_BY_US,
    "Ticket": MADE_BY_US,
    "Watch": MADE_BY_US,
    "WorkQueue": MADE_BY_US,
    "WorkerStatus": MADE_BY_US,
    "Watch.set": ENCODED,
    "WorkQueue.submit(job)": ENCODED,
    "watch(value)": ENCODED,
}
STORES = ("MemoryStore", "PostgresStore", "SQLiteStore")
VERBS = ("add", "begin", "renew", "end", "cancel", "changes", "find", "retry", "counts", "failed")
ANYTHING |= {f"{store}.{verb}": "its queue calls it" for store in STORES for verb in VERBS}


class Unheard(Worker):
    """Nothing is ever said: all of it is wrong."""


def test_every_parameter_of_whatever_is_public_has_a_row() -> None:
    check_rows(patterns, WRONG, ANYTHING)


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_of_another_type_is_an_error_that_names_the_argument(name: str) -> None:
    async with session_pair() as (session, _), watch(1) as watched, broadcast(cut()) as news, work_queue() as queue:
        made = {
            "WorkQueue": queue,
            "Watch": watched,
            "Broadcast": news,
            "QueueClient": queue_client(session, "jobs"),
            "Job": Job(Unheard(), Given(1, "one", 1, None), 1, Any),
        }
        others: dict[str, dict[str, Any]] = {
            "broadcast": {"policy": cut()},
            "Job.fail": {"code": "x"},
            "PostgresStore": {"conninfo": "x"},
            "SQLiteStore": {"path": "x"},
            "QueueClient.submit": {"job": 1},
            "WorkQueue.submit": {"job": 1},
            "follow": {"session": session, "service": "x"},
            "queue_client": {"target": session, "service": "x"},
            "subscribe": {"session": session, "service": "x"},
            "wait": {"seconds": 1},
            "watch": {"value": 1},
        }
        owner, _, method = name.partition(".")
        function = getattr(made[owner], method) if method else getattr(patterns, name)
        for parameter, values in WRONG[name].items():
            for value in values:
                with pytest.raises(TypeError) as caught:
                    if parameter == "asks":
                        function(value)
                    await use(function(**{**others.get(name, {}), parameter: value}))
                named = "type of a message" if parameter.endswith("_type") else parameter
                assert named in str(caught.value), f"{name}({parameter}={value!r}): {caught.value}"


async def use(made: Any) -> None:
    if inspect.isawaitable(made):
        await made
    elif isinstance(made, AbstractAsyncContextManager):
        async with made:
            pass


async def test_those_who_tell_say_how_many_they_tell_and_a_subscription_where_its_messages_come_from() -> None:
    async with watch(1) as watched, broadcast(cut()) as news:
        assert repr(watched) == "<Watch with 0 subscribers>"
        receiver, subscription = watched.subscribe(), news.subscribe()
        assert repr(watched) == "<Watch with 1 subscribers>"
        assert repr(news) == "<Broadcast with 1 subscribers>"
        assert repr(subscription) == "<Subscription by <Receiver: open>>"
        news.send_nowait("x")
        selected = await chanlink.select(subscription)
        assert repr(selected).startswith(
            "Selected(index=0, channel=<Subscription by <Receiver: open, taken 1>>, value="
        )
        receiver.close()
        subscription.close()
