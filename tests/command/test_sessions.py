"""The chanlink command between processes: ping, cat, forward, bench, top."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import chanlink
from chanlink import Identity, KnownPeers
from chanlink.command.actions.screen import report
from chanlink.transport.address import parse_address
from tests.rexec.servers import until
from tests.security.keys.programs import AgentProcess, needs_ssh_agent

from .calls import COMMAND, MIB, PATIENCE, Keys, assert_one_line, environment, make_keys, run, serving

ANYWHERE = "tcp://127.0.0.1:0"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def server(keys: Keys) -> Iterator[str]:
    """The address of a server that is measured against, and may be looked at."""
    with serving(keys, "bench", "--listen", ANYWHERE, "--inspect") as server:
        yield server.address


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started run on each of them."""
    monkeypatch.setenv("CHANLINK_EVENT_LOOP", request.param)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


# --- ping ---------------------------------------------------------------------------------------


def test_ping_says_who_answers_and_how_far_it_is(keys: Keys, server: str) -> None:
    out, err = run(keys.home, "ping", "-c3", "-i0.05", *keys.client, server)
    key = Identity.load(keys.home / "server").public_key
    lines = out.splitlines()
    assert lines[0] == f"{server} is server, key {key.fingerprint}"
    assert re.fullmatch(r"connected in [\d.]+ ms, suite (aegis256|chachapoly)", lines[1])
    assert [line.partition(":")[0] for line in lines[2:5]] == ["round trip 1", "round trip 2", "round trip 3"]
    assert re.fullmatch(r"3 round trips, min/avg/max [\d.]+/[\d.]+/[\d.]+ ms", lines[5])
    assert err == ""
    found = json.loads(run(keys.home, "ping", "-c2", "-i0.05", "--json", *keys.client, server)[0])
    assert (found["fingerprint"], len(found["round_trips_ms"])) == (key.fingerprint, 2)
    assert found["round_trip_ms"]["min"] <= found["round_trip_ms"]["avg"] <= found["round_trip_ms"]["max"]


@pytest.mark.usefixtures("loop")
def test_ping_runs_on_every_event_loop(keys: Keys, server: str) -> None:
    assert "1 round trips" in run(keys.home, "ping", "-c1", *keys.client, server)[0]


def test_a_server_is_known_by_first_use_or_by_peers_add_and_not_otherwise(keys: Keys, server: str) -> None:
    ours = ["--identity", keys.home / "client", "--known", keys.home / "known"]
    key = Identity.load(keys.home / "server").public_key
    refused = run(keys.home, "ping", *ours, server, status=1)
    assert_one_line(refused, key.fingerprint, f"chanlink peers add {server} '{str(key).removesuffix(' server')}'")
    run(keys.home, "ping", "-c1", "--first-use", *ours, server)
    run(keys.home, "ping", "-c1", *ours, server)
    other = Identity.load(keys.home / "stranger").public_key
    run(keys.home, "peers", "remove", "--known", "known", server)
    run(keys.home, "peers", "add", "--known", "known", server, other)
    assert_one_line(run(keys.home, "ping", *ours, server, status=1), other.fingerprint, f"peers remove {server}")
    run(keys.home, "peers", "revoke", "--known", "known", key)
    assert_one_line(run(keys.home, "ping", "--first-use", *ours, server, status=1), key.fingerprint, "revoked")
    with pytest.raises(chanlink.UntrustedPeer):
        KnownPeers.load(keys.home / "known").find(parse_address("tcp://x:1"), key)


def test_wrong_keys_are_one_line(keys: Keys, server: str) -> None:
    home = keys.home
    stranger = (home / "stranger.pub").read_text().strip()
    peer = ["--peer", home / "server.pub"]
    assert_one_line(run(home, "ping", "--identity", "stranger", *peer, server, status=1), "does not trust", stranger)
    assert_one_line(run(home, "ping", "--identity", "client", "--peer", stranger, server, status=1), "SHA256:")
    assert_one_line(run(home, "ping", "--identity", "client", "--peer", "none", server, status=1), "none")
    assert_one_line(run(home, "ping", "--identity", "none", *peer, server, status=1), "none", "chanlink keygen")
    (home / "no psk").touch(0o600)
    assert_one_line(run(home, "ping", *keys.client, "--psk", "no psk", server, status=1), "pre-shared key")


