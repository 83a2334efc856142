"""A daemon as a process."""

import argparse
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from chanlink.command.actions.daemon_process import LISTEN, _listen
from chanlink.command.commands import daemon
from chanlink.daemon import settings
from chanlink.daemon.folder import Folder
from chanlink.daemon.given import Given
from tests.command.calls import COMMAND, environment
from tests.patience import PATIENCE


def options(**more: object) -> argparse.Namespace:
    return argparse.Namespace(**{"listen": None, "no_listen": False, **more})


def test_it_listens_where_it_is_told_to_and_else_where_all_daemons_do() -> None:
    assert _listen(options(), Given()) == [LISTEN] == [daemon.LISTEN]
    assert _listen(options(no_listen=True), Given()) == []
    assert _listen(options(listen=["tcp://a", "tcp://b"]), Given()) == ["tcp://a", "tcp://b"]


def test_it_listens_nowhere_else_where_it_was_given_sockets() -> None:
    given = Given()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        given.network.append(sock)
        assert _listen(options(), given) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_tells_who_has_started_it_and_stops_in_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    folder = Folder.made(tmp_path / "daemon", settings.fresh(groups=False), "host")
    settings.add_service(folder.settings, settings.Service("ping"))
    words = ["daemon", "run", "--folder", folder.path, "--run", tmp_path / "run", "--listen", "tcp://127.0.0.1:0"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(PATIENCE)
        process = subprocess.Popen(
            [*COMMAND, *map(str, words)],
            env=environment(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify")),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        try:
            assert sock.recv(100) == b"READY=1"
            assert (tmp_path / "run" / "ipc" / "ping").is_socket()
        finally:
            os.kill(process.pid, number)
            said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0
    assert f"public key {folder.host().public_key}" in said
    assert "listening on tcp://127.0.0.1:" in said
    assert "Traceback" not in said
