"""Metrics for Prometheus: a collector of prometheus_client, and a small server that it can ask.

What is counted, and what it costs: counting.py.
"""

from collections.abc import Iterator
from ipaddress import ip_address
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import ByteStream, SocketAttribute, TaskStatus

from chanlink.arguments import expect
from chanlink.errors import ConfigError
from chanlink.printing import printable_logger

from .counting import BUCKETS, FAMILIES, Counts, Family
from .loopback import is_for_loopback

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

logger = printable_logger(__name__)

MAX_REQUEST = 8_192
"""The bytes of a request that are read."""
PATIENCE = 10.0
"""Seconds that a request, and its answer, may take."""
AT_A_TIME = 16
"""Who asks while so many others do is sent away."""


class Metrics(Counts):
    """An instrument that counts, and a collector of prometheus_client, which reads the counts when it is asked.

    Give one to all that makes sessions (``instruments=[metrics]``). Register it where the other metrics of the program
    are (``prometheus_client.REGISTRY.register(metrics)``), or let `serve` answer for it.

    Raises `ConfigError` if prometheus_client is not installed.
    """

    def __init__(self) -> None:
        try:
            import prometheus_client.metrics_core as core
        except ImportError:
            raise ConfigError('metrics need prometheus_client: pip install "chanlink[prometheus]"') from None
        super().__init__()
        self._core = core

    def collect(self) -> "Iterator[Metric]":
        """For prometheus_client: what there is to tell now."""
        for family in FAMILIES:
            metric = self._made(family)
            for labels, count in sorted(self.samples(family).items()):
                metric.add_metric(labels, count)
            yield metric
        name, text = "chanlink_call_duration_seconds", "How long calls took."
        histogram = self._core.HistogramMetricFamily(name, text, labels=("interface", "method", "side"))
        for labels, (counts, seconds) in sorted(self.times().items()):
            bounds = [*map(str, BUCKETS), "+Inf"]
            histogram.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), seconds)
        yield histogram

    def _made(self, family: Family) -> Any:
        kind = self._core.CounterMetricFamily if family.kind == "counter" else self._core.GaugeMetricFamily
        name = family.name.replace(".", "_") + (f"_{family.unit}" if family.unit else "")
        return kind(name, family.text, labels=family.labels)

    def text(self) -> bytes:
        """What there is to tell now, as Prometheus reads it (text format 0.0.4)."""
        return _text(_registry_of(self))


def _registry_of(metrics: "Metrics | CollectorRegistry") -> "CollectorRegistry":
    import prometheus_client

    if not isinstance(metrics, Metrics):
        expect("metrics", metrics, Metrics, prometheus_client.CollectorRegistry)
        return metrics
    registry = prometheus_client.CollectorRegistry()
    registry.register(metrics)
    return registry


def _text(registry: "CollectorRegistry") -> bytes:
    import prometheus_client

    return prometheus_client.generate_latest(registry)


async def serve(
    metrics: "Metrics | CollectorRegistry",
    *,
    host: str = "127.0.0.1",
    port: int = 9464,
    task_status: TaskStatus[int] = TASK_STATUS_IGNORED,
) -> None:
    """Answer Prometheus at ``http://host:port/metrics`` until cancelled. ``task_status.started`` gets the port.

    ``metrics`` are ours, or a registry with those of the whole program. Whoever reaches the address can read them: the
    names of services and methods, and how much they are used. So it is this machine alone unless ``host`` says
    otherwise, and there it answers those only who ask for ``localhost``, ``127.0.0.1`` or ``[::1]``: not the pages of
    others in a browser. Port 0 is any that is free. No thread is started; what is asked is answered by this event loop.

    Raises `OSError` if nobody can listen there, and `TypeError`.
    """
    expect("host", host, str)
    expect("port", port, int)
    registry = _registry_of(metrics)
    asking = 0

    async def answer(stream: ByteStream) -> None:
        nonlocal asking
        asking += 1
        try:
            async with stream:
                with anyio.move_on_after(PATIENCE):
                    if asking <= AT_A_TIME:
                        await stream.send(_answer_to(await _request(stream), registry, here_alone))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # it has gone
        finally:
            asking -= 1

    listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
    async with listener:
        hosts = [one.extra(SocketAttribute.local_address)[0] for one in listener.listeners]
        here_alone = all(ip_address(each).is_loopback for each in hosts)
        task_status.started(listener.listeners[0].extra(SocketAttribute.local_port))
        await listener.serve(answer)


async def _request(stream: ByteStream) -> bytes:
    """The head of a request, or as much of it as is read."""
    head = b""
    try:
        while b"\r\n\r\n" not in head and len(head) < MAX_REQUEST:
            head += await stream.receive(MAX_REQUEST)
    except anyio.EndOfStream:
        pass
    return head


def _answer_to(request: bytes, registry: "CollectorRegistry", here_alone: bool) -> bytes:
    method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
    path, _, version = rest.partition(b" ")
    if b"\r\n\r\n" not in request or not version.startswith(b"HTTP/1."):
        return _response("400 Bad Request", b"this is no request that can be read\n")
    if here_alone and not is_for_loopback(request.decode("latin-1")):
        return _response("403 Forbidden", b"ask for localhost: the metrics are for this machine alone\n")
    if method not in (b"GET", b"HEAD"):
        return _response("405 Method Not Allowed", b"only GET and HEAD are answered\n", "Allow: GET, HEAD\r\n")
    if path.partition(b"?")[0] != b"/metrics":
        return _response("404 Not Found", b"the metrics are at /metrics\n", with_body=method == b"GET")
    try:
        body = _text(registry)
    except Exception:  # of a collector of the program's: its defect, and others may ask again
        logger.exception("the metrics can't be told")
        return _response("500 Internal Server Error", b"the metrics can't be told: see the log\n")
    return _response("200 OK", body, kind="text/plain; version=0.0.4", with_body=method == b"GET")


def _response(status: str, body: bytes, more: str = "", *, kind: str = "text/plain", with_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        f"{more}X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")
