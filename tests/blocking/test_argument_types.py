"""Arguments of wrong types, at all that is public for threads, as tests/test_argument_types.py has it for the rest."""

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest

import chanlink
from chanlink import blocking, patterns
from chanlink.patterns.jobs.job import Given, Worker
from chanlink.patterns.jobs.way import Way
from tests.test_argument_types import FLAGS, HOLDS, MADE_BY_US, NUMBERS, TEXTS, TYPES, Adds, Rows, check_rows

from .conftest import ALICE, SERVER, connected

TIMES = ("x", [])
BACKENDS = {"backend": TEXTS, "backend_options": (5, ["x"])}
LOOP: Rows = {
    "byte_pipe": {"size": NUMBERS},
    "call": {"function": (None, "x"), "timeout": TIMES},
    "enter": {"block": (None, "x")},
    "iterate": {"function": (None, "x")},
    "pipe": {"capacity": NUMBERS, "item_type": TYPES, "check": FLAGS, "contract": (5, b"x")},
    "select": {"cases": (None, "x"), "timeout": TIMES},
}
WRONG: Rows = {
    "ByteStream.fail": {"code": TEXTS, "text": TEXTS},
    "ByteStream.receive": {"max_bytes": (*NUMBERS, None), "timeout": TIMES},
    "ByteStream.refuse": {"code": TEXTS, "reason": TEXTS},
    "ByteStream.send": {"data": ("x", 5, None), "timeout": TIMES},
    "ByteStream.wait_closed": {"timeout": TIMES},
    "Job.done": {"timeout": TIMES},
    "Job.fail": {"code": TEXTS, "text": TEXTS, "timeout": TIMES},
    "Job.progress": {"timeout": TIMES},
    "Job.retry": {"after": ("x", None), "code": TEXTS, "text": TEXTS, "timeout": TIMES},
    **{f"Loop.{name}": row for name, row in LOOP.items()},
    "QueueClient.cancel": {"id": TEXTS, "timeout": TIMES},
    "QueueClient.failed": {"after": TEXTS, "most": NUMBERS, "timeout": TIMES},
    "QueueClient.find": {"id": TEXTS, "timeout": TIMES},
    "QueueClient.jobs": {"slots": NUMBERS},
    "QueueClient.retry": {"id": TEXTS, "timeout": TIMES},
    "QueueClient.status": {"timeout": TIMES},
    "QueueClient.submit": {"id": (5, b"x"), "attach": (5, "x"), "timeout": TIMES},
    "Receiver.receive": {"timeout": TIMES},
    "Receiver.refuse": {"code": TEXTS, "reason": TEXTS},
    "Sender.fail": {"code": TEXTS, "text": TEXTS},
    "Sender.flush": {"timeout": TIMES},
    "Sender.send": {"timeout": TIMES},
    "Sender.wait_closed": {"timeout": TIMES},
    **{f"Session.{name}": row for name, row in LOOP.items()},
    "Session.client": {"interface": (None, Adds), "service": (5, b"x")},
    "Session.open": {
        "service": TEXTS,
        "item_type": TYPES,
        "capacity": NUMBERS,
        "check": FLAGS,
        "contract": (5, b"x"),
    },
    "Session.open_stream": {"service": TEXTS},
    "Session.ping": {"timeout": TIMES},
    "Session.queue": {"service": TEXTS, "job_type": TYPES, "result_type": TYPES},
    "Ticket.cancel": {"timeout": TIMES},
    "Ticket.result": {"timeout": TIMES},
    "connect": {"address": (5, None), **BACKENDS, "options": ({"timeout": "x"}, {"limits": {}}, {"eager": FLAGS})},
    "loop": BACKENDS,
}
ITS_OWN = "the function says what it takes"
ENCODED = "an `EncodeError` says where in the message stands what can't be sent"
ANYTHING = {
    "ByteStream": MADE_BY_US,
    "Iteration": MADE_BY_US,
    "Job": MADE_BY_US,
    "Job.done(result)": ENCODED,
    "Job.progress(value)": ENCODED,
    "Jobs": MADE_BY_US,
    "Loop": MADE_BY_US,
    "QueueClient": MADE_BY_US,
    "QueueClient.submit(job)": ENCODED,
    "Ticket": MADE_BY_US,
    "Loop.call(args)": ITS_OWN,
    "Loop.iterate(args)": ITS_OWN,
    "Loop.wrap": "what is no end is given back as it is",
    "Reader": MADE_BY_US,
    "Reader.readinto": "it is io's",
    "Receiver": MADE_BY_US,
    "Sender": MADE_BY_US,
    "Sender.send(item)": ENCODED,
    "Sender.sending": HOLDS,
    "Session": MADE_BY_US,
    "Session.call(args)": ITS_OWN,
    "Session.iterate(args)": ITS_OWN,
    "Session.wrap": "what is no end is given back as it is",
    "Writer": MADE_BY_US,
    "Writer.write": "it is io's",
}
OTHERS: dict[str, dict[str, Any]] = {
    "ByteStream.fail": {"code": "x"},
    "ByteStream.send": {"data": b"x"},
    "Job.done": {"result": 1},
    "Job.fail": {"code": "x"},
    "QueueClient.cancel": {"id": "x"},
    "QueueClient.find": {"id": "x"},
    "QueueClient.retry": {"id": "x"},
    "QueueClient.submit": {"job": 1},
    "Receiver.refuse": {"code": "x"},
    "Sender.fail": {"code": "x"},
    "Sender.send": {"item": 1},
    "Session.client": {"interface": chanlink.Interface(Adds), "service": "x"},
    "Session.open": {"service": "x"},
    "Session.queue": {"service": "x"},
}
"""What else has to be given."""
NAMES = {
    "cases": "case 0",
    "data": "bytes",
    **dict.fromkeys(("item_type", "job_type", "result_type"), "type of a message"),
}
"""How these parameters are named."""


