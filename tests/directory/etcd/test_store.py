"""`EtcdStore`, besides what all stores do: several of one etcd, servers that are gone, what it leaves there."""

import base64
import json
import ssl
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from chanlink import ConfigError, StoreError
from chanlink.directory.etcd.layout import encoded
from chanlink.directory.etcd.store import EtcdStore
from chanlink.directory.problems import NameTaken
from chanlink.directory.store import Gone
from tests.directory.made import KEY, OTHER, new
from tests.etcd import Cluster
from tests.patience import PATIENCE, until

pytest.importorskip("httpx")
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]
PREFIX = "/test/stores/"


def ask(etcd: Cluster, path: str, **body: Any) -> dict[str, Any]:
    request = urllib.request.Request(f"{etcd.endpoints[0]}{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return dict(json.load(answer))


def everything(etcd: Cluster) -> dict[str, Any]:
    return {"key": encoded(PREFIX), "range_end": encoded("/test/stores0")}


@pytest.fixture
def endpoints(etcd: Cluster) -> list[str]:
    ask(etcd, "/v3/kv/deleterange", **everything(etcd))
    return etcd.endpoints


@asynccontextmanager
async def stores(endpoints: list[str], count: int) -> AsyncIterator[list[EtcdStore]]:
    made = [EtcdStore(*endpoints, prefix=PREFIX) for _ in range(count)]
    async with made[0]:
        if count == 1:
            yield made
        else:
            async with made[1]:
                yield made


async def serials(store: EtcdStore, name: str = "web1") -> list[int]:
    return [one.serial for one in await store.find(name)]


async def test_what_one_directory_keeps_another_hears(endpoints: list[str]) -> None:
    async with stores(endpoints, 2) as (one, two):
        await one.put(new())
        assert await serials(one) == [1]
        await until_found(two, [1])
        await two.put(new(serial=5))
        assert await serials(two) == [5]
        await until_found(one, [5])
        with pytest.raises(NameTaken):
            await two.put(new(key=OTHER))
        changes = one.changes()
        try:
            assert [await anext(changes) for _ in range(2)][1] is None
            await two.withdraw("web1", KEY)
            assert await anext(changes) == Gone("web1", KEY)
        finally:
            await changes.aclose()  # type: ignore[attr-defined]
        assert await two.remove("web1", KEY, False)
        await one.put(new(key=OTHER))


async def until_found(store: EtcdStore, wanted: list[int]) -> None:
    with anyio.fail_after(PATIENCE):
        while await serials(store) != wanted:
            await anyio.sleep(0.002)


async def test_of_many_at_several_directories_one_gets_the_name(endpoints: list[str]) -> None:
    taken: list[bytes] = []

    async def claim(store: EtcdStore, key: bytes) -> None:
        try:
            await store.put(new(key=key))
        except NameTaken:
            return
        taken.append(key)

    async with stores(endpoints, 2) as both:
        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(claim, both[number % 2], bytes([number]) * 32)
        assert len(taken) == 1
        for store in both:
            await until_found(store, [1])
            assert [one.key for one in await store.find("web1")] == taken


async def test_what_was_replaced_leaves_no_lease(etcd: Cluster, endpoints: list[str]) -> None:
    before = {one["ID"] for one in ask(etcd, "/v3/lease/leases").get("leases", ())}
    async with stores(endpoints, 1) as [store]:
        for serial in range(1, 6):
            await store.put(new(serial=serial))
        with pytest.raises(NameTaken):
            await store.put(new(key=OTHER))
        assert len({one["ID"] for one in ask(etcd, "/v3/lease/leases")["leases"]} - before) == 1
        await store.withdraw("web1", KEY)
        await store.put(new(serial=9))
        await store.remove("web1", KEY, False)
        assert not {one["ID"] for one in ask(etcd, "/v3/lease/leases").get("leases", ())} - before
        assert not ask(etcd, "/v3/kv/range", **everything(etcd)).get("kvs")


async def test_an_entry_whose_transaction_nobody_has_heard_the_end_of_stays(
    endpoints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stores(endpoints, 1) as [store]:
        await store.put(new())
        call = store._gateway.call

        async def lost(path: str, *args: Any) -> Any:
            answer = await call(path, *args)
            if path == "/v3/kv/txn" and args[0]["compare"]:
                raise StoreError("the connection broke just then")
            return answer

        with monkeypatch.context() as patch:
            patch.setattr(store._gateway, "call", lost)
            with pytest.raises(StoreError, match="just then"):
                await store.put(new(serial=2))
        await until_found(store, [2])


async def test_where_the_clock_of_the_writer_was_wrong_etcd_says_what_lives(
    etcd: Cluster, endpoints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from chanlink.directory.etcd import layout

    with monkeypatch.context() as patch:
        patch.setattr(layout.time, "time", lambda: 1_000.0)
        async with stores(endpoints, 1) as [store]:
            await store.put(new(life=600))
    async with stores(endpoints, 1) as [store]:
        [found] = await store.find("web1")
        assert 500 < found.left <= 600


async def test_a_server_that_does_not_answer_is_passed_over(endpoints: list[str]) -> None:
    async with EtcdStore("http://127.0.0.1:1", *endpoints, prefix=PREFIX) as store:
        await store.put(new())
        assert await serials(store) == [1]


async def test_an_etcd_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from chanlink.directory.etcd import gateway

    monkeypatch.setattr(gateway, "PATIENCE", 0.3)
    with pytest.raises(StoreError, match="etcd"):
        async with EtcdStore("http://127.0.0.1:1"):
            pass


async def test_what_is_not_a_directorys_is_an_error(
    etcd: Cluster, endpoints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from chanlink.directory.etcd import gateway

    monkeypatch.setattr(gateway, "PATIENCE", 5.0)  # for all of which it is tried
    key = f"{PREFIX}entries/web1/{KEY.hex()}"
    ask(etcd, "/v3/kv/put", key=encoded(key), value=base64.b64encode(b"mine").decode())
    with pytest.raises(StoreError, match="another value than a directory's"):
        async with EtcdStore(*endpoints, prefix=PREFIX):
            pass


async def test_etcd_is_stopped_and_comes_again(etcd: Cluster, endpoints: list[str]) -> None:
    async with stores(endpoints, 1) as [store]:
        await store.put(new())
        etcd.kill()
        await until(lambda: not store._watching.is_live)
        etcd.start()
        with anyio.fail_after(PATIENCE):
            while True:
                try:
                    assert await serials(store) == [1]
                    await store.put(new(serial=2))
                    break
                except StoreError:
                    await anyio.sleep(0.05)
        await until(lambda: store._watching.is_live)
        with anyio.fail_after(PATIENCE):
            while await serials(store) != [2]:  # what is watched comes a moment later than what was put
                await anyio.sleep(0.01)


@pytest.mark.parametrize(
    ("endpoints", "options", "problem"),
    [
        ([], {}, "at least one server"),
        (["etcd:2379"], {}, "is no server of etcd"),
        (["http://user@x"], {}, "is no server of etcd"),
        (["http://x"], {"prefix": "x"}, "is no prefix"),
        (["http://x"], {"prefix": "//"}, "is no prefix"),
    ],
)
def test_what_can_not_be_is_an_error_at_once(endpoints: list[str], options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        EtcdStore(*endpoints, **options)


@pytest.mark.parametrize(
    "options",
    [{"prefix": 5}, {"user": None}, {"password": b"x"}, {"tls": "x"}, {"most_names": "3"}, {"names_per_key": None}],
    ids=range(6),
)
def test_options_have_types(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        EtcdStore("http://x", **options)
    assert EtcdStore("http://x", tls=ssl.create_default_context())
