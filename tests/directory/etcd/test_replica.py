"""What a process has heard of etcd, and whom it tells."""

import pytest

from chanlink import clock
from chanlink.directory.etcd.layout import Row
from chanlink.directory.etcd.replica import Replica
from chanlink.directory.store import Gone, News
from tests.directory.made import KEY, OTHER

pytestmark = pytest.mark.anyio


def row(name: str = "web1", key: bytes = KEY, serial: int = 1, lease: str = "1") -> Row:
    return Row(name, key, serial, 60, 0.0, b"entry", b"signature", b"", lease)


async def told(replica: Replica, count: int) -> list[News]:
    reader = replica.reader()
    found = [await reader.next() for _ in range(count)]
    replica.discard(reader)
    return found


async def test_what_was_heard_is_found_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    replica, now = Replica(), 1_000.0
    monkeypatch.setattr(clock, "now", lambda: now)
    replica.put(row(), 60)
    replica.put(row(key=OTHER), 5)
    assert {one.key for one in replica.find("web1")} == {KEY, OTHER}
    now += 10
    [found] = replica.find("web1")
    assert (found.key, found.left) == (KEY, 50)
    replica.forget("web1", KEY)
    assert replica.find("web1") == []


async def test_what_is_heard_again_from_the_beginning_tells_what_is_another() -> None:
    replica = Replica()
    for one in (row("same"), row("renewed"), row("gone")):
        replica.put(one, 60)
    reader = replica.reader()
    assert [await reader.next() for _ in range(4)][3] is None
    replica.replace([(row("same"), 50), (row("renewed", serial=2, lease="2"), 60), (row("new"), 60)])
    news = [await reader.next() for _ in range(3)]
    assert {one.name: one.serial for one in news if one is not None and not isinstance(one, Gone)} == {
        "renewed": 2,
        "new": 1,
    }
    assert Gone("gone", KEY) in news


async def test_who_comes_later_is_told_what_there_is() -> None:
    replica = Replica()
    replica.put(row("a"), 60)
    replica.put(row("b"), 60)
    replica.forget("a", KEY)
    replica.forget("a", KEY)
    one, marker = await told(replica, 2)
    assert (one and one.name, marker) == ("b", None)
