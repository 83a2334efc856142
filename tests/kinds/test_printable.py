"""Nothing that a peer says reaches a terminal or a log as it is."""

import subprocess
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

import chanlink
from chanlink.command import main as chanlink_main
from examples.rexec.cli.main import main as rexec_main

from .hostile import HOW, assert_harmless, attack, hostile_server
from .programs import COMMANDS, PATIENCE, Place, make_place, running

MAIN = {"chanlink": chanlink_main, "rexec": rexec_main}
STREAMS = ("cat", "--share")
"""They need standard streams of their own, and so a process."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return make_place(tmp_path)


@pytest.mark.parametrize("how", HOW)
def test_what_a_server_says_is_harmless_where_a_command_prints_it(
    how: str, place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    identity, trust = chanlink.Identity.load(place.home / "server"), chanlink.Trust.load(place.home / "trust")
    with hostile_server(identity, trust, how) as address:
        there = place._replace(chanlink=address, rexec=address)
        shown = ""
        for command in COMMANDS:
            if not command.talks or command.serves:
                continue
            if any(word in command.line.split() for word in STREAMS):
                done = subprocess.run(
                    there.argv(command), cwd=place.home, env=there.environment(), stdin=subprocess.DEVNULL,
                    capture_output=True, timeout=PATIENCE,
                )  # fmt: skip
                said = (done.stdout + done.stderr).decode()
            else:
                with suppress(SystemExit):
                    MAIN[command.program](there.words(command))
                said = "".join(capfd.readouterr())
            assert_harmless(said, f"{command.line}, {how}")
            assert "Traceback" not in said
            shown += said
    assert ("owned" in shown) is (how not in ("answers names", "says nonsense")), shown
    rexec_main(["share", "--stop"])


def test_what_a_client_says_is_harmless_where_a_server_logs_it(place: Place) -> None:
    identity, peer = chanlink.Identity.load(place.home / "client"), chanlink.PublicKey.load(place.home / "server.pub")
    servers = [command for command in COMMANDS if command.serves and not command.talks]
    servers = [command for command in servers if "--no-listen" not in command.line]
    assert len(servers) == 6
    with running(place, servers) as running_ones:
        for server in running_ones:
            anyio.run(attack, server.address, identity, peer)
            assert server.process.poll() in (None, 0)  # chanlink cat serves one stream
    assert "owned" in "".join(server.said.read_text() for server in running_ones)
    for server in running_ones:
        said = server.said.read_bytes().decode()
        assert len(said.splitlines()) >= 4
        assert_harmless(said, server.command.line)
