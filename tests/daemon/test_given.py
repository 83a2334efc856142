"""Sockets that listen already when the daemon starts."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from chanlink.daemon.given import Given, notify

TAKE = """
import os, sys
from chanlink.daemon.given import Given
os.environ["LISTEN_PID"] = str(os.getpid())
given = Given.taken(os.environ)
print([sock.getsockname()[1] for sock in given.network], sorted(given.doors), "LISTEN_FDS" in os.environ)
print([os.get_inheritable(sock.fileno()) for sock in (*given.network, *given.doors.values())])
"""


def taken(*socks: socket.socket) -> "subprocess.CompletedProcess[str]":
    """What a process takes that was started with these sockets from 3 on."""

    def give() -> None:
        copies = [os.dup(sock.fileno()) for sock in socks]
        high = [os.dup2(copy, 100 + number) for number, copy in enumerate(copies)]
        for number, descriptor in enumerate(high):
            os.dup2(descriptor, 3 + number)

    environment = {**os.environ, "LISTEN_FDS": str(len(socks))}
    return subprocess.run(
        [sys.executable, "-c", TAKE],
        env=environment,
        preexec_fn=give,
        close_fds=False,
        capture_output=True,
        text=True,
        check=False,
    )


def test_sockets_of_tcp_and_doors_are_taken_and_not_passed_on(tmp_path: Path) -> None:
    path = str(tmp_path / "ping")
    with (
        socket.create_server(("127.0.0.1", 0)) as network,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door,
    ):
        door.bind(path)
        door.listen()
        done = taken(network, door)
        port = network.getsockname()[1]
    assert done.stdout.splitlines() == [f"[{port}] ['{path}'] False", "[False, False]"], done.stderr


@pytest.mark.parametrize("type_", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_other_sockets_are_an_error(tmp_path: Path, type_: int) -> None:
    with socket.socket(socket.AF_UNIX, type_) as sock:
        sock.bind(str(tmp_path / "other"))
        if type_ == socket.SOCK_STREAM:
            sock.listen()
        done = taken(sock)
    assert "ConfigError: a socket that was given" in done.stderr


def test_what_is_for_another_process_is_not_taken() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c"}
    given = Given.taken(environment)
    assert not given.network
    assert not given.doors
    assert environment == {}


@pytest.mark.parametrize("is_abstract", [False, True])
def test_who_has_started_it_is_told(tmp_path: Path, is_abstract: bool) -> None:
    name = f"chanlink-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}" if is_abstract else name)
        notify({"NOTIFY_SOCKET": f"@{name}" if is_abstract else name}, "READY=1")
        assert sock.recv(100) == b"READY=1"


def test_nobody_is_told_who_does_not_want_to_know(tmp_path: Path) -> None:
    notify({}, "READY=1")
    notify({"NOTIFY_SOCKET": str(tmp_path / "missing")}, "READY=1")
