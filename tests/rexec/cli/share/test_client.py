"""``rexec run --share``: real clients, a real keeper, and what happens when either is killed."""

import os
import pty
import shlex
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.rexec.cli.share.users import User
from tests.rexec.servers import COMMAND, FAMILY, MIB, PATIENCE, alive, gone, kill_all, serving, until


class TestCalls:
    def test_streams_and_status_are_those_of_the_command(self, user: User) -> None:
        data = os.urandom(2 * MIB)
        done = user.run("sh", "-c", f"head -c {MIB}; cat >&2; exit 7", input=data)
        assert (done.returncode, done.stdout, done.stderr) == (7, data[:MIB], data[MIB:])
        assert user.run("sh", "-c", "kill -9 $$").returncode == 137
        done = user.run("no-such-command")
        assert (done.returncode, done.stderr.count(b"\n")) == (127, 1)
        words = ["a  b", "", "ü", "two\nlines", "--", b"\xff", "--share"]
        done = user.run("printf", r"%s\0", *words)
        assert done.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in words]

    def test_one_session_serves_all_calls(self, user: User) -> None:
        before = user.server.log.read_text().count(" connected from ")
        with ThreadPoolExecutor(8) as pool:
            statuses = pool.map(lambda number: user.run("sh", "-c", f"exit {number}").returncode, range(8))
        assert list(statuses) == list(range(8))
        (line,) = user.share("--list")
        assert line.split("\t")[:2] == [user.server.address] * 2
        assert user.server.log.read_text().count(" connected from ") == before + 1

    def test_files_are_named_from_where_the_client_is(self, user: User) -> None:
        (user.home / "key").write_bytes((user.server.directory / "client").read_bytes())
        (user.home / "key").chmod(0o600)
        (user.home / "server.pub").write_bytes((user.server.directory / "server.pub").read_bytes())
        words = ["run", "--share", "--identity", "key", "--peer", "server.pub", user.server.address, "--", "true"]
        assert user.call([*COMMAND, *words]).returncode == 0

    def test_mistakes_are_those_of_a_call_that_shares_nothing(self, user: User) -> None:
        for words in (
            ["--no-such-option", "x", "--", "y"],
            ["nowhere", "--", "y"],
            ["x"],
            ["--name", "x", "y", "--", "z"],
            ["--progress", "--share", "y", "--", "z"],
        ):
            shared = user.call([*COMMAND, "run", "--share", *words])
            alone = user.call([*COMMAND, "run", *words])
            assert (shared.returncode, shared.stderr) == (alone.returncode, alone.stderr)
            assert (shared.returncode, shared.stderr.count(b"\n")) == (255, 1)
        assert b"examples:" in user.call([*COMMAND, "run", "--share", "--help"]).stdout

    def test_a_session_is_closed_when_nobody_has_used_it_and_the_keeper_ends(self, user: User) -> None:
        assert user.run("true", options=("--share-for", "0.1")).returncode == 0
        until(lambda: not [path for path in user.folder.iterdir() if path.suffix != ".lock"])
        assert user.share("--list") == []
        assert user.run("true").returncode == 0

    def test_a_warm_client_imports_neither_anyio_nor_chanlink(self, user: User) -> None:
        assert user.run("true").returncode == 0
        command = user.command("true")
        done = user.call([command[0], "-X", "importtime", *command[1:]])
        loaded = {line.rpartition(b"|")[2].strip() for line in done.stderr.splitlines()}
        assert done.returncode == 0
        assert b"examples.rexec.cli.share.client" in loaded
        assert not loaded & {
            b"anyio",
            b"chanlink",
            b"argparse",
            b"asyncio",
            b"msgpack",
            b"subprocess",
            b"typing_extensions",
        }

    def test_a_terminal_is_passed_on_and_put_back(self, user: User) -> None:
        user.environment["TERM"] = "vt220"
        pid, terminal = pty.fork()
        if pid == 0:
            command = user.command("sh", "-c", 'echo "<$TERM>"; stty size; read x; echo got $x', options=("-t",))
            os.execve(command[0], [os.fspath(word) for word in command], user.environment)
        said = b""
        while b"24 80" not in said and b"0 0" not in said:
            said += os.read(terminal, 1000)
        os.write(terminal, b"typed\r")
        while b"got typed" not in said:
            said += os.read(terminal, 1000)
        assert b"<vt220>" in said
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        assert os.waitstatus_to_exitcode(status) == 0

    def test_a_client_in_the_background_leaves_the_terminal_alone(self, user: User) -> None:
        pid, terminal = pty.fork()
        if pid == 0:
            command = shlex.join(os.fspath(word) for word in user.command("cat"))
            script = f"set -m; {command} & wait; read line; echo got $line"
            os.execve("/bin/bash", ["bash", "-c", script], user.environment)
        os.write(terminal, b"typed\r")
        said = b""
        while b"got typed" not in said:
            said += os.read(terminal, 1000)
        os.waitpid(pid, 0)
        os.close(terminal)


