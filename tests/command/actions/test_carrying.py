"""Bytes both ways between standard input and output and a server: halves end alone, and a break is one for both."""

import socket
import subprocess
from pathlib import Path

from tests.command.calls import COMMAND, environment
from tests.patience import PATIENCE


def test_halves_end_alone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        listening.settimeout(PATIENCE)
        command = [*COMMAND, "stdio", f"unix:{tmp_path}/s"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment(tmp_path)) as process:
            assert process.stdin is not None and process.stdout is not None  # noqa: PT018
            server, _ = listening.accept()
            with server:
                server.settimeout(PATIENCE)
                process.stdin.write(b"there")
                process.stdin.close()
                heard = b""
                while data := server.recv(100):
                    heard += data
                assert heard == b"there"
                server.sendall(b"back")
                server.shutdown(socket.SHUT_WR)
            assert process.stdout.read() == b"back"
            assert process.wait(PATIENCE) == 0


def test_a_server_that_breaks_ends_it(tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(PATIENCE)
        command = [*COMMAND, "stdio", f"tcp://127.0.0.1:{listening.getsockname()[1]}"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment(tmp_path)) as process:
            assert process.stdin is not None and process.stdout is not None  # noqa: PT018
            process.stdin.write(b"x")
            process.stdin.flush()
            server, _ = listening.accept()
            server.settimeout(PATIENCE)
            assert server.recv(1) == b"x"  # so that it is not reset before it is connected
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            server.close()
            assert process.stdout.read() == b""
            assert process.wait(PATIENCE) == 1