async def nothing() -> None: ...


def test_every_parameter_of_whatever_is_public_has_a_row() -> None:
    check_rows(blocking, WRONG, ANYTHING)


@pytest.fixture(scope="module")
def here(server: str) -> Iterator[dict[str, Any]]:
    """One of each, to call methods of."""
    with ExitStack() as stack:
        session = stack.enter_context(connected(server))
        ends = [*session.pipe(), *session.byte_pipe()]
        for end in ends:
            stack.callback(end.close)
        yield {
            "Session": session,
            "Loop": session,
            "Sender": ends[0],
            "Receiver": ends[1],
            "ByteStream": ends[2],
            "QueueClient": session.queue("x"),
            **of_a_queue(session),
        }


class Unheard(Worker):
    """Nothing is ever said: all of it is wrong."""


def of_a_queue(session: blocking.Session) -> dict[str, Any]:
    """A ticket and a job of a queue that there is not."""

    async def make() -> dict[str, Any]:
        ticket = patterns.Ticket[Any](Way(session.session, "x"), "x", {}, Any)
        job = patterns.Job[Any, Any](Unheard(), Given(1, "x", 1, None), 1, Any)
        return {"Ticket": blocking.Ticket(session._portal, ticket), "Job": blocking.Job(session._portal, job)}

    return session.call(make)


def call(here: dict[str, Any], name: str, parameter: str, value: Any) -> Any:
    owner, _, method = name.partition(".")
    if name == "connect":
        given = {"address": "tcp://127.0.0.1:1", "identity": ALICE, "peer": SERVER.public_key}
        return blocking.connect(**{**given, **(value if parameter == "options" else {parameter: value})})
    if not method:
        return getattr(blocking, name)(**{parameter: value})
    function = getattr(here[owner], method)
    if parameter == "cases":
        return function(value)
    if method == "call" and parameter == "timeout":
        return function(nothing, timeout=value)
    if method == "select":
        return function(here["Receiver"], timeout=value)
    if parameter == "function":
        return function(value)
    return function(**{**OTHERS.get(name, {}), parameter: value})


@pytest.mark.parametrize("name", WRONG)
def test_what_is_of_another_type_is_an_error_that_names_the_argument(here: dict[str, Any], name: str) -> None:
    for parameter, values in WRONG[name].items():
        for value in values:
            with pytest.raises(TypeError) as caught:
                enter(call(here, name, parameter, value))
            named = next(iter(value)) if parameter == "options" else NAMES.get(parameter, parameter)
            assert named in str(caught.value), f"{name}({parameter}={value!r}): {caught.value}"
    assert not here["Session"].closed


def enter(block: Any) -> None:
    if isinstance(block, AbstractContextManager) and not inspect.isclass(block):
        with block:
            pass
