"""A listener's prekeys: when another one is made, what is remembered of each, and for how long."""

import os

import pytest

from chanlink.security.early import prekeys as prekeys_module
from chanlink.security.early.prekeys import MOST_KNOWN, REMEMBERED, Held, Prekeys

from .keys import a_prekey

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

LIFE = 1_200.0


async def one_more(prekeys: Prekeys, now: float) -> Held:
    prekey, key_pair = await a_prekey()
    prekeys.add(prekey, key_pair, now)
    held = prekeys.newest(now)
    assert held is not None
    return held


async def test_another_one_is_made_when_half_of_the_life_is_over() -> None:
    prekeys = Prekeys(LIFE)
    assert prekeys.is_due(0)
    assert prekeys.newest(0) is None
    first = await one_more(prekeys, 0)
    assert not prekeys.is_due(LIFE / 2 - 1)
    assert prekeys.is_due(LIFE / 2)
    second = await one_more(prekeys, LIFE / 2)
    assert second is not first
    for held in (first, second):
        assert prekeys.find(held.prekey.name, LIFE / 2) is held


async def test_one_that_has_ended_is_known_for_a_while() -> None:
    prekeys = Prekeys(LIFE)
    held = await one_more(prekeys, 0)
    assert not held.has_ended(LIFE - 1)
    assert held.has_ended(LIFE)
    assert prekeys.newest(LIFE) is None
    assert prekeys.find(held.prekey.name, LIFE + REMEMBERED - 1) is held
    assert prekeys.find(held.prekey.name, LIFE + REMEMBERED) is None
    assert prekeys.find(bytes(8), 0) is None


async def test_what_is_remembered_is_remembered_until_the_prekey_is_forgotten() -> None:
    prekeys = Prekeys(LIFE)
    held = await one_more(prekeys, 0)
    ephemeral = os.urandom(32)
    held.remember(ephemeral, 1)
    assert held.remembers(ephemeral)
    assert not held.remembers(os.urandom(32))
    again = prekeys.find(held.prekey.name, LIFE + REMEMBERED - 1)
    assert again is not None
    assert again.remembers(ephemeral)
    assert prekeys.is_due(LIFE + REMEMBERED)
    assert len(prekeys) == 0


async def test_a_full_memory_ends_the_prekey_and_forgets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prekeys_module, "MOST_REMEMBERED", 3)
    prekeys = Prekeys(LIFE)
    held = await one_more(prekeys, 0)
    ephemerals = [os.urandom(32) for _ in range(3)]
    for at, ephemeral in enumerate(ephemerals, start=1):
        assert not held.has_ended(at)
        held.remember(ephemeral, at)
    assert held.has_ended(3)
    assert prekeys.is_due(3)
    assert await one_more(prekeys, 3) is not held
    assert prekeys.find(held.prekey.name, 3 + REMEMBERED - 1) is held
    assert all(map(held.remembers, ephemerals))


async def test_there_are_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prekeys_module, "MOST_REMEMBERED", 1)
    prekeys = Prekeys(LIFE)
    for _ in range(MOST_KNOWN):
        assert prekeys.is_due(0)
        (await one_more(prekeys, 0)).remember(os.urandom(32), 0)
    assert not prekeys.is_due(0)
    assert prekeys.newest(0) is None
    assert prekeys.is_due(REMEMBERED)


async def test_a_forked_child_has_none() -> None:
    prekeys = Prekeys(LIFE)
    held = await one_more(prekeys, 0)
    prekeys.forget_all()
    assert prekeys.find(held.prekey.name, 0) is None
    assert prekeys.is_due(0)
