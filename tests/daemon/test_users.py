"""Real users and groups: who may use what, and what nobody can."""

import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from anyio.from_thread import start_blocking_portal

import chanlink
from chanlink.daemon.journal import read_rows
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.rexec.servers import until

from .people import People, as_user, open_folder, people, said
from .places import serving
from .processes import DaemonProcess, stopped

pytestmark = pytest.mark.slow


class Machine(NamedTuple):
    """A daemon, two users who may connect, one who may serve, and one who may do nothing."""

    daemon: DaemonProcess
    service: str
    alice: str
    bob: str
    www: str
    eve: str


def made(made_by: People, base: Path, port: int) -> Machine:
    service = made_by.service("ping")
    alice, bob = (made_by.user(name, f"ipc-{service}") for name in ("alice", "bob"))
    www, eve = made_by.user("www", f"import-{service}"), made_by.user("eve")
    daemon = DaemonProcess(base, "daemon", groups=True, listen=f"tcp://127.0.0.1:{port}")
    daemon.add(service, users=[alice, bob, eve])
    return Machine(daemon, service, alice, bob, www, eve)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with people() as made_by, open_folder() as base:
        machine = made(made_by, base, free_port())
        with stopped(machine.daemon), start_blocking_portal() as portal:
            keys = machine.daemon.folder.users().values()
            with portal.wrap_async_context_manager(serving(*keys)) as (address, key):
                machine.daemon.folder.hosts.write_text(f'[web1]\naddress = "{address}"\nkey = "{key}"\n')
                machine.daemon.start()
                yield machine


def test_who_is_in_the_group_has_a_session_as_itself_and_nobody_else_has_one(machine: Machine) -> None:
    keys = machine.daemon.folder.users()
    for user in (machine.alice, machine.bob):
        assert said(user, "connect", machine.daemon.run, machine.service, "web1") == [f"session {keys[user].raw.hex()}"]
    for user in (machine.www, machine.eve):
        (line,) = said(user, "connect", machine.daemon.run, machine.service, "web1")
        assert "Permission denied" in line


def test_the_sockets_have_the_modes_and_groups_of_their_services(machine: Machine) -> None:
    for direction in ("ipc", "import"):
        path = machine.daemon.run / direction / machine.service
        assert path.group() == f"{direction}-{machine.service}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_no_key_can_be_read_by_an_application(machine: Machine) -> None:
    folder = machine.daemon.folder.path
    files = [folder, *folder.rglob("*")]
    assert len([file for file in files if file.name == "id_ed25519"]) == 4
    secret = [*files, Path(f"/proc/{machine.daemon.pid}/mem"), Path(f"/proc/{machine.daemon.pid}/environ")]
    for user in (machine.alice, machine.www, machine.eve):
        assert said(user, "read", *secret) == [f"Permission denied {file}" for file in secret]


def test_clients_of_the_network_come_to_who_may_serve_and_strangers_to_nobody(machine: Machine) -> None:
    client, stranger = chanlink.Identity.generate("client"), chanlink.Identity.generate("stranger")
    machine.daemon.folder.trust.write_text(f"{client.public_key}\n")
    machine.daemon.stop()
    machine.daemon.start()
    for user in (machine.alice, machine.eve):
        (line,) = said(user, "advertise", machine.daemon.run, machine.service)
        assert "Permission denied" in line
    serving_process = as_user(machine.www, "advertise", machine.daemon.run, machine.service)
    assert serving_process.stdout is not None
    try:
        assert serving_process.stdout.readline() == "Advertised\n"
        with start_blocking_portal() as portal:

            def connecting(identity: chanlink.Identity) -> AbstractContextManager[chanlink.Session]:
                made = chanlink.connect(
                    machine.daemon.listen, identity=identity, peer=machine.daemon.key, service=machine.service
                )
                return portal.wrap_async_context_manager(made)

            with connecting(client):
                assert serving_process.stdout.readline() == "client\n"
            with pytest.raises(chanlink.UntrustedPeer), connecting(stranger):
                pass
            with connecting(client):
                assert serving_process.stdout.readline() == "client\n"
    finally:
        serving_process.kill()
        serving_process.communicate(timeout=PATIENCE)


def test_a_session_is_its_users_alone(machine: Machine) -> None:
    with ExitStack() as stack:
        process = as_user(machine.alice, "hold", machine.daemon.run, machine.service, "web1")
        stack.callback(process.communicate, timeout=PATIENCE)
        stack.callback(process.kill)
        assert process.stdout is not None
        id_ = process.stdout.readline().split()[1]
        over, refused = said(machine.bob, "attach", machine.daemon.run, machine.service, id_, "web1")
        assert "unknown-session" in over
        assert "unknown-session" in refused
        assert [row.user for row in read_rows(machine.daemon.folder.journal)] == [machine.alice]
    until(lambda: not read_rows(machine.daemon.folder.journal))


def test_a_nuisance_makes_nobody_else_wait(machine: Machine) -> None:
    """Alice floods in all ways, in three processes that are killed in the middle; Bob has session after session."""
    for _ in range(2):
        flooding = [as_user(machine.alice, "flood", machine.daemon.run, machine.service, "web1") for _ in range(3)]
        try:
            for process in flooding:
                assert process.stdout is not None
                assert process.stdout.readline() == "flooding\n"
            for _ in range(3):
                (line,) = said(machine.bob, "connect", machine.daemon.run, machine.service, "web1")
                assert line.startswith("session ")
        finally:
            for process in flooding:
                process.kill()
                process.communicate(timeout=PATIENCE)
    until(lambda: not read_rows(machine.daemon.folder.journal))
    assert "Traceback" not in machine.daemon.log.read_text()
