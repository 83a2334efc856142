"""Traces and metrics by OpenTelemetry: spans of channels and calls that go on in the next process.

A channel is one span on each side, from its opening to its end; a call is one, too. Which span is inside which:

    channel to a service   on the side that opens it: in the span that is current there
    channel in a message   in the span of the channel that carries it; if another trace is current where it is sent, in
                           the span that is current, with a link to that of the channel that carries it
    channel that goes on   (a relay) in the span of the channel that it comes by
    call                   in the span that is current; its reply channel has none of its own
    the other side of each in the span of the side that has opened it

What it is that the other side is told of: docs/reference/protocol.md, sections 2.3 and 5; of calls, `call_context`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import Token
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any, cast

from chanlink.arguments import expect
from chanlink.errors import ConfigError
from chanlink.instrument import CallInfo, CallOutcome, ChannelInfo, ChannelTotals, Instrument
from chanlink.printing import printable

from .counting import BUCKETS, FAMILIES, Counts, Family

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider, Observation
    from opentelemetry.trace import Span, TracerProvider

LONGEST_PARENT, MOST_MEMBERS = 512, 32
"""Characters of a ``traceparent``, and members of a ``tracestate``, that are read."""
MEMBER = re.compile(
    r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
"""One of a ``tracestate``, by W3C Trace Context."""
HARMLESS = ("", "done", "closed", "cancelled", "draining", "not-taken")
"""Codes of a channel or call that was not wanted any more, which is no error of anybody."""


def need_opentelemetry() -> None:
    """Raise `ConfigError` if it is not installed."""
    try:
        import opentelemetry.trace.propagation.tracecontext  # noqa: F401
    except ImportError:
        raise ConfigError('traces and metrics need opentelemetry: pip install "chanlink[otel]"') from None


class Traces(Instrument):
    """An instrument that makes spans of channels and calls, by a tracer of OpenTelemetry.

    Give one to all that makes sessions in a program (``instruments=[traces]``). Without a ``provider`` the spans go
    where `opentelemetry.trace.get_tracer_provider` says. Services and methods run with their span as the current one,
    so that spans of their own are inside it; what they open or call, is, too.

    With ``joins=False`` spans of what peers open or call are not inside those that the peer says, but begin traces of
    their own, with a link to the peer's: for servers whose clients should not decide what is recorded.

    Raises `ConfigError` if opentelemetry is not installed, and `TypeError`.
    """

    def __init__(self, provider: "TracerProvider | None" = None, *, joins: bool = True) -> None:
        need_opentelemetry()
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        expect("provider", provider, trace.TracerProvider, NoneType)
        expect("joins", joins, bool)
        self._context, self._trace = context, trace
        self._w3c = TraceContextTextMapPropagator()
        self._tracer = trace.get_tracer("chanlink", tracer_provider=provider)
        self._joins = joins
        self._spans: dict[ChannelInfo | CallInfo, Span] = {}
        """Of what is open."""
        self._tokens: dict[CallInfo, Token[Any]] = {}
        """Of calls that are being carried out: what was the current context before."""

    # --- channels ---

    def channel_opened(self, channel: ChannelInfo, read: Callable[[], ChannelTotals]) -> str | None:
        inside, links = self._place_of(channel)
        if inside is None:
            return None
        kind = self._trace.SpanKind.CLIENT if channel.ours else self._trace.SpanKind.SERVER
        name = f"channel {channel.label}" if channel.parent is None else f"channel in {channel.label}"
        attributes = {
            "chanlink.service": printable(channel.service) if channel.known else "other",
            "chanlink.peer": channel.session.peer,
            "chanlink.end": channel.end,
        }
        span = self._tracer.start_span(name, inside, kind, attributes, self._links_to(links))
        self._spans[channel] = span
        return self._words_of(span)

    def _place_of(self, channel: ChannelInfo) -> "tuple[Context | None, list[Span]]":
        """In which context the span of a channel begins (None: it has no span), and to which others it is linked."""
        if channel.trace == "":
            return None, []
        if channel.trace is not None and (said := self._said_by(*_split(channel.trace))) is not None:
            return (said, []) if channel.ours else self._place_of_peers(said)
        if not channel.ours:
            return (self._context.Context(), []) if channel.parent is None else (None, [])
        current, carrier = self._trace.get_current_span(), self._spans.get(channel.parent) if channel.parent else None
        if channel.parent is None or carrier is None:
            return self._context.get_current(), []
        theirs = current.get_span_context()
        if theirs.is_valid and theirs.trace_id != carrier.get_span_context().trace_id:
            return self._context.get_current(), [carrier]
        return self._trace.set_span_in_context(carrier), []

    def _place_of_peers(self, said: "Context") -> "tuple[Context, list[Span]]":
        return (said, []) if self._joins else (self._context.Context(), [self._trace.get_current_span(said)])

    def service_begun(self, channel: ChannelInfo) -> None:
        span = self._spans.get(channel)
        if span is not None:  # for the rest of this task, which is that of the service
            self._context.attach(self._trace.set_span_in_context(span))

    def channel_ended(self, channel: ChannelInfo, totals: ChannelTotals) -> None:
        span = self._spans.pop(channel, None)
        if span is None:
            return
        span.set_attribute("chanlink.sent.messages", totals.sent)
        span.set_attribute("chanlink.taken.messages", totals.taken)
        span.set_attribute("chanlink.sent.bytes", totals.sent_bytes)
        span.set_attribute("chanlink.received.bytes", totals.received_bytes)
        self._end(span, totals.outcome, totals.code)

    def relay_joined(self, source: ChannelInfo, onward: ChannelInfo) -> None:
        for channel in source, onward:
            if (span := self._spans.get(channel)) is not None:
                span.set_attribute("chanlink.relayed", True)

    # --- calls ---

    def call_begun(self, call: CallInfo) -> Mapping[str, str] | None:
        inside, links = self._context.get_current(), cast("list[Span]", [])
        kind = self._trace.SpanKind.CLIENT
        if call.serves:
            kind = self._trace.SpanKind.SERVER
            said = self._said_by(call.context.get("traceparent", ""), call.context.get("tracestate", ""))
            if said is not None:
                inside, links = self._place_of_peers(said)
        attributes = {"rpc.system": "chanlink", "rpc.service": call.interface, "rpc.method": call.method}
        if call.serves:
            attributes["chanlink.peer"] = call.peer
        name = f"{call.interface}/{call.method}"
        span = self._tracer.start_span(name, inside, kind, attributes, self._links_to(links))
        self._spans[call] = span
        if call.serves:
            self._tokens[call] = self._context.attach(self._trace.set_span_in_context(span))
            return None
        carried: dict[str, str] = {}
        self._w3c.inject(carried, self._trace.set_span_in_context(span))
        return carried

    def call_ended(self, call: CallInfo, outcome: CallOutcome, code: str) -> None:
        if (token := self._tokens.pop(call, None)) is not None:
            self._context.detach(token)
        if (span := self._spans.pop(call, None)) is not None:
            self._end(span, outcome, code)

    # --- both ---

    def _end(self, span: "Span", outcome: str, code: str) -> None:
        code = printable(code)
        span.set_attribute("chanlink.outcome", outcome)
        if code:
            span.set_attribute("chanlink.code", code)
        harmless = ("session-closed",) if outcome == "lost" else HARMLESS
        if outcome not in ("ok", "ended", "cancelled") and code not in harmless:
            words = f"{outcome}: {code}" if code else outcome
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, words))
        span.end()

    def _links_to(self, spans: "list[Span]") -> list[Any]:
        return [self._trace.Link(span.get_span_context()) for span in spans]

    def _said_by(self, traceparent: str, tracestate: str) -> "Context | None":
        """The context that these words say; None if they say none: they may be anything."""
        if len(traceparent) > LONGEST_PARENT:
            return None
        words = {"traceparent": traceparent, "tracestate": tracestate if _is_tracestate(tracestate) else ""}
        said = self._w3c.extract(words, self._context.Context())
        return said if self._trace.get_current_span(said).get_span_context().is_valid else None

    def _words_of(self, span: "Span") -> str:
        """As they travel with the opening of a channel."""
        words: dict[str, str] = {}
        self._w3c.inject(words, self._trace.set_span_in_context(span))
        return " ".join(words[key] for key in ("traceparent", "tracestate") if words.get(key))


class Metrics(Counts):
    """An instrument that counts, and tells the counts to a meter of OpenTelemetry, which reads them when it exports.

    Give one to all that makes sessions in a program (``instruments=[metrics]``). Without a ``provider`` they go where
    `opentelemetry.metrics.get_meter_provider` says. What is counted is in `chanlink.observing.counting.FAMILIES`, and
    ``chanlink.call.duration`` is a histogram, in seconds.

    Raises `ConfigError` if opentelemetry is not installed, and `TypeError`.
    """

    def __init__(self, provider: "MeterProvider | None" = None) -> None:
        need_opentelemetry()
        from opentelemetry import metrics

        expect("provider", provider, metrics.MeterProvider, NoneType)
        super().__init__()
        self._observation = metrics.Observation
        meter = metrics.get_meter("chanlink", meter_provider=provider)
        for family in FAMILIES:
            is_counter = family.kind == "counter"
            create = meter.create_observable_counter if is_counter else meter.create_observable_up_down_counter
            unit = "By" if family.unit == "bytes" else "1"
            create(family.name, [partial(self._observed, family)], unit=unit, description=family.text)
        self._durations = meter.create_histogram(
            "chanlink.call.duration",
            unit="s",
            description="How long calls took.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )

    def _observed(self, family: Family, options: object) -> "Iterator[Observation]":
        for labels, count in self.samples(family).items():
            yield self._observation(count, dict(zip(family.labels, labels, strict=True)))

    def call_took(self, seconds: float, interface: str, method: str, side: str) -> None:
        super().call_took(seconds, interface, method, side)
        self._durations.record(seconds, {"interface": interface, "method": method, "side": side})


def _is_tracestate(words: str) -> bool:
    """Whether these are one. opentelemetry logs what is none as it came, and a peer may say anything."""
    members = [member.strip(" \t") for member in words.split(",")]
    return len(members) <= MOST_MEMBERS and all(not one or MEMBER.fullmatch(one) for one in members)


def _split(trace: str) -> tuple[str, str]:
    traceparent, _, tracestate = trace.partition(" ")
    return traceparent, tracestate
