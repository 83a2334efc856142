"""How commands end with their server and their guard, and what the spare child is."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.rexec.guard.scripts import JOBS, STUBBORN
from tests.rexec.servers import FAMILY, PATIENCE, ROOT, Server, gone, running, serves, serving, until

server = serves("--grace", "0.5")


@pytest.mark.skipif(sys.platform != "linux", reason="finds the guard in /proc")
class TestKilled:
    """By KILL, which nothing can prepare for."""

    @pytest.mark.parametrize("script", [FAMILY, STUBBORN, JOBS])
    def test_a_killed_server_leaves_no_process_behind(self, tmp_path: Path, script: str) -> None:
        quick = ("--grace", "0.5")
        with serving(tmp_path, *quick) as server, running(server.command("bash", "-c", script)) as (client, pids):
            pids.append(server.guard)
            server.stop(signal.SIGKILL)
            gone(pids)
            assert client.wait(PATIENCE) == 255

    def test_a_server_killed_while_commands_start_leaves_none(self, tmp_path: Path) -> None:
        """Whatever the moment: each command says its id in a file before it does anything else."""
        (pids := tmp_path / "pids").mkdir()
        for delay in (0.0, 0.03):
            with serving(tmp_path) as server:
                script = f"touch {pids}/$$; exec sleep 1000"
                command = server.command("sh", "-c", script)
                clients = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) for _ in range(3)]
                until(lambda: any(pids.iterdir()))
                time.sleep(delay)  # not to wait for anything: to vary the moment
                guard = server.guard
                server.stop(signal.SIGKILL)
                for client in clients:
                    assert client.wait(PATIENCE) == 255
                gone([guard])
                gone([int(file.name) for file in pids.iterdir()])
            for file in pids.iterdir():
                file.unlink()

    def test_a_killed_server_ends_detached_commands_too(self, tmp_path: Path) -> None:
        said = tmp_path / "said"
        with serving(tmp_path) as server:
            command = server.command("sh", "-c", f"echo $$ > {said}.new; mv {said}.new {said}; {FAMILY}")
            subprocess.run([*command[:4], "--detach", *command[4:]], cwd=ROOT, check=True, timeout=PATIENCE)
            until(said.exists)
            server.stop(signal.SIGKILL)
            gone([int(said.read_text())])

    @pytest.mark.parametrize("script", [FAMILY, STUBBORN])
    def test_a_killed_guard_is_an_error_and_never_a_status(self, tmp_path: Path, script: str) -> None:
        with serving(tmp_path) as server:
            with running(server.command("sh", "-c", script)) as (client, pids):
                os.kill(server.guard, signal.SIGKILL)
                _, errors = client.communicate(timeout=PATIENCE)
                assert client.returncode == 255
                assert b"how the command ended is not known" in errors
                gone(pids)
            assert server.run("echo", "on").stdout == b"on\n"  # another guard has taken its place

    def test_the_guard_survives_what_ends_a_group_of_services(self, tmp_path: Path) -> None:
        with serving(tmp_path) as server, running(server.command("sh", "-c", FAMILY)) as (client, pids):
            os.kill(server.guard, signal.SIGTERM)
            assert server.stop() == 0
            gone(pids)
            assert client.wait(PATIENCE) == 255


@pytest.mark.skipif(sys.platform != "linux", reason="finds it in /proc")
class TestSpare:
    """The child of the guard that is forked before it is needed."""

    def test_one_that_was_killed_is_replaced_and_the_command_runs_once(self, tmp_path: Path, server: Server) -> None:
        until(lambda: server.spare)
        os.kill(server.spare, signal.SIGKILL)
        assert server.run("sh", "-c", f"echo once | tee -a {tmp_path}/said").stdout == b"once\n"
        assert (tmp_path / "said").read_text() == "once\n"

    def test_it_holds_nothing_that_others_wait_for(self, server: Server) -> None:
        before = server.spare
        with running(server.command("sh", "-c", FAMILY)):
            until(lambda: server.spare not in (0, before))
            spare = Path(f"/proc/{server.spare}/fd")
            until(lambda: len(list(spare.iterdir())) == 4)  # the standard ones, and its line
            assert sum(os.readlink(file).startswith(("socket", "pipe")) for file in spare.iterdir()) == 1

    def test_it_goes_with_the_guard(self, tmp_path: Path) -> None:
        with serving(tmp_path) as server:
            until(lambda: server.spare)
            pids = [server.guard, server.spare]
            os.kill(server.guard, signal.SIGKILL)
            gone(pids[1:])
        with serving(tmp_path) as server:
            until(lambda: server.spare)
            pids = [server.guard, server.spare]
            server.stop(signal.SIGKILL)
            gone(pids)

    def test_one_that_was_stopped_holds_up_no_order_that_it_does_not_read(self, server: Server) -> None:
        """The guard would wait for it, and everybody for the guard."""
        until(lambda: server.spare)
        spare = server.spare
        os.kill(spare, signal.SIGSTOP)
        done = server.run("sh", "-c", "echo $0 | wc -c", "a" * 100_000, *["b" * 100_000] * 9)
        assert done.stdout.split() == [b"100001"]
        gone([spare])

    def test_a_guard_that_has_no_descriptor_left_says_so_and_goes_on(self, server: Server) -> None:
        assert server.run("true").returncode == 0
        until(lambda: server.spare)
        guard = server.guard
        os.kill(server.spare, signal.SIGKILL)
        before = resource.prlimit(guard, resource.RLIMIT_NOFILE)
        # Four for the command, and for its child, which needs two, only the place of the spare's line.
        most = len(os.listdir(f"/proc/{guard}/fd")) + 4
        resource.prlimit(guard, resource.RLIMIT_NOFILE, (most, before[1]))
        done = server.run("echo", "on")
        resource.prlimit(guard, resource.RLIMIT_NOFILE, before)
        assert done.stderr == b"rexec: cannot-start: the command: Too many open files\n"
        assert server.run("echo", "on").stdout == b"on\n"

    def test_an_order_that_no_socket_holds_at_once_arrives_whole(self, server: Server) -> None:
        words = [letter * 100_000 for letter in "abcdefghij"]
        assert server.run("sh", "-c", 'printf %s "$@" | wc -c', "sh", *words).stdout.split() == [b"1000000"]
