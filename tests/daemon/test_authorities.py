"""Who may come from the network for which service."""

import os
from pathlib import Path

import anyio
import pytest

from chanlink.daemon.authorities import Authorities
from chanlink.daemon.settings import Service, Settings
from chanlink.errors import UntrustedPeer
from chanlink.security.keys.credential import USER
from chanlink.security.keys.identity import Identity
from chanlink.security.keys.openssh import PublicKey
from chanlink.security.keys.presented import Presented
from tests.security.keys.credentials import CA

ALICE, BOB = (Identity.generate(name).public_key for name in ("alice", "bob"))


@pytest.fixture
def common(tmp_path: Path) -> Path:
    (tmp_path / "trust").write_text(f'{ALICE}\nservices="echo" {BOB}\n')
    return tmp_path / "trust"


def configured(common: Path, *services: Service) -> Authorities:
    made = Authorities(common, 0.02)
    made.configure(Settings({service.name: service for service in services}))
    return made


def admitted(authorities: Authorities, key: PublicKey, service: str) -> bool:
    try:
        authorities.admit(Presented(key), service)
    except UntrustedPeer:
        return False
    return True


PING, ECHO, CLOSED = Service("ping", True), Service("echo", True), Service("closed")


def test_the_common_file_says_who_may_use_which_service(common: Path) -> None:
    authorities = configured(common, PING, ECHO, CLOSED)
    assert admitted(authorities, ALICE, "ping")
    assert admitted(authorities, ALICE, "echo")
    assert not admitted(authorities, BOB, "ping")
    assert admitted(authorities, BOB, "echo")


def test_nobody_comes_for_a_service_that_is_not_for_the_network_or_that_there_is_not(common: Path) -> None:
    authorities = configured(common, PING, CLOSED)
    for service in ("closed", "missing", ""):
        assert not admitted(authorities, ALICE, service)


def test_a_service_with_a_file_of_its_own_asks_no_other_one(common: Path, tmp_path: Path) -> None:
    (tmp_path / "own").write_text(f"{BOB}\n")
    authorities = configured(common, PING._replace(trust=tmp_path / "own"), ECHO)
    assert not admitted(authorities, ALICE, "ping")
    assert admitted(authorities, BOB, "ping")


def test_a_file_that_cannot_be_read_lets_nobody_in_until_it_can(
    common: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings({"ping": PING._replace(trust=tmp_path / "own"), "echo": ECHO})
    authorities = Authorities(common, 0.02)
    authorities.configure(settings)
    assert not admitted(authorities, ALICE, "ping")
    assert admitted(authorities, ALICE, "echo")
    authorities.configure(settings)
    assert caplog.text.count(f"{tmp_path / 'own'}: ") == 1
    assert authorities.lacks_any
    with pytest.raises(UntrustedPeer) as caught:
        authorities.admit(Presented(ALICE), "ping")
    assert "can't be read" in caught.value.advice
    (tmp_path / "own").write_text(f"{ALICE}\n")
    authorities.configure(settings)
    assert not authorities.lacks_any
    assert admitted(authorities, ALICE, "ping")


@pytest.mark.anyio
async def test_who_watches_is_told_when_a_file_has_changed(common: Path, tmp_path: Path) -> None:
    (tmp_path / "own").write_text(f"{BOB}\n")
    authorities = configured(common, PING._replace(trust=tmp_path / "own"), ECHO)
    changed = anyio.Event()
    async with anyio.create_task_group() as tasks:
        authorities.watch(tasks, changed.set)
        authorities.watch(tasks, changed.set)
        (tmp_path / "new").write_text(f"{ALICE}\n")
        os.replace(tmp_path / "new", tmp_path / "own")
        await changed.wait()
        tasks.cancel_scope.cancel()
    assert admitted(authorities, ALICE, "ping")
    assert not admitted(authorities, BOB, "ping")


@pytest.mark.anyio
async def test_a_file_that_no_service_needs_any_more_is_watched_no_more(common: Path) -> None:
    authorities = configured(common, ECHO)
    async with anyio.create_task_group() as tasks:
        authorities.watch(tasks, lambda: None)
        authorities.configure(Settings({}))
        authorities.watch(tasks, lambda: None)  # and the group ends
    assert not admitted(authorities, ALICE, "echo")


def test_of_one_that_was_let_in_the_time_is_not_asked_again(common: Path) -> None:
    ca = CA("org")
    common.write_text(f'cert-authority,issuer="org",principals="alice" {ca.key}\n')
    authorities = configured(common, PING)
    credential = ca.issue(ALICE, "alice", type=USER, before=2_000)
    presented = Presented(ALICE, credential)
    late = credential.valid_before + 1
    with pytest.raises(UntrustedPeer):
        authorities.admit(presented, "ping", late)
    with pytest.raises(UntrustedPeer):
        authorities.admit(presented, "ping")
    assert authorities.admit_still(presented, "ping").name == "alice@org"
