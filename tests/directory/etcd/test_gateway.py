"""Requests to servers of etcd, and to what is none."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from chanlink import StoreError
from chanlink.directory.etcd import gateway
from chanlink.directory.etcd.gateway import Gateway
from chanlink.directory.etcd.layout import encoded
from tests.etcd import Cluster
from tests.patience import PATIENCE

pytest.importorskip("httpx")
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]
NOBODY = "http://127.0.0.1:1"
RANGE = "/v3/kv/range"


def ask_of(*endpoints: str) -> Gateway:
    return Gateway(endpoints, "", "", None)


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that says the same to all; nothing, and it keeps them waiting."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await stream.receive()
                await (stream.send(answer) if answer else anyio.sleep_forever())

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


def http(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


async def test_whoever_answers_is_asked_first_from_then_on(etcd: Cluster) -> None:
    gateway = ask_of(NOBODY, *etcd.endpoints)
    async with gateway.open():
        assert gateway.another(None) == NOBODY
        assert "header" in await gateway.call(RANGE, {"key": encoded("x")})
        assert gateway.another(None) == etcd.endpoints[0]
        assert gateway.another(etcd.endpoints[0]) == NOBODY


async def test_the_log_of_a_program_is_not_told_of_requests(etcd: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gateway = ask_of(*etcd.endpoints)
    async with gateway.open():
        await gateway.call(RANGE, {"key": encoded("x")})
        watch = {"create_request": {"key": encoded("x")}}
        async with gateway.stream(etcd.endpoints[0], "/v3/watch", watch) as messages:
            assert (await anext(messages))["created"]
    assert [one for one in caplog.records if one.name.partition(".")[0] in ("httpx", "httpcore")] == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", ""),
        (b"nonsense\r\n\r\n", ""),
        (http(b"nonsense"), "no answer of etcd's"),
        (http(b"[1]"), "no answer of etcd's"),
        (http(b'{"code": 14, "message": "no leader"}', "503 Unavailable"), "no leader"),
        (http(b"{}", "502 Bad Gateway"), "status 502"),
    ],
    ids=["silent", "not http", "no json", "no map", "no leader", "a proxy"],
)
async def test_who_can_not_answer_is_passed_over(
    answer: bytes, problem: str, etcd: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "ONE_TRY", 0.2)
    async with answering(answer) as bad:
        both = ask_of(bad, *etcd.endpoints)
        async with both.open():
            assert "header" in await both.call(RANGE, {"key": encoded("x")})
        monkeypatch.setattr(gateway, "ONE_TRY", 1.0)
        monkeypatch.setattr(gateway, "PATIENCE", 1.5)
        alone = ask_of(bad)
        async with alone.open():
            with pytest.raises(StoreError, match=problem or "etcd"):
                await alone.call(RANGE, {"key": encoded("x")})


async def test_what_etcd_refuses_is_an_error_at_once(etcd: Cluster) -> None:
    gateway = ask_of(*etcd.endpoints)
    async with gateway.open():
        with pytest.raises(StoreError, match=r"etcd refuses: .*lease not found"):
            await gateway.call("/v3/lease/revoke", {"ID": "77"})
        with pytest.raises(StoreError, match="etcd does not let us in"):
            login = Gateway(etcd.endpoints, "user", "password", None)
            async with login.open():
                await login.call(RANGE, {"key": encoded("x")})


async def test_outside_of_its_block_it_is_closed(etcd: Cluster) -> None:
    with pytest.raises(StoreError, match="closed"):
        await ask_of(*etcd.endpoints).call(RANGE, {"key": encoded("x")})


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (http(b'{"result": {}}\n'), "has ended"),
        (http(b'{"error": {"code": 5}}\n'), "does not tell any more"),
        (http(b"nonsense\n"), "no JSON"),
        (http(b"5\n"), "does not tell any more"),
        (http(b"{}", "404 Not Found"), "status 404"),
        (b"nonsense\r\n\r\n", "not there any more"),
    ],
    ids=["ended", "error", "no json", "no map", "not found", "not http"],
)
async def test_a_stream_that_is_over_says_why(answer: bytes, problem: str) -> None:
    async with answering(answer) as endpoint:
        gateway = ask_of(endpoint)
        async with gateway.open():
            with pytest.raises(StoreError, match=problem):
                async with gateway.stream(endpoint, "/v3/watch", {}) as messages:
                    async for _ in messages:
                        pass


async def test_a_stream_tells_what_happens(etcd: Cluster) -> None:
    gateway, request = ask_of(*etcd.endpoints), {"create_request": {"key": encoded("/test/stream")}}
    found: list[Any] = []
    async with gateway.open(), gateway.stream(etcd.endpoints[0], "/v3/watch", request) as messages:
        with anyio.fail_after(PATIENCE):
            async for message in messages:
                found += message.get("events", ())
                if message.get("created"):
                    await gateway.call("/v3/kv/put", {"key": encoded("/test/stream"), "value": encoded("x" * 100_000)})
                if found:
                    break
    assert len(found[0]["kv"]["value"]) > 100_000
