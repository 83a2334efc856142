"""``chanlink forward``: ports that lead to the far side, and the sessions between."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.command.calls import ANYWHERE, MIB, PATIENCE, Keys, assert_one_line, run, serving, start
from tests.ports import free_port

pytestmark = pytest.mark.slow


class Echo:
    """A TCP server: what comes goes back, until the end."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=500)
        self.address = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@contextmanager
def forwarding(keys: Keys, address: str, *words: Any) -> Iterator[tuple[subprocess.Popen[Any], list[str]]]:
    """A client; the addresses that it listens on."""
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": open(keys.home / "forward", "w"), "text": True}  # noqa: SIM115
    client = start(keys, "forward", *words, *keys.client, address, **pipes)
    try:
        assert client.stdout is not None
        yield client, [client.stdout.readline().split()[0] for word in words if word == "--listen"]
    finally:
        client.kill()
        pipes["stderr"].close()
        with client:
            client.wait(PATIENCE)


def dial(address: str) -> socket.socket:
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        sock.connect(address.removeprefix("unix:"))
        return sock
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while data := sock.recv(MIB):
        parts.append(data)
    return b"".join(parts)


def test_forward_carries_many_connections_and_a_slow_one_stalls_none(keys: Keys, echo: Echo) -> None:
    data = os.urandom(100_000)

    def exchange(_: int) -> bool:
        with dial(local) as sock:
            sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
            sender.start()
            back = read_all(sock)
            sender.join()
            return back == data

    with (
        serving(keys, "forward", "--serve", ANYWHERE, "--allow", echo.address, "--inspect") as server,
        forwarding(keys, server.address, "--listen", ANYWHERE, "--to", echo.address) as (client, (local,)),
        dial(local) as slow,
    ):
        slow.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                slow.send(data)
        idle = [dial(local) for _ in range(200)]
        with ThreadPoolExecutor(20) as pool:
            assert all(pool.map(exchange, range(100)))
        for sock in idle:
            sock.sendall(b"still there")
            assert sock.recv(100) == b"still there"
        shown = json.loads(run(keys.home, "top", "--once", "--json", *keys.client, server.address)[0])
        assert len(shown["sessions"][0]["channels"]) == 201
        for sock in idle:
            sock.close()
        assert server.stop(signal.SIGTERM) == 0
        server.said(r"session with client at .*: cancelled")  # not drained: there is one that never ends
        client.send_signal(signal.SIGTERM)
        assert client.wait(PATIENCE) == 0


@pytest.mark.usefixtures("loop")
def test_forward_passes_half_closes_and_resets_on(keys: Keys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as far:
        far.settimeout(PATIENCE)
        target = f"tcp://127.0.0.1:{far.getsockname()[1]}"
        with (
            serving(keys, "forward", "--serve", ANYWHERE, "--allow", target) as server,
            forwarding(keys, server.address, "--listen", ANYWHERE, "--to", target) as (_, (local,)),
        ):
            with dial(local) as near, far.accept()[0] as other:
                other.settimeout(PATIENCE)
                other.sendall(b"and ")
                other.shutdown(socket.SHUT_WR)
                assert read_all(near) == b"and "
                near.sendall(b"still")
                near.shutdown(socket.SHUT_WR)
                assert read_all(other) == b"still"
            for reset_near in (True, False):
                near, (other, _) = dial(local), far.accept()
                other.settimeout(PATIENCE)
                near.sendall(b"x")
                assert other.recv(1) == b"x"
                one, rest = (near, other) if reset_near else (other, near)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.close()
                with rest, pytest.raises(ConnectionResetError):
                    rest.recv(1)
            near, (other, _) = dial(local), far.accept()
            other.shutdown(socket.SHUT_WR)
            assert near.recv(1) == b""
            other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            other.close()  # a reset after its end
            with near, pytest.raises((ConnectionResetError, BrokenPipeError)):
                while True:
                    near.sendall(b"x")
                    time.sleep(0.01)


def test_forward_reaches_what_is_allowed_and_nothing_else(keys: Keys, echo: Echo, tmp_path: Path) -> None:
    closed = f"tcp://127.0.0.1:{free_port()}"
    (keys.home / "few").write_text(f'services="forward:{closed}" {(keys.home / "client.pub").read_text()}')
    local_path = f"unix:{tmp_path}/local"
    words = ["--listen", ANYWHERE, "--to", echo.address, "--listen", local_path, "--to", closed]
    with serving(keys, "forward", "--serve", ANYWHERE, "--allow", closed) as server:
        with forwarding(keys, server.address, *words) as (client, (port, path)):
            assert path == local_path
            assert os.stat(tmp_path / "local").st_mode & 0o077 == 0
            for local in (port, path):
                with dial(local) as sock, suppress(ConnectionResetError):
                    assert sock.recv(1) == b""
            client.terminate()
            assert client.wait(PATIENCE) == 0
            assert not (tmp_path / "local").exists()
        said = (keys.home / "forward").read_text().splitlines()
        assert re.search(f"does not forward there; it needs --allow {re.escape(echo.address)}", said[0])
        assert re.search(f"the server can't connect: {re.escape(closed)}: Connection refused", said[1])
    with (
        serving(keys, "forward", "--serve", ANYWHERE, "--allow", echo.address, "--trust", "few") as server,
        forwarding(keys, server.address, *words[:4]) as (_, (port,)),
        dial(port) as sock,
        suppress(ConnectionResetError),
    ):
        assert sock.recv(1) == b""
    assert echo.connections == []


def test_forward_connects_again_when_the_server_was_killed(keys: Keys, echo: Echo) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    trust = keys.home / "trust for a while"
    trust.write_text((keys.home / "trust").read_text())
    serve = ["forward", "--serve", address, "--allow", echo.address, "--trust", trust]
    with (
        serving(keys, *serve) as server,
        forwarding(keys, address, "--listen", ANYWHERE, "--to", echo.address) as (client, (local,)),
    ):
        with dial(local) as cut:
            cut.sendall(b"x")
            assert cut.recv(1) == b"x"
            server.stop(signal.SIGKILL)
            with pytest.raises(ConnectionResetError):
                cut.recv(1)
        with dial(local) as patient:
            patient.sendall(b"y")
            with serving(keys, *serve):
                assert patient.recv(1) == b"y"
                trust.write_text("# nobody\n")
                assert client.wait(PATIENCE) == 1  # it is not trusted any more: no use to try again
    said = (keys.home / "forward").read_text()
    assert "connecting again" in said
    assert all(line.count(address) <= 1 for line in said.splitlines() if "connecting again" in line)
    assert "connected to" in said
    assert "does not trust our key" in said.splitlines()[-1]


def test_forward_without_a_server_is_one_line(keys: Keys) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    refused = run(keys.home, "forward", "--listen", ANYWHERE, "--to", "tcp://a:1", *keys.client, address, status=1)
    assert_one_line(refused, "refused")