class TestDeaths:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_a_client_that_dies_takes_its_command_along(self, number: int, user: User) -> None:
        with user.start("sh", "-c", FAMILY) as client:
            assert client.stdout is not None
            pids = [int(pid) for pid in client.stdout.readline().split()]
            client.send_signal(number)
            client.wait(PATIENCE)
        gone(pids)
        assert client.returncode in {signal.SIGKILL: [-9], signal.SIGTERM: [143], signal.SIGINT: [130, -2]}[number]
        assert user.run("true").returncode == 0  # and nothing else

    def test_signals_reach_the_command(self, user: User) -> None:
        script = 'trap "echo int" INT; trap "echo usr1; exit 3" USR1; echo ready; while :; do sleep 0.05; done'
        with user.start("sh", "-c", script) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == b"ready\n"
            client.send_signal(signal.SIGINT)
            assert client.stdout.readline() == b"int\n"
            client.send_signal(signal.SIGUSR1)
            assert client.stdout.readline() == b"usr1\n"
            assert client.wait(PATIENCE) == 3

    def test_interrupted_twice_a_client_gives_up(self, user: User) -> None:
        script = 'trap "echo int" INT; echo $$; while :; do sleep 0.05; done'
        with user.start("sh", "-c", script) as client:
            assert client.stdout is not None
            pid = int(client.stdout.readline())
            client.send_signal(signal.SIGINT)
            assert client.stdout.readline() == b"int\n"
            client.send_signal(signal.SIGINT)
            assert client.wait(PATIENCE) == -signal.SIGINT
        gone([pid])

    def test_without_its_keeper_a_client_reports_no_status(self, user: User) -> None:
        with user.start("sh", "-c", FAMILY) as client:
            assert client.stdout is not None
            assert client.stderr is not None
            pids = [int(pid) for pid in client.stdout.readline().split()]
            os.kill(user.keeper(), signal.SIGKILL)
            assert client.wait(PATIENCE) == 255
            assert client.stderr.read().count(b"\n") == 1
        gone(pids)
        assert user.run("true").returncode == 0  # by a new keeper, in spite of the old one's socket

    def test_a_stopped_keeper_stops_its_commands(self, user: User) -> None:
        with user.start("sh", "-c", FAMILY) as client:
            assert client.stdout is not None
            pids = [int(pid) for pid in client.stdout.readline().split()]
            user.share("--stop")
            assert client.wait(PATIENCE) == 255
        gone(pids)

    def test_a_lost_server_is_one_line_and_the_next_call_connects_anew(self, tmp_path: Path, user: User) -> None:
        with serving(tmp_path) as server:
            other = User(server, user.home)
            with other.start("sh", "-c", FAMILY) as client:
                assert client.stdout is not None
                assert client.stderr is not None
                pids = [int(pid) for pid in client.stdout.readline().split()]
                server.process.kill()
                assert client.wait(PATIENCE) == 255
                assert client.stderr.read().count(b"\n") == 1
            kill_all(pids)
            server.wait()
            with serving(tmp_path) as server:
                assert User(server, user.home).run("true").returncode == 0

    def test_the_keeper_holds_nothing_of_the_first_caller(self, user: User) -> None:
        """Whoever reads the output of the first call sees its end."""
        with user.start("true") as client:
            streams = (client.stdin, client.stdout, client.stderr)
            pipes = {os.readlink(f"/proc/self/fd/{stream.fileno()}") for stream in streams if stream is not None}
            assert client.communicate(timeout=PATIENCE) == (b"", b"")
        assert len(pipes) == 3
        keeper = user.keeper()
        targets = {os.readlink(entry) for entry in Path(f"/proc/{keeper}/fd").iterdir() if entry.is_symlink()}
        assert Path(f"/proc/{keeper}/cwd").readlink() == Path("/")
        assert not targets & pipes
        assert not [target for target in targets if target.startswith(("/dev/pts", str(user.home)))]
        assert os.getsid(keeper) == keeper
        assert alive(keeper)