def test_where_no_server_is_it_is_one_line(keys: Keys) -> None:
    refused = run(keys.home, "ping", *keys.client, f"tcp://127.0.0.1:{free_port()}", status=1)
    assert_one_line(refused, "refused", "check the address")
    assert_one_line(run(keys.home, "ping", *keys.client, "unix:/no/such", status=1), "No such file")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        assert_one_line(run(keys.home, "ping", "--timeout", "0.3", *keys.client, address, status=1), "0.3 s")
        silent.accept()[0].close()
        with ThreadPoolExecutor(1) as pool:  # something else than chanlink
            job = pool.submit(run, keys.home, "ping", *keys.client, address, status=1)
            connection, _ = silent.accept()
            connection.sendall(b"220 mail.example ESMTP\r\n" * 100)
            connection.close()
            assert_one_line(job.result(), "is it a chanlink server")


def test_a_pre_shared_key_is_needed_on_both_sides(keys: Keys) -> None:
    run(keys.home, "keygen", "--psk", "shared")
    with serving(keys, "bench", "--listen", ANYWHERE, "--psk", "shared") as server:
        assert "1 round trips" in run(keys.home, "ping", "-c1", "--psk", "shared", *keys.client, server.address)[0]
        assert_one_line(run(keys.home, "ping", *keys.client, server.address, status=1), "--psk")
        missing = run(keys.home, "ping", "--psk", "nofile", *keys.client, server.address, status=1)
        assert_one_line(missing, "chanlink keygen --psk FILE")


@needs_ssh_agent
def test_keys_in_an_agent_are_used(keys: Keys, server: str, ssh_agent: AgentProcess) -> None:
    ssh_agent.ssh_add("-q", keys.home / "client")
    agent = {"SSH_AUTH_SOCK": str(ssh_agent.socket)}
    words = ["ping", "-c1", "--agent", "--peer", keys.home / "server.pub", server]
    assert "1 round trips" in run(keys.home, *words, **agent)[0]
    ssh_agent.add(Identity.generate("another"))
    assert_one_line(run(keys.home, *words, status=1, **agent), "2 Ed25519 keys")
    assert "1 round trips" in run(keys.home, *words, "--identity", keys.home / "client.pub", **agent)[0]
    assert_one_line(run(keys.home, *words, status=1), "SSH_AUTH_SOCK")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ping_until_interrupted_or_the_server_is_killed(keys: Keys, number: int) -> None:
    with serving(keys, "bench", "--listen", ANYWHERE) as server:
        words = [*COMMAND, "ping", "-c0", "-i0.05", *keys.client, server.address]
        environ = environment(keys.home)
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdout=pipe, stderr=pipe, env=environ, cwd=keys.home, text=True) as client:
            assert client.stdout is not None
            while "round trip 2" not in client.stdout.readline():
                pass
            (client if number == signal.SIGINT else server.process).send_signal(number)
            out, err = client.communicate(timeout=PATIENCE)
        assert "min/avg/max" in out
        if number == signal.SIGINT:
            assert (client.returncode, err) == (-signal.SIGINT, "")
        else:
            assert client.returncode == 1
            assert_one_line(("", err), server.address)


# --- cat ----------------------------------------------------------------------------------------


@contextmanager
def listening_cat(keys: Keys, *words: str, **kwargs: Any) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with serving(keys, "cat", "--listen", ANYWHERE, *words, **kwargs) as server:
        yield server.process, server.address


