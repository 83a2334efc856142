"""Spans of channels and calls: which is inside which, in this process and over several, and what keeps on working."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence, Sized
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import anyio
import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.context import get_current
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

import chanlink
from chanlink import CallError, CallFailed, ConfigError, Interface, Peer, Receiver, call_context
from chanlink.observing.counting import BUCKETS, FAMILIES
from chanlink.observing.opentelemetry import Metrics, Traces
from chanlink.testing import session_pair
from tests.echo import ask, echo
from tests.patience import PATIENCE, until

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


class Process:
    """What one process has for its traces; several of them may be in this one."""

    def __init__(self, **options: Any) -> None:
        self.exported = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exported))
        self.tracer = provider.get_tracer("program")
        self.traces = Traces(provider, **options)

    def span(self, name: str, kind: SpanKind | None = None) -> ReadableSpan:
        """The one that has ended, of this name."""
        found = [one for one in self.exported.get_finished_spans() if one.name == name and kind in (None, one.kind)]
        assert len(found) == 1, [one.name for one in self.exported.get_finished_spans()]
        return found[0]

    def names(self) -> list[str]:
        return sorted(one.name for one in self.exported.get_finished_spans())

    def has_ended(self) -> bool:
        return not self.traces._spans and not self.traces._tokens


def inside(inner: ReadableSpan, outer: ReadableSpan) -> bool:
    """Whether a span is right inside another one, perhaps of another process."""
    assert inner.context is not None
    assert outer.context is not None
    same = inner.context.trace_id == outer.context.trace_id
    return same and inner.parent is not None and inner.parent.span_id == outer.context.span_id


class Adder(Protocol):
    async def add(self, a: int, b: int) -> int: ...
    async def fail(self) -> None: ...


ADDER = Interface(Adder)


class OneAdder:
    def __init__(self, process: Process) -> None:
        self.process = process

    async def add(self, a: int, b: int) -> int:
        with self.process.tracer.start_as_current_span("work"):
            return a + b

    async def fail(self) -> None:
        raise LookupError("a secret")


async def test_a_channel_is_a_span_on_both_sides_and_spans_of_the_program_are_around_and_inside() -> None:
    here, there = Process(), Process()

    async def work(receiver: Receiver[Any], peer: Peer) -> None:
        async for _ in receiver:
            with there.tracer.start_as_current_span("work"):
                pass

    pair = session_pair(services={"work": work}, instruments=[here.traces], server_instruments=[there.traces])
    async with pair as (client, _server):
        with here.tracer.start_as_current_span("program"):
            async with await client.open("work") as sender:
                await sender.send("what nobody else sees")
        await until(lambda: here.has_ended() and there.has_ended())
    ours, theirs = here.span("channel work"), there.span("channel work")
    assert inside(ours, here.span("program"))
    assert inside(theirs, ours)
    assert inside(there.span("work"), theirs)
    assert (ours.kind, theirs.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert ours.attributes is not None
    assert ours.attributes["chanlink.sent.messages"] == 1
    assert theirs.attributes is not None
    assert theirs.attributes["chanlink.taken.messages"] == 1
    assert ours.status.status_code is StatusCode.UNSET
    assert "nobody" not in "".join(one.to_json() for one in here.exported.get_finished_spans())


async def test_a_channel_in_a_message_is_inside_the_one_that_carries_it() -> None:
    here, there = Process(), Process()
    services = {"echo": echo}
    pair = session_pair(services=services, instruments=[here.traces], server_instruments=[there.traces])
    async with pair as (client, _server):
        assert await ask(client, 5) == 5
        await until(lambda: here.has_ended() and there.has_ended())
    assert inside(here.span("channel in echo"), here.span("channel echo"))
    assert inside(there.span("channel in echo"), here.span("channel in echo"))
    assert here.span("channel echo").parent is None


async def test_of_a_channel_that_lives_longer_what_is_sent_belongs_to_whoever_sends_it() -> None:
    here = Process()
    async with session_pair(services={"echo": echo}, instruments=[here.traces]) as (client, _server):
        requests = await client.open("echo")
        for name in ("one", "two"):
            with here.tracer.start_as_current_span(name):
                reply, replies = chanlink.pipe()
                await requests.send({"value": name, "reply": reply})
                assert await replies.receive() == name
        requests.close()
        await until(here.has_ended)
    carrier = here.span("channel echo")
    replies_ = [one for one in here.exported.get_finished_spans() if one.name == "channel in echo"]
    assert [inside(one, here.span(name)) for one, name in zip(replies_, ("one", "two"), strict=True)] == [True, True]
    assert all(one.links[0].context == carrier.context for one in replies_)


async def test_a_call_is_one_span_on_each_side_and_its_reply_channel_none() -> None:
    here, there = Process(), Process()
    services = {"adder": ADDER.serving(OneAdder(there))}
    pair = session_pair(services=services, instruments=[here.traces], server_instruments=[there.traces])
    async with pair as (client, _server):
        adder = ADDER.client(client, "adder")
        for number in range(2):
            with here.tracer.start_as_current_span(f"program {number}"), call_context({"who": "me"}):
                assert await adder.add(number, 1) == number + 1
    assert here.names() == ["Adder/add"] * 2 + ["channel adder", "program 0", "program 1"]
    assert there.names() == ["Adder/add"] * 2 + ["channel adder", "work", "work"]
    calls = [one for one in here.exported.get_finished_spans() if one.name == "Adder/add"]
    carried_out = [one for one in there.exported.get_finished_spans() if one.name == "Adder/add"]
    works = [one for one in there.exported.get_finished_spans() if one.name == "work"]
    for number in range(2):
        assert inside(calls[number], here.span(f"program {number}"))
        assert inside(carried_out[number], calls[number])
        assert inside(works[number], carried_out[number])
    assert dict(calls[0].attributes or {}) == {
        "rpc.system": "chanlink",
        "rpc.service": "Adder",
        "rpc.method": "add",
        "chanlink.outcome": "ok",
    }
    assert here.has_ended()
    assert there.has_ended()


async def test_what_fails_is_an_error_of_its_span_with_a_code_and_no_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "chanlink")
    here, there = Process(), Process()
    services = {"adder": ADDER.serving(OneAdder(there))}
    pair = session_pair(services=services, instruments=[here.traces], server_instruments=[there.traces])
    async with pair as (client, _server):
        with pytest.raises(CallFailed):
            await ADDER.client(client, "adder").fail()
        await (await client.open("nowhere")).wait_closed()
        async with await client.open("adder") as sender:
            sender.fail("out-of-paper", "a secret")
        await until(lambda: there.names().count("channel adder") == 1)
    for process in here, there:
        assert process.span("Adder/fail").status.status_code is StatusCode.ERROR
        assert process.span("Adder/fail").status.description == "failed: handler-failed"
        assert "secret" not in "".join(one.to_json() for one in process.exported.get_finished_spans())
    assert here.span("channel nowhere").status.description == "refused: no-such-service"
    assert there.span("channel other").status.description == "refused: no-such-service"


def test_a_provider_of_another_kind_is_named_at_once() -> None:
    with pytest.raises(TypeError, match="provider must be TracerProvider or None, not str"):
        Traces("shop")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="provider must be MeterProvider or None, not TracerProvider"):
        Metrics(TracerProvider())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="joins must be bool, not str"):
        Traces(joins="no")  # type: ignore[arg-type]


@pytest.mark.parametrize("in_order", [True, False])
async def test_a_channel_of_a_session_that_was_closed_in_order_is_no_error(
    in_order: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "chanlink")
    here, there = Process(), Process()
    services = {"adder": ADDER.serving(OneAdder(there))}
    pair = session_pair(services=services, instruments=[here.traces], server_instruments=[there.traces])
    async with pair as (client, _server):
        assert await ADDER.client(client, "adder").add(1, 1) == 2
        if not in_order:
            client.abort()
    for process in (here, there) if in_order else (here,):  # the channel of calls is open as long as its session
        status = process.span("channel adder").status
        assert status.description == (None if in_order else "lost: aborted")
        assert status.status_code is (StatusCode.UNSET if in_order else StatusCode.ERROR)


@pytest.mark.parametrize("relay_traces", [True, False])
async def test_a_channel_and_what_travels_in_it_go_on_through_a_relay_in_one_trace(relay_traces: bool) -> None:
    first, middle, last = Process(), Process(), Process()

    async def receive_one(receiver: Receiver[Any], peer: Peer) -> None:
        async with await receiver.receive() as carried:
            inner = await carried.receive()
            with last.tracer.start_as_current_span("work"):
                await inner.send("done")
            inner.close()

    async def pass_on(receiver: Receiver[Any], peer: Peer) -> None:
        async with await onward.open("receive") as requests:
            await requests.send(await receiver.receive())
            await requests.wait_closed()

    between = [middle.traces] if relay_traces else []
    async with (
        session_pair(services={"receive": receive_one}, instruments=between, server_instruments=[last.traces]) as (
            onward,
            _,
        ),
        session_pair(services={"pass": pass_on}, instruments=[first.traces], server_instruments=between) as (client, _),
    ):
        with first.tracer.start_as_current_span("program"):
            sender, receiver = chanlink.pipe()
            async with await client.open("pass") as requests:
                await requests.send(receiver)
                inner, results = chanlink.pipe()
                await sender.send(inner)
                assert await results.receive() == "done"
                sender.close()
                await requests.wait_closed()
        await until(lambda: first.has_ended() and middle.has_ended() and last.has_ended())
    begun = [one for one in first.exported.get_finished_spans() if one.name == "channel in pass"]
    arrived = [one for one in last.exported.get_finished_spans() if one.name == "channel in receive"]
    trace_id = first.span("program").context.trace_id  # type: ignore[union-attr]
    assert len(begun) == len(arrived) == 2
    assert {one.context.trace_id for one in begun + arrived} == {trace_id}  # type: ignore[union-attr]
    if relay_traces:
        onto = [one for one in middle.exported.get_finished_spans() if one.name == "channel in receive"]
        came = [one for one in middle.exported.get_finished_spans() if one.name == "channel in pass"]
        for ours, source, onwards, theirs in zip(
            *(sorted(each, key=lambda one: one.start_time or 0) for each in (begun, came, onto, arrived)), strict=True
        ):
            assert inside(source, ours)
            assert inside(onwards, source)
            assert inside(theirs, onwards)
            assert source.attributes is not None
            assert source.attributes["chanlink.relayed"] is True
    else:
        for ours, theirs in zip(
            *(sorted(each, key=lambda one: one.start_time or 0) for each in (begun, arrived)), strict=True
        ):
            assert inside(theirs, ours)


async def test_a_server_that_does_not_join_begins_traces_of_its_own_and_links_to_those_of_peers() -> None:
    here, there = Process(), Process(joins=False)
    services = {"adder": ADDER.serving(OneAdder(there)), "echo": echo}
    pair = session_pair(services=services, instruments=[here.traces], server_instruments=[there.traces])
    async with pair as (client, _server):
        assert await ADDER.client(client, "adder").add(1, 2) == 3
        assert await ask(client) == "hello"
        await until(lambda: "channel in echo" in there.names())
    for name in "Adder/add", "channel echo", "channel in echo":
        ours, theirs = here.span(name), there.span(name)
        assert theirs.context is not None
        assert ours.context is not None
        assert theirs.context.trace_id != ours.context.trace_id
        assert theirs.links[0].context.span_id == ours.context.span_id


WORDS = [
    "",
    "x",
    "\x1b[31m\n",
    "00-" + "0" * 32 + "-b7ad6b7169203331-01",
    "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
    "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    "00-" + "é" * 32 + "-b7ad6b7169203331-01",
    "0" * 4_000,
]


@pytest.mark.parametrize("words", WORDS, ids=range(len(WORDS)))
async def test_what_a_peer_says_and_is_no_trace_is_as_if_it_had_said_nothing(words: str) -> None:
    there = Process()

    class Says(chanlink.observing.Instrument):  # type: ignore[name-defined,misc]
        def channel_opened(self, channel: Any, read: Any) -> str:
            return words

    services = {"adder": ADDER.serving(OneAdder(there)), "echo": echo}
    pair = session_pair(services=services, instruments=[Says()], server_instruments=[there.traces])
    async with pair as (client, _server):
        assert await ask(client) == "hello"
        with call_context({"traceparent": words[:2_000], "tracestate": words[:2_000]}):
            assert await ADDER.client(client, "adder").add(1, 2) == 3
    await until(there.has_ended)
    assert there.span("channel echo").parent is None
    assert inside(there.span("Adder/add"), there.span("channel adder"))
    assert "channel in echo" not in there.names()


PARENT = f"00-{'a' * 32}-{'b' * 16}-01"
STATES = [
    "\x1b[31mred",
    "a=b\n2026-11-30 ERROR all is lost",
    "é=1",
    "a",
    "a=b,a",
    ",".join(f"k{one}=1" for one in range(40)),
]


@pytest.mark.parametrize("state", STATES, ids=range(len(STATES)))
async def test_a_tracestate_that_is_none_is_not_in_the_log(state: str, caplog: pytest.LogCaptureFixture) -> None:
    there = Process()

    class Says(chanlink.observing.Instrument):  # type: ignore[name-defined,misc]
        def channel_opened(self, channel: Any, read: Any) -> str:
            return f"{PARENT} {state}"

    services = {"adder": ADDER.serving(OneAdder(there)), "echo": echo}
    pair = session_pair(services=services, instruments=[Says()], server_instruments=[there.traces])
    with caplog.at_level(logging.DEBUG):
        async with pair as (client, _server):
            assert await ask(client) == "hello"
            with call_context({"traceparent": PARENT, "tracestate": state}):
                assert await ADDER.client(client, "adder").add(1, 2) == 3
        await until(there.has_ended)
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []
    for name in "channel echo", "Adder/add":
        parent = there.span(name).parent
        assert parent is not None
        assert (f"{parent.span_id:x}", dict(parent.trace_state)) == ("b" * 16, {})  # what is readable is kept


async def test_a_tracestate_goes_on() -> None:
    there = Process()

    class Says(chanlink.observing.Instrument):  # type: ignore[name-defined,misc]
        def channel_opened(self, channel: Any, read: Any) -> str:
            return f"{PARENT} a=b , ,0x@y=c d"

    async with session_pair(services={"echo": echo}, instruments=[Says()], server_instruments=[there.traces]) as (
        client,
        _server,
    ):
        assert await ask(client) == "hello"
    await until(there.has_ended)
    parent = there.span("channel echo").parent
    assert parent is not None
    assert dict(parent.trace_state) == {"a": "b", "0x@y": "c d"}


async def test_nothing_stays_current_where_a_call_or_a_session_was() -> None:
    here, there = Process(), Process()
    before = get_current()
    services = {"adder": ADDER.serving(OneAdder(there)), "echo": echo}
    pair = session_pair(services=services, instruments=[here.traces], server_instruments=[there.traces])
    async with pair as (client, _server):
        adder = ADDER.client(client, "adder")
        for _ in range(20):
            await adder.add(1, 2)
        with pytest.raises(CallError):
            await ADDER.client(client, "nowhere").add(1, 2)
        assert await ask(client) == "hello"
        assert get_current() == before
        assert not get_current_span().get_span_context().is_valid
    assert here.has_ended()
    assert there.has_ended()


async def test_without_opentelemetry_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace.propagation.tracecontext", None)
    with pytest.raises(ConfigError, match=r'pip install "chanlink\[otel\]"'):
        Traces()


async def test_metrics_are_read_when_they_are_exported() -> None:
    reader = InMemoryMetricReader()
    metrics = Metrics(MeterProvider([reader]))
    services = {"adder": ADDER.serving(OneAdder(Process())), "echo": echo}
    async with session_pair(services=services, server_instruments=[metrics]) as (client, _server):
        assert await ADDER.client(client, "adder").add(1, 2) == 3
        assert await ask(client) == "hello"
        await until(lambda: metrics.times())
        data = reader.get_metrics_data()
        wanted = {family.name for family in FAMILIES if metrics.samples(family)} | {"chanlink.call.duration"}
    assert data is not None
    found = {
        metric.name: metric.data
        for each in data.resource_metrics
        for one in each.scope_metrics
        for metric in one.metrics
    }
    assert wanted == set(found)
    (sessions,) = found["chanlink.sessions"].data_points
    assert (sessions.value, dict(sessions.attributes)) == (1, {"side": "server"})
    taken = {point.attributes["service"]: point.value for point in found["chanlink.messages.taken"].data_points}
    assert taken == {"adder": 1, "echo": 1}
    (duration,) = found["chanlink.call.duration"].data_points
    assert (duration.count, duration.explicit_bounds) == (1, BUCKETS)


# --- exporters that are down, or slow -----------------------------------------------------------------


class Broken(SpanExporter):
    """Fails, or does not return, until it may."""

    def __init__(self, *, slow: bool) -> None:
        self.slow = slow
        self.may_go_on = threading.Event()
        self.asked = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        if self.slow:
            self.may_go_on.wait(PATIENCE)
        raise ConnectionError("nobody is there")

    def shutdown(self) -> None:
        self.may_go_on.set()


def queue_of(processor: Any) -> Sized:
    """The spans that wait for the exporter. Where the SDK keeps them has changed since the lowest version."""
    batches = getattr(processor, "_batch_processor", None)
    return batches._queue if batches is not None else processor.queue  # type: ignore[no-any-return]


@pytest.mark.parametrize("slow", [False, True], ids=["down", "slow"])
async def test_an_exporter_that_is_down_or_slow_costs_nothing_but_its_own_data(
    slow: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """All calls and channels go on while it fails, or hangs; what waits for it is bounded."""
    exporter = Broken(slow=slow)
    processor = BatchSpanProcessor(exporter, max_queue_size=64, max_export_batch_size=16, schedule_delay_millis=1)
    provider = TracerProvider()
    provider.add_span_processor(processor)
    traces = Traces(provider)
    there = Process()
    services = {"adder": ADDER.serving(OneAdder(there)), "echo": echo}
    try:
        async with session_pair(services=services, instruments=[traces], server_instruments=[traces]) as (client, _):
            adder = ADDER.client(client, "adder")
            await adder.add(1, 2)
            await until(exporter.asked.is_set)
            for number in range(200):
                assert await adder.add(number, 1) == number + 1
            assert await ask(client) == "hello"
            if slow:
                assert not exporter.may_go_on.is_set()  # it hangs all the time
                assert len(queue_of(processor)) <= 64
        assert not traces._spans
    finally:
        exporter.may_go_on.set()
        provider.shutdown()
    assert not [one for one in caplog.records if one.name.startswith("chanlink") and one.levelno >= logging.ERROR]


# --- three processes ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # as the other two
async def test_one_trace_follows_a_request_over_three_processes(tmp_path: Path) -> None:
    """A client calls a gateway, which opens a channel to a server and passes on an end of the client's."""
    identities = {name: chanlink.Identity.generate(name) for name in ("client", "gateway", "server")}
    for name, identity in identities.items():
        identity.save(tmp_path / name)
    async with AsyncExitStack() as stack:
        processes = []
        for name in "server", "gateway":
            command = [sys.executable, "-m", "tests.observing.traced", name, tmp_path]
            process = stack.enter_context(subprocess.Popen(command, cwd=ROOT))
            stack.callback(process.kill)
            processes.append(process)
        here = Process()
        session = await stack.enter_async_context(
            chanlink.connect(
                f"unix:{tmp_path}/gateway.socket",
                identity=identities["client"],
                peer=identities["gateway"].public_key,
                wait=PATIENCE,
                instruments=[here.traces],
            )
        )
        from .traced import GATEWAY

        with here.tracer.start_as_current_span("request"):
            reply, replies = chanlink.pipe()
            assert await GATEWAY.client(session, "gateway").pass_on(reply) == "passed on"
            assert await replies.receive() == "from the server"
            replies.close()
        await session.aclose()
        for process in processes:
            process.terminate()
        with anyio.fail_after(PATIENCE):
            for process in processes:
                await anyio.to_thread.run_sync(process.wait)
    trace_id = format(here.span("request").context.trace_id, "#034x")  # type: ignore[union-attr]
    spans = {}
    for name in "gateway", "server":
        lines = (tmp_path / f"{name}.spans").read_text().splitlines()
        spans[name] = [json.loads(line) for line in lines]
    wanted = {
        "gateway": {"Gateway/pass_on", "channel deliver", "channel in deliver"},
        "server": {"channel deliver", "channel in deliver", "work"},
    }
    for name, names in wanted.items():
        of_trace = {one["name"] for one in spans[name] if one["context"]["trace_id"] == trace_id}
        assert names <= of_trace, (name, spans[name])
    parents = {one["context"]["span_id"]: one["parent_id"] for each in spans.values() for one in each}
    parents |= {
        format(one.context.span_id, "#018x"): format(one.parent.span_id, "#018x") if one.parent else None
        for one in here.exported.get_finished_spans()
    }  # type: ignore[union-attr]
    (work,) = (one["context"]["span_id"] for one in spans["server"] if one["name"] == "work")
    way = [work]
    while (parent := parents[way[-1]]) is not None:
        way.append(parent)
    assert way[-1] == format(here.span("request").context.span_id, "#018x")  # type: ignore[union-attr]
