"""A key of a process that its identity certifies: one of any kind. test_statics.py has those of Noise."""

import time

import pytest

from chanlink.security import certified as certified_module
from chanlink.security.certified import Certified
from chanlink.security.keys.certificate import Certificate

from .handshakes import one_backend

pytestmark = [pytest.mark.anyio, one_backend]


class Numbered(Certified[int]):
    """Keys that are numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.fails = False

    async def _make(self) -> tuple[int, Certificate]:
        if self.fails:
            raise OSError("the agent has gone")
        self.made += 1
        now = int(certified_module.time.time())
        return self.made, Certificate(now, now + 86_400, b"")


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        monkeypatch.setattr(certified_module, "time", self)

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_one_is_made_once_and_afresh_at_half_of_its_life(clock: Clock) -> None:
    keys = Numbered()
    assert [(await keys.current())[0] for _ in range(2)] == [1, 1]
    clock.now += 12 * 3600 + 2
    assert (await keys.current())[0] == 2


async def test_one_that_can_not_be_renewed_is_used_as_long_as_it_is_good(clock: Clock) -> None:
    keys = Numbered()
    await keys.current()
    keys.fails = True
    clock.now += 12 * 3600 + 2
    assert (await keys.current())[0] == 1
    clock.now += 12 * 3600
    with pytest.raises(OSError, match="gone"):
        await keys.current()


async def test_a_forked_child_makes_one_of_its_own(clock: Clock) -> None:
    keys = Numbered()
    await keys.current()
    keys.forget()
    assert (await keys.current())[0] == 2
