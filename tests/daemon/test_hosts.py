"""Two hosts, each with a network, a daemon and users of its own; nobody's applications have a key."""

import json
from collections.abc import Iterator

import pytest

from chanlink.daemon.journal import read_rows
from tests.patience import PATIENCE
from tests.resuming.namespaces import SERVER, Cable, cable
from tests.rexec.servers import until

from .people import as_user, open_folder, people, said
from .processes import DaemonProcess, stopped

pytestmark = pytest.mark.slow


@pytest.fixture
def network() -> Iterator[Cable]:
    with cable() as laid:
        laid.be(2)
        yield laid


def test_a_word_goes_from_a_user_of_one_host_to_a_user_of_the_other_and_back(network: Cable) -> None:
    with people() as made, open_folder() as base:
        service = made.service("ping")
        alice, www = made.user("alice", f"ipc-{service}"), made.user("www", f"import-{service}")
        inside = ("ip", "netns", "exec")
        here = DaemonProcess(base, "here", groups=True, before=[*inside, network.client])
        there = DaemonProcess(
            base, "there", groups=True, listen=f"tcp://{SERVER}:9323", before=[*inside, network.server]
        )
        for daemon in (here, there):
            daemon.add(service)
        here.folder.add_user(alice, "alice@here")
        there.folder.trust.write_text(f'services="{service}" {here.folder.users()[alice]}\n')
        here.know(web1=(there.listen, there))
        with stopped(here, there):
            here.start()
            there.start()
            application = as_user(www, "echo", there.run, service)
            try:
                assert application.stdout is not None
                assert application.stdout.readline() == "Advertised\n"
                assert said(alice, "ping", here.run, service, "web1") == ["ping"]
                assert application.stdout.readline() == "alice@here\n"
            finally:
                application.kill()
                application.communicate(timeout=PATIENCE)
            until(lambda: not read_rows(here.folder.journal))
        (out,) = [json.loads(line) for line in here.folder.audit.read_text().splitlines()]
        (in_,) = [json.loads(line) for line in there.folder.audit.read_text().splitlines()]
        assert (out["way"], out["user"], out["host"], out["key"]) == ("outgoing", alice, "web1", there.key.fingerprint)
        assert (in_["way"], in_["user"], in_["name"]) == ("incoming", www, "alice@here")
        assert in_["key"] == here.folder.users()[alice].fingerprint
        assert in_["host"].startswith(f"{SERVER.rpartition('.')[0]}.2:")
