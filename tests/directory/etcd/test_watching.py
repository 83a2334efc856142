"""The task that hears etcd: servers that answer no more, and what was heard before."""

import signal
from collections.abc import AsyncIterator
from itertools import count

import anyio
import pytest

from chanlink import StoreError
from chanlink.directory.etcd import gateway, watching
from chanlink.directory.etcd.store import EtcdStore
from tests.directory.made import new
from tests.etcd import Cluster
from tests.patience import PATIENCE, until

pytest.importorskip("httpx")
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaks")]
_prefixes = count()


@pytest.fixture
def prefix() -> str:
    return f"/test/watching/{next(_prefixes)}/"


@pytest.fixture
async def store(etcd: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EtcdStore]:
    monkeypatch.setattr(watching, "LOOK", 0.1)
    monkeypatch.setattr(watching, "GRACE", 0.0)
    async with EtcdStore(*etcd.endpoints, prefix=prefix) as store:
        yield store


async def test_a_server_that_says_nothing_any_more_is_not_believed(
    etcd: Cluster, store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put(new())
    [etcd_server] = etcd.members
    with monkeypatch.context() as patch:
        patch.setattr(gateway, "ONE_TRY", 0.5)
        patch.setattr(gateway, "PATIENCE", 1.0)
        etcd_server.stop_and_go(signal.SIGSTOP)
        try:
            await until(lambda: not store._watching.is_live)
            with pytest.raises(StoreError):
                await store.find("web1")
        finally:
            etcd_server.stop_and_go(signal.SIGCONT)
    await until(lambda: store._watching.is_live)
    assert [one.name for one in await store.find("web1")] == ["web1"]


async def test_while_an_election_goes_on_what_was_heard_is_told(
    etcd: Cluster, store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put(new())
    monkeypatch.setattr(watching, "GRACE", PATIENCE)
    etcd.kill()
    await until(lambda: not store._watching.is_live)
    assert [one.name for one in await store.find("web1")] == ["web1"]
    etcd.start()


async def test_all_pages_are_read(
    etcd: Cluster, prefix: str, store: EtcdStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PAGE", 3)
    for number in range(10):
        await store.put(new(f"page{number}"))
    async with EtcdStore(*etcd.endpoints, prefix=prefix) as another:
        for number in range(10):
            assert len(await another.find(f"page{number}")) == 1


async def test_what_is_heard_again_is_told_once(etcd: Cluster, store: EtcdStore) -> None:
    await store.put(new("heard", serial=1))
    reader = store._replica.reader()
    while await reader.next() is not None:
        pass
    etcd.kill()
    await until(lambda: not store._watching.is_live)
    etcd.start()
    await until(lambda: store._watching.is_live)
    with anyio.fail_after(PATIENCE):
        await store.put(new("heard", serial=2))
        change = await reader.next()
    assert change is not None
    assert getattr(change, "serial", None) == 2
    store._replica.discard(reader)