def start(keys: Keys, *words: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
    environ = environment(keys.home)
    return subprocess.Popen([*COMMAND, *map(str, words)], cwd=keys.home, env=environ, **kwargs)


@pytest.mark.usefixtures("loop")
def test_cat_is_byte_exact_both_ways_and_each_way_ends_alone(keys: Keys, tmp_path: Path) -> None:
    there, back = os.urandom(8 * MIB), os.urandom(3 * MIB)
    (tmp_path / "back").write_bytes(back)
    with (
        open(tmp_path / "back", "rb") as source,
        open(tmp_path / "there", "wb") as sink,
        listening_cat(keys, stdin=source, stdout=sink) as (server, address),
    ):
        with start(keys, "cat", *keys.client, address, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            assert client.stdout.read() == back  # which has ended before this side sends anything
            client.stdin.write(there)
            client.stdin.close()
            assert client.wait(PATIENCE) == 0
        assert server.wait(PATIENCE) == 0
    assert (tmp_path / "there").read_bytes() == there


@pytest.mark.usefixtures("loop")
def test_cat_talks_line_by_line_over_sockets_and_pipes(keys: Keys) -> None:
    ours, theirs = socket.socketpair()
    with ours, listening_cat(keys, "--service", "talk", stdin=theirs, stdout=theirs) as (server, address):
        theirs.close()
        with start(keys, "cat", *keys.client, address, "talk", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            for line in (b"hello\n", b"again\n"):
                client.stdin.write(line)
                client.stdin.flush()
                assert ours.recv(100) == line
                ours.sendall(line.upper())
                assert client.stdout.readline() == line.upper()
            ours.shutdown(socket.SHUT_WR)
            assert client.stdout.read() == b""
            client.stdin.close()
            assert ours.recv(100) == b""
            assert client.wait(PATIENCE) == server.wait(PATIENCE) == 0


def test_descriptors_that_are_shared_stay_blocking(keys: Keys) -> None:
    terminal, inside = pty.openpty()
    reader, writer = os.pipe()
    with (
        listening_cat(keys, stdin=subprocess.DEVNULL, stdout=writer) as (server, address),
        start(keys, "cat", *keys.client, address, stdin=inside, stdout=subprocess.DEVNULL) as client,
    ):
        os.write(terminal, b"hello\n")
        assert os.read(reader, 100) == b"hello\n"
        assert os.get_blocking(inside)
        assert os.get_blocking(writer)
        os.write(terminal, b"\x04")
        assert client.wait(PATIENCE) == server.wait(PATIENCE) == 0
    for descriptor in (terminal, inside, reader, writer):
        os.close(descriptor)


def test_what_has_arrived_is_written_however_long_it_takes_after_the_client_has_gone(keys: Keys) -> None:
    program = (
        "import sys, functools, chanlink.session.listening as e; from chanlink.command import main;"
        "e.Limits = functools.partial(e.Limits, close=0.05); sys.exit(main())"  # what services have left then
    )
    command = [sys.executable, "-c", program]
    data = os.urandom(90_000)  # more than a pipe holds, and so little that the client need not wait
    with listening_cat(keys, command=command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as (server, address):
        run(keys.home, "cat", *keys.client, address, input=data)
        time.sleep(0.3)  # longer than that
        assert server.stdout is not None
        assert server.stdout.read() == data
        assert server.wait(PATIENCE) == 0


def test_cat_works_where_descriptors_cannot_be_opened_again(keys: Keys) -> None:
    """As on a system without /proc, or with the pipes of another user."""
    program = """
import os, sys
opened = os.open
def open_but(path, *args, **kwargs):
    if str(path).startswith("/proc/self/fd"):
        raise PermissionError(13, "Permission denied", path)
    return opened(path, *args, **kwargs)
os.open = open_but
from chanlink.command import main
sys.exit(main())
"""
    command = [sys.executable, "-c", program]
    data = os.urandom(2 * MIB)
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with listening_cat(keys, command=command, **pipes) as (server, address):
        assert server.stdin is not None
        server.stdin.write(b"back")
        server.stdin.close()
        words = [*command, "cat", *keys.client, address]
        environ = environment(keys.home)
        with subprocess.Popen(words, cwd=keys.home, env=environ, **pipes) as client, ThreadPoolExecutor(1) as pool:
            assert server.stdout is not None
            there = pool.submit(server.stdout.read)
            assert client.communicate(data, timeout=PATIENCE)[0] == b"back"
            assert there.result() == data
            assert client.returncode == server.wait(PATIENCE) == 0


def test_a_reader_that_wants_no_more_ends_the_writer(keys: Keys) -> None:
    with listening_cat(keys, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as (server, address):
        assert server.stdout is not None
        with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as yes:
            client = start(keys, "cat", *keys.client, address, stdin=yes.stdout, stderr=subprocess.PIPE)
            assert yes.stdout is not None
            yes.stdout.close()
            assert server.stdout.read(2) == b"y\n"
            server.stdout.close()
            assert client.communicate(timeout=PATIENCE)[1] == b""
            assert client.returncode == 0
        assert server.wait(PATIENCE) == -signal.SIGPIPE


def test_a_full_disk_is_an_error_on_both_sides(keys: Keys) -> None:
    with (
        open("/dev/full", "wb") as full,
        listening_cat(keys, stdin=subprocess.DEVNULL, stdout=full) as (server, address),
    ):
        refused = run(keys.home, "cat", *keys.client, address, input=bytes(MIB), status=1)
        assert_one_line(refused, "write-failed")
        assert server.wait(PATIENCE) == 1


def test_a_killed_side_is_one_line_on_the_other_one(keys: Keys) -> None:
    for kill_server in (True, False):
        with listening_cat(keys, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as (server, address):
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            with start(keys, "cat", *keys.client, address, **pipes) as client:
                assert client.stdin is not None
                assert server.stdout is not None
                client.stdin.write(b"x\n")
                client.stdin.flush()
                assert server.stdout.readline() == b"x\n"
                (server if kill_server else client).kill()
                if kill_server:
                    _, err = client.communicate(timeout=PATIENCE)
                    assert client.returncode == 1
                    assert_one_line(("", err.decode()), "lost")
                else:
                    assert server.wait(PATIENCE) == 1


def test_cat_serves_one_peer_one_service_and_says_so_to_others(keys: Keys) -> None:
    with listening_cat(keys, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as (server, address):
        assert_one_line(run(keys.home, "cat", *keys.client, address, "other", status=1), "'other'", "trust file")
        with start(keys, "cat", *keys.client, address, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert server.stdin is not None
            server.stdin.write(b"hello\n")
            server.stdin.flush()
            assert client.stdout is not None
            assert client.stdout.readline() == b"hello\n"
            assert_one_line(run(keys.home, "cat", *keys.client, address, status=1), "busy")
            client.send_signal(signal.SIGINT)
            assert client.wait(PATIENCE) == -signal.SIGINT
        assert server.wait(PATIENCE) == 1  # it was not all that came


def test_cat_to_a_service_of_messages_is_one_line(keys: Keys, server: str) -> None:
    assert_one_line(run(keys.home, "cat", *keys.client, server, "chanlink.bench", status=1), "another kind")


def test_a_listener_that_cannot_start_is_one_line(keys: Keys, server: str) -> None:
    words = ["cat", "--identity", "server", "--listen", server]
    assert_one_line(run(keys.home, *words, "--trust", "none", status=1), "none", "chanlink peers add --trust none")
    (keys.home / "bad").write_text("restrict ssh-ed25519 AAAA\n")
    assert_one_line(run(keys.home, *words, "--trust", "bad", status=1), "bad:1")
    assert run(keys.home, *words, "--trust", "trust", status=1)[1].endswith("Address already in use\n")


# --- forward ------------------------------------------------------------------------------------


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


# --- bench --------------------------------------------------------------------------------------


def test_bench_measures(keys: Keys, server: str) -> None:
    found = json.loads(run(keys.home, "bench", "--seconds", "0.1", "--json", *keys.client, server)[0])
    figures = {"round_trip_ms", "message_and_echo_ms", "messages_s", "sent_bytes_s", "received_bytes_s"}
    assert figures < set(found)
    assert all(found[name] > 0 for name in figures)
    out, _ = run(keys.home, "bench", "--seconds", "0.1", *keys.client, server)
    assert len(out.splitlines()) == 6
    assert out.count("/s") == 3


def test_bench_against_a_server_that_has_none_is_one_line(keys: Keys) -> None:
    with serving(keys, "forward", "--serve", ANYWHERE, "--allow", "tcp://127.0.0.1:1") as server:
        refused = run(keys.home, "bench", "--json", *keys.client, server.address, status=1)
        assert_one_line(refused, "'chanlink.bench'", "trust file")
        assert_one_line(run(keys.home, "top", "--once", *keys.client, server.address, status=1), "'chanlink.top'")


# --- top ----------------------------------------------------------------------------------------


def test_top_shows_who_waits_for_whom(keys: Keys, server: str) -> None:
    out, _ = run(keys.home, "top", "--once", "--all", *keys.client, server)
    assert out.startswith("1 session\n")
    assert "client at 127.0.0.1:" in out
    assert "chanlink.top" in out
    (line,) = run(keys.home, "top", "--json", "--once", *keys.client, server)[0].splitlines()
    (session,) = json.loads(line)["sessions"]
    assert session["key"] == Identity.load(keys.home / "client").public_key.fingerprint
    assert {one["service"] for one in session["channels"]} == {"chanlink.top", None}


def test_the_trust_file_says_who_may_look(keys: Keys) -> None:
    (keys.home / "some").write_text(f'services="chanlink.bench" {(keys.home / "client.pub").read_text()}')
    with serving(keys, "bench", "--listen", ANYWHERE, "--inspect", "--trust", "some") as server:
        refused = run(keys.home, "top", "--once", *keys.client, server.address, status=1)
        assert_one_line(refused, "chanlink.top", "trust file")


@pytest.mark.parametrize(
    ("how", "loop"),
    [("q", "asyncio"), ("\x03", "asyncio"), ("\x03", "trio"), ("TERM", "uvloop"), ("killed server", "asyncio")],
    indirect=["loop"],
)
def test_top_on_a_terminal_leaves_it_as_it_was(keys: Keys, how: str, loop: None) -> None:
    with serving(keys, "bench", "--listen", ANYWHERE, "--inspect") as server:
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(keys.home)
            words = [*COMMAND, "top", "-i", "0.05", *keys.client, server.address]
            os.execve(sys.executable, words, environment(keys.home, TERM="vt100"))
        before = termios.tcgetattr(terminal)
        shown = b""
        while shown.count(b"client at") < 3:
            shown += os.read(terminal, 10_000)
        assert b"\x1b[?1049h" in shown
        assert termios.tcgetattr(terminal) != before
        if how == "TERM":
            os.kill(pid, signal.SIGTERM)
        elif how == "killed server":
            server.stop(signal.SIGKILL)
        else:
            os.write(terminal, how.encode())
        while b"\x1b[?1049l" not in shown:
            shown += os.read(terminal, 10_000)
        assert termios.tcgetattr(terminal) == before
        with suppress(OSError):
            while select.select([terminal], [], [], PATIENCE)[0] and (more := os.read(terminal, 10_000)):
                shown += more
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(terminal)
        assert status == {"q": 0, "TERM": 0, "\x03": -signal.SIGINT, "killed server": 1}[how]
        assert (b"the connection was lost" in shown) == (how == "killed server")
        assert b"Traceback" not in shown


def test_a_report_is_not_believed() -> None:
    """Whatever a server says, it is printed as text."""
    hostile: list[dict[str, Any]] = [
        {"channels": []},
        {"channels": [3, {}, {"waits": "credit", "queued": -1}, {"waits": [{}, "credit"], "service": "\x1b[2J"}]},
        {
            "peer": "\x1b]0;evil\x07\n",
            "age": float("nan"),
            "volume": 10**30,
            "channels": [{"sending": "x"}],
            "left_out": 5,
        },
    ]
    lines = report(hostile, {}, 1.0, width=200, everything=True)
    assert all(line.isprintable() for line in lines)
    assert any("x1b]0;evil" in line for line in lines)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ('await reply.send("nonsense")', "not one that this version knows"),
        ('while True: await reply.send({"channels": [], "peer": "x" * 1_000_000})', "too long"),
    ],
)
def test_a_server_that_reports_nonsense_is_one_line(keys: Keys, report: str, words: str) -> None:
    program = """
import anyio, chanlink, sys
async def top(requests, peer):
    async for reply in requests:
        async with reply:
            REPORT
async def main():
    identity, trust = chanlink.Identity.load("server"), chanlink.Trust.load("trust")
    services = {"chanlink.top": top}
    async with chanlink.listen("tcp://127.0.0.1:0", identity=identity, trust=trust, services=services) as listener:
        print(*listener.addresses, flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""
    command = [sys.executable, "-c", program.replace("REPORT", report)]
    pipes: Any = {"stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=keys.home, env=environment(keys.home), **pipes) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        try:
            assert_one_line(run(keys.home, "top", "--once", *keys.client, address, status=1), words)
        finally:
            server.kill()


@pytest.mark.usefixtures("loop")
def test_interrupted_servers_end_in_order(keys: Keys) -> None:
    for words in (["bench", "--listen"], ["forward", "--allow", "tcp://127.0.0.1:1", "--serve"]):
        with serving(keys, *words, f"unix:{keys.home}/s") as server:
            assert server.stop(signal.SIGINT) == 0
            until(lambda: not (keys.home / "s").exists())
