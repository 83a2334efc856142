"""``chanlink cat``: bytes from a process to another one."""

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.command.calls import (
    ANYWHERE,
    MIB,
    NOT_AGAIN,
    PATIENCE,
    Keys,
    assert_one_line,
    environment,
    run,
    serving,
    start,
)

pytestmark = pytest.mark.slow


@contextmanager
def listening_cat(keys: Keys, *words: str, **kwargs: Any) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with serving(keys, "cat", "--listen", ANYWHERE, *words, **kwargs) as server:
        yield server.process, server.address


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


def test_what_has_arrived_is_written_however_long_it_takes_after_the_client_has_gone(keys: Keys) -> None:
    program = (
        "import sys, dataclasses, chanlink.session.listening as e; from chanlink.command import main;"
        "closing = [('close', float, 0.05)]; bases = (e.Limits,);"  # what services have left then
        "e.Limits = dataclasses.make_dataclass('Limits', closing, bases=bases, frozen=True); sys.exit(main())"
    )
    command = [sys.executable, "-c", program]
    data = os.urandom(90_000)  # more than a pipe holds, and so little that the client need not wait
    with listening_cat(keys, command=command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as (server, address):
        run(keys.home, "cat", *keys.client, address, input=data)
        time.sleep(0.3)  # longer than that
        assert server.stdout is not None
        assert server.stdout.read() == data
        assert server.wait(PATIENCE) == 0


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


def test_cat_works_where_descriptors_cannot_be_opened_again(keys: Keys) -> None:
    """As on a system without /proc, or with the pipes of another user."""
    program = NOT_AGAIN + "import sys\nfrom chanlink.command import main\nsys.exit(main())\n"
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
