"""``rexec run``, and what Ctrl-C does to it."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.rexec.servers import FAMILY, PATIENCE, ROOT, Server, alive, gone, running, serves, serving

server = serves("--grace", "0.5")


class TestInterrupted:
    def test_ctrl_c_is_passed_on_and_the_status_comes_back(self, server: Server) -> None:
        script = "trap 'echo caught; exit 7' INT; echo $$ $$; while :; do sleep 0.05; done"
        with running(server.command("sh", "-c", script)) as (client, _):
            client.send_signal(signal.SIGINT)
            assert client.communicate(timeout=PATIENCE) == (b"caught\n", b"")
            assert client.returncode == 7

    def test_a_command_that_dies_of_it_ends_us_the_same_way(self, server: Server) -> None:
        with running(server.command("sh", "-c", "echo $$ $$; exec sleep 1000")) as (client, _):
            client.send_signal(signal.SIGINT)
            assert client.wait(PATIENCE) == -signal.SIGINT

    def test_twice_gives_up_a_command_that_does_not_listen(self, server: Server) -> None:
        script = "trap 'echo caught' INT; trap '' TERM; echo $$ $$; while :; do sleep 0.05; done"
        with running(server.command("sh", "-c", script)) as (client, pids):
            client.send_signal(signal.SIGINT)
            assert client.stdout is not None
            assert client.stdout.readline() == b"caught\n"
            client.send_signal(signal.SIGINT)
            assert client.wait(PATIENCE) == -signal.SIGINT
            gone(pids)

    def test_twice_gives_up_when_nobody_answers(self, tmp_path: Path) -> None:
        with serving(tmp_path) as server, running(server.command("sh", "-c", FAMILY)) as (client, pids):
            server.process.send_signal(signal.SIGSTOP)
            try:
                client.send_signal(signal.SIGINT)
                time.sleep(0.2)  # two signals that come at once are one
                client.send_signal(signal.SIGINT)
                assert client.wait(PATIENCE) == -signal.SIGINT
            finally:
                server.process.send_signal(signal.SIGCONT)
            gone(pids)

    def test_before_there_is_a_command_it_ends_us_at_once(self, server: Server) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
            command = [address if word == server.address else word for word in server.command("true")]
            with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as client:
                connection, _ = silent.accept()
                with connection:
                    client.send_signal(signal.SIGINT)
                    assert client.wait(PATIENCE) == -signal.SIGINT


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_ctrl_c_leaves_an_attached_command_alone(server: Server) -> None:
    detached = server.command("sh", "-c", "echo $$; exec sleep 1000", options=["--detach", "--name", "alone"])
    assert subprocess.run(detached, cwd=ROOT, capture_output=True, timeout=PATIENCE).stdout == b"alone\n"
    with subprocess.Popen(server.rexec("attach", "alone"), cwd=ROOT, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        pid = int(client.stdout.readline())
        client.send_signal(signal.SIGINT)
        assert client.wait(PATIENCE) == -signal.SIGINT
    assert alive(pid)
    assert b"running" in server.call("ps").stdout
    assert server.call("kill", "alone").returncode == 0
    assert not alive(pid)
    assert server.call("attach", "alone").returncode == 128 + signal.SIGTERM
