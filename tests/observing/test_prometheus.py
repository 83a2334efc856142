"""Metrics for Prometheus: the text, as promtool reads it, and the server that hands it out."""

import re
import shutil
import socket
import subprocess
import sys
from typing import Any

import anyio
import pytest

prometheus_client = pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry  # noqa: E402
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402
from prometheus_client.registry import Collector  # noqa: E402

from chanlink import ConfigError  # noqa: E402
from chanlink.observing.counting import FAMILIES  # noqa: E402
from chanlink.observing.prometheus import AT_A_TIME, MAX_REQUEST, Metrics, serve  # noqa: E402
from chanlink.testing import session_pair  # noqa: E402
from tests.calls.calculators import CALC, OneCalculator  # noqa: E402
from tests.echo import ask, echo  # noqa: E402
from tests.patience import PATIENCE, until  # noqa: E402

pytestmark = pytest.mark.anyio


async def used() -> Metrics:
    """Those of a server that has done a little of all."""
    metrics = Metrics()
    services = {"echo": echo, "calc": CALC.serving(OneCalculator())}
    async with session_pair(services=services, server_instruments=[metrics]) as (client, server):
        assert await ask(client) == "hello"
        assert await CALC.client(client, "calc").add(1, 2) == 3
        (await client.open('made up"\n\\')).close()
        await until(lambda: server.statistics().channels == 1)
    metrics.connection_refused("somewhere", "untrusted")
    return metrics


async def test_the_text_says_what_was_counted() -> None:
    families = {one.name: one for one in text_string_to_metric_families((await used()).text().decode())}
    assert len(families) == len(FAMILIES) + 1
    (sent,) = families["chanlink_messages_taken"].samples[:1]
    assert (sent.name, sent.labels, sent.value) == (
        "chanlink_messages_taken_total",
        {"service": "calc", "opener": "peer"},
        1,
    )
    assert families["chanlink_connections_refused"].samples[0].labels == {"reason": "untrusted"}
    buckets = [one for one in families["chanlink_call_duration_seconds"].samples if one.name.endswith("_bucket")]
    assert [one.labels["le"] for one in buckets][-1] == "+Inf"
    assert buckets[-1].value == 1
    assert {one.labels["service"] for one in families["chanlink_channels_opened"].samples} == {"echo", "calc", "other"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_finds_nothing_wrong_with_it() -> None:
    text = (await used()).text()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


async def test_it_can_be_registered_with_the_metrics_of_a_program() -> None:
    registry = prometheus_client.CollectorRegistry()
    mine = prometheus_client.Counter("mine", "Mine.", registry=registry)
    mine.inc()
    metrics = await used()
    registry.register(metrics)
    text = prometheus_client.generate_latest(registry)
    assert b"mine_total 1.0" in text
    assert metrics.text() in text


async def request(port: int, data: bytes) -> bytes:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(data)
        answer = b""
        with anyio.fail_after(PATIENCE):
            try:
                while True:
                    answer += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return answer


GOOD = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def test_the_server_answers_what_it_knows_and_says_what_it_does_not() -> None:
    metrics = await used()
    async with anyio.create_task_group() as tasks:
        port = await tasks.start(lambda *, task_status: serve(metrics, port=0, task_status=task_status))
        head, _, body = (await request(port, GOOD)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n")
        assert body == metrics.text()
        assert int(re.search(rb"Content-Length: (\d+)", head)[1]) == len(body)  # type: ignore[index]
        assert (await request(port, b"HEAD /metrics?x=1 HTTP/1.1\r\nHost: [::1]:9\r\n\r\n")).endswith(b"\r\n\r\n")
        for data, status in {
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n": b"404",
            b"POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n": b"405",
            b"\x00\xff\r\n\r\n": b"400",
            b"GET /metrics\r\n\r\n": b"400",
            b"GET /metrics HTTP/1.1\r\n" + b"x" * 2 * MAX_REQUEST: b"400",
        }.items():
            assert (await request(port, data)).startswith(b"HTTP/1.1 " + status), data[:30]
        tasks.cancel_scope.cancel()


async def test_a_collector_that_fails_is_logged_and_others_may_ask_again(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Collector):
        def collect(self) -> Any:
            raise LookupError("a defect")

    registry = CollectorRegistry()
    registry.register(Failing())
    async with anyio.create_task_group() as tasks:
        port = await tasks.start(lambda *, task_status: serve(registry, port=0, task_status=task_status))
        for _ in range(2):
            assert (await request(port, GOOD)).startswith(b"HTTP/1.1 500 ")
        tasks.cancel_scope.cancel()
    assert "LookupError" in caplog.text


async def test_who_is_given_something_else_than_metrics_says_so_before_it_listens() -> None:
    with anyio.fail_after(PATIENCE):
        with pytest.raises(TypeError, match="metrics must be Metrics or CollectorRegistry, not str"):
            await serve("metrics", port=0)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="port must be int, not str"):
            await serve(Metrics(), port="0")  # type: ignore[arg-type]


async def test_it_listens_on_this_machine_only_unless_told_otherwise() -> None:
    async with anyio.create_task_group() as tasks:
        port = await tasks.start(lambda *, task_status: serve(Metrics(), port=0, task_status=task_status))
        with pytest.raises(OSError, match=r"refused|failed"):
            await anyio.connect_tcp("127.0.0.2", port)
        tasks.cancel_scope.cancel()


ELSEWHERE = b"GET /metrics HTTP/1.1\r\nHost: name-of-a-page.example:9464\r\n\r\n"


async def test_a_page_that_gives_our_address_a_name_of_its_own_reads_nothing() -> None:
    metrics = await used()
    async with anyio.create_task_group() as tasks:
        port = await tasks.start(lambda *, task_status: serve(metrics, port=0, task_status=task_status))
        for data in (ELSEWHERE, b"GET /metrics HTTP/1.0\r\n\r\n"):
            answer = await request(port, data)
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert b"chanlink_" not in answer
        tasks.cancel_scope.cancel()


async def test_on_addresses_that_others_reach_any_name_will_do() -> None:
    metrics = await used()
    async with anyio.create_task_group() as tasks:
        port = await tasks.start(lambda *, task_status: serve(metrics, host="0.0.0.0", port=0, task_status=task_status))
        assert (await request(port, ELSEWHERE)).startswith(b"HTTP/1.1 200 OK")
        tasks.cancel_scope.cancel()


async def test_who_says_nothing_keeps_nobody_from_asking() -> None:
    metrics = await used()
    async with anyio.create_task_group() as tasks:
        port = await tasks.start(lambda *, task_status: serve(metrics, port=0, task_status=task_status))
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(AT_A_TIME - 1)]
        assert (await request(port, GOOD)).startswith(b"HTTP/1.1 200 OK")
        silent.append(socket.create_connection(("127.0.0.1", port)))
        assert await request(port, GOOD) == b""
        for each in silent:
            each.close()
        await until_answered(port)
        tasks.cancel_scope.cancel()


async def until_answered(port: int) -> None:
    with anyio.fail_after(PATIENCE):
        while not (await request(port, GOOD)).startswith(b"HTTP/1.1 200 OK"):
            await anyio.sleep(0.01)


def test_without_prometheus_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client.metrics_core", None)
    with pytest.raises(ConfigError, match=r'pip install "chanlink\[prometheus\]"'):
        Metrics()
