"""A short run of the soak; `make soak` is a long one."""

from typing import Any

import pytest

import chanlink

from . import rounds

pytestmark = [pytest.mark.anyio, pytest.mark.without_sockets]

COUNT = 1_000
LEAK = 500
"""Bytes for each channel: less than any part of one takes, and more than caches of the first hundreds do."""


def growth(figures: rounds.Figures) -> float:
    early, late = figures.memory
    return (late - early) / (figures.channels * 4 / 5)


async def test_channels_abandoned_in_every_way_leave_nothing() -> None:
    figures = await rounds.soak(COUNT)
    assert figures.channels >= COUNT
    assert growth(figures) < LEAK


async def test_it_would_notice_a_channel_that_is_still_open(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []

    async def open_and_keep(at: rounds.Sites) -> int:
        kept.append((await at.a_r.open("x"), (await at.r_a.accept()).end))
        return 1

    monkeypatch.setattr(rounds, "WAYS", (open_and_keep,))
    with pytest.raises(AssertionError, match="something left"):
        await rounds.soak(30)


async def test_it_would_notice_memory_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []

    async def close_and_keep(at: rounds.Sites) -> int:
        sender, receiver = chanlink.pipe()
        sender.close()
        kept.append(receiver)
        return 1

    monkeypatch.setattr(rounds, "WAYS", (close_and_keep,))
    assert growth(await rounds.soak(COUNT)) > LEAK
