"""What decides who is let in and who is thrown out waits for no thread that a peer can keep busy."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import chanlink
from chanlink import Identity, KnownPeers, Limits, SessionClosed, Trust
from chanlink.security.keys.certificate import CERTIFICATE_LIFETIME, Role
from chanlink.security.statics import Statics
from examples.rexec import client as rexec
from examples.rexec.policy import file as policy_file
from examples.rexec.policy.file import PolicyFile
from examples.rexec.server.service import SERVICE, service
from tests.busy import no_thread_is_free

from .programs import AgentProcess, needs_ssh_agent

pytestmark = pytest.mark.anyio

ALICE, SERVER = Identity.generate("alice"), Identity.generate("server")


@asynccontextmanager
async def listening(trust: Trust, **options: Any) -> AsyncIterator[str]:
    limits = Limits(trust_interval=0.02)
    async with chanlink.listen("tcp://127.0.0.1:0", identity=SERVER, trust=trust, limits=limits, **options) as listener:
        yield listener.addresses[0]


async def a_key_is_taken_out(folder: Path) -> None:
    trust = folder / "trust"
    trust.write_text(f"{ALICE.public_key}\n")
    async with (
        listening(Trust.load(trust)) as address,
        chanlink.connect(address, identity=ALICE, peer=SERVER.public_key) as session,
        no_thread_is_free(),
    ):
        trust.write_text("")
        cause = await session.wait_closed()
        assert isinstance(cause, SessionClosed)
        assert cause.code == "revoked"


async def a_client_comes(folder: Path) -> None:
    async with (
        listening(Trust.of(ALICE.public_key)) as address,
        no_thread_is_free(),
        chanlink.connect(address, identity=ALICE, peer=SERVER.public_key) as session,
    ):
        await session.ping()


async def a_known_server_is_looked_up(folder: Path) -> None:
    async with listening(Trust.of(ALICE.public_key)) as address, no_thread_is_free():
        for known in (KnownPeers.load(folder / "known", first_use=True), KnownPeers.load(folder / "known")):
            async with chanlink.connect(address, identity=ALICE, trust=known) as session:
                await session.ping()


async def a_key_is_loaded(folder: Path) -> None:
    ALICE.save(folder / "alice")
    async with no_thread_is_free():
        assert (await Identity.aload(folder / "alice")).public_key == ALICE.public_key


async def a_certificate_is_renewed(folder: Path, monkeypatch: pytest.MonkeyPatch, identity: Identity = ALICE) -> None:
    statics = Statics(identity, Role.SERVER)
    _, first = await statics.current()
    monkeypatch.setattr("chanlink.security.statics.time.time", lambda: first.not_before + CERTIFICATE_LIFETIME // 2 + 1)
    async with no_thread_is_free():
        _, second = await statics.current()
    assert second.not_before > first.not_before


async def a_rule_is_taken_away(folder: Path) -> None:
    policy = folder / "policy.toml"
    policy.write_text('[rules.all]\nkeys = ["*"]\n')
    async with served(PolicyFile(str(policy))) as session, no_thread_is_free():
        assert (await rexec.run(session, ["true"])).status == 0
        policy.write_text("")
        with pytest.raises(rexec.StartError, match="no rule"):
            while True:
                await rexec.run(session, ["true"])


async def a_command_is_stopped(folder: Path) -> None:
    async with no_thread_is_free(), served(None) as session:  # the server ends while no thread is free
        name = await rexec.detach(session, ["sleep", "1000"])
        await rexec.kill(session, name)


@asynccontextmanager
async def served(policy: PolicyFile | None) -> AsyncIterator[chanlink.Session]:
    async with (
        service(policy) as handler,
        listening(Trust.of(ALICE.public_key), services={SERVICE: handler}) as address,
        chanlink.connect(address, identity=ALICE, peer=SERVER.public_key) as session,
    ):
        yield session


CONTROLS: list[Callable[[Path], Awaitable[None]]] = [
    a_key_is_taken_out,
    a_client_comes,
    a_known_server_is_looked_up,
    a_key_is_loaded,
    a_rule_is_taken_away,
    a_command_is_stopped,
]


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.__name__)
async def test_it_goes_on_while_no_thread_is_free(
    control: Callable[[Path], Awaitable[None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_file, "LOOK_EVERY", 0.02)
    await control(tmp_path)


async def test_a_certificate_is_renewed_while_no_thread_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    await a_certificate_is_renewed(Path(), monkeypatch)


@needs_ssh_agent
async def test_an_agent_signs_while_no_thread_is_free(
    ssh_agent: AgentProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ssh_agent.add(ALICE)
    identity = await Identity.from_agent(socket=ssh_agent.socket)
    await a_certificate_is_renewed(Path(), monkeypatch, identity)
