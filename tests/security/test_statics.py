"""What a process authenticates itself with: how long it lives, and who has to sign it."""

import time
from pathlib import Path

import anyio
import pytest

from chanlink import Identity
from chanlink.security import certified as certified_module
from chanlink.security import statics as statics_module
from chanlink.security.keys.certificate import Certificate, Role
from chanlink.security.keys.credential import HOST
from chanlink.security.noise.x25519 import KeyPair
from chanlink.security.statics import Statics
from tests.security.keys.credentials import CA, save

from .handshakes import ALICE, one_backend

ORG = CA("org")
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_suite")]


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        for module in (statics_module, certified_module):
            monkeypatch.setattr(module, "time", self)

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@one_backend
async def test_static_key_and_certificate_are_made_afresh_at_half_of_its_life(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    statics = Statics(ALICE, Role.CLIENT)
    first = await statics.current()
    clock.now += 12 * 3600 - 301
    assert await statics.current() is first
    clock.now += 2
    second = await statics.current()
    assert second[0].public != first[0].public
    assert second[1].verify(second[0].public, Role.CLIENT, int(clock.now)) == ALICE.public_key


@one_backend
async def test_they_are_made_afresh_when_the_clock_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    statics = Statics(ALICE, Role.CLIENT)
    first = await statics.current()
    clock.now -= 299
    assert await statics.current() is first
    clock.now -= 2
    second = await statics.current()
    assert second[1].verify(second[0].public, Role.CLIENT, int(clock.now)) == ALICE.public_key


class SlowSigner:
    """An identity whose holder takes its time."""

    def __init__(self) -> None:
        self.asked = 0
        self.asked_event = anyio.Event()
        self.go = anyio.Event()
        self.identity = Identity(ALICE.public_key, self.sign)

    async def sign(self, data: bytes) -> bytes:
        self.asked += 1
        self.asked_event.set()
        await self.go.wait()
        return await ALICE.sign(data)


async def test_many_who_wait_for_a_signature_cause_one() -> None:
    signer = SlowSigner()
    statics = Statics(signer.identity, Role.SERVER)
    got: list[tuple[KeyPair, Certificate]] = []

    async def ask() -> None:
        got.append(await statics.current())

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)
        await signer.asked_event.wait()
        signer.go.set()
    assert signer.asked == 1
    assert len(got) == 10
    assert all(each is got[0] for each in got)


async def test_one_who_gives_up_waiting_for_a_signature_leaves_it_to_the_next() -> None:
    signer = SlowSigner()
    statics = Statics(signer.identity, Role.SERVER)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(statics.current)
        await signer.asked_event.wait()
        tasks.cancel_scope.cancel()
    signer.go.set()
    assert (await statics.current())[1].sshsig
    assert signer.asked == 2


async def test_what_a_signer_raises_is_raised_and_forgotten() -> None:
    problems: list[Exception] = [RuntimeError("the agent is locked")]

    async def sign(data: bytes) -> bytes:
        if problems:
            raise problems.pop()
        return await ALICE.sign(data)

    statics = Statics(Identity(ALICE.public_key, sign), Role.CLIENT)
    with pytest.raises(RuntimeError, match="locked"):
        await statics.current()
    assert (await statics.current())[1].sshsig


@one_backend
async def test_what_is_not_shown_for_its_time_is_said_until_there_is_a_newer_one(tmp_path: Path) -> None:
    ALICE.save(tmp_path / "alice")
    save(ORG.issue(ALICE.public_key, key_id="laptop", before=1_000_000_000), tmp_path / "alice")
    statics = Statics(Identity.load(tmp_path / "alice"), Role.CLIENT)
    assert statics.unshown() == ""  # nobody has looked yet
    assert await statics.vouched() == (None, None)
    said = "the credential 'laptop' has ended at 2001-09-09 01:46:40 UTC, and is not shown; our clock says 20"
    assert statics.unshown().startswith(said)
    save(ORG.issue(ALICE.public_key), tmp_path / "alice")
    await statics.identity.credential(HOST)  # which it has none of: of that it would say nothing
    assert statics.unshown().startswith(said)
    await statics._look()
    assert statics.unshown() == ""
