"""The command line of examples/rexec: real processes on both sides."""

import os
import pty
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import chanlink
from tests.rexec.servers import (
    FAMILY,
    MIB,
    PATIENCE,
    ROOT,
    Server,
    alive,
    assert_one_line,
    rexec_command,
    running,
    serves,
    serving,
    until,
)

server = serves()


class TestCommandLine:
    def test_streams_are_separate_and_exact(self, server: Server) -> None:
        data = os.urandom(2 * MIB)
        done = server.run("sh", "-c", f"head -c {MIB}; cat >&2", input=data)
        assert (done.returncode, done.stdout, done.stderr) == (0, data[:MIB], data[MIB:])

    @pytest.mark.parametrize(
        ("script", "status"), [("exit 0", 0), ("exit 4", 4), ("exit 255", 255), ("kill -9 $$", 137), ("kill $$", 143)]
    )
    def test_the_exit_status_is_that_of_the_command(self, server: Server, script: str, status: int) -> None:
        assert server.run("sh", "-c", script).returncode == status

    def test_a_command_that_cannot_be_started_exits_with_127(self, server: Server) -> None:
        assert_one_line(server.run("no-such-command"), "not-found", "no-such-command", status=127)
        assert_one_line(server.run("true", options=["-C", "/no/folder"]), "no-such-directory", "/no/folder", status=127)

    def test_words_folder_and_variables_arrive_exactly(self, server: Server) -> None:
        script = 'printf "%s\\0" "$PWD" "$NAME" "$@"'
        words = ["a  b", "", "ü😀", "two\nlines", "$HOME", "--", b"\xff"]
        done = server.run("sh", "-c", script, "sh", *words, options=["-C", "/", "-e", "NAME=a = b"])
        assert done.stdout.split(b"\0")[:-1] == [b"/", b"a = b", *map(os.fsencode, words)]

    def test_there_is_a_shell_only_when_asked_for(self, server: Server) -> None:
        assert server.run("echo", "$((1+2))", "|", "cat").stdout == b"$((1+2)) | cat\n"
        assert server.run("echo", "$((1+2))", "|", "cat", options=["--shell"]).stdout == b"3\n"

    def test_no_output_is_ever_cut_short(self, server: Server) -> None:
        expected = b"".join(b"%d\n" % n for n in range(1, 1001))
        with ThreadPoolExecutor(4) as pool:
            for done in pool.map(lambda _: server.run("seq", "1000"), range(16)):
                assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")

    def test_a_closed_output_ends_the_command(self, server: Server) -> None:
        with subprocess.Popen(server.command("yes"), cwd=ROOT, stdout=subprocess.PIPE) as client:
            assert client.stdout is not None
            assert client.stdout.read(2) == b"y\n"
            client.stdout.close()
            assert client.wait(PATIENCE) == 128 + signal.SIGPIPE

    def test_shared_descriptors_stay_blocking(self, server: Server) -> None:
        command = server.command("sh", "-c", "echo started; cat")
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=(pipe := os.pipe())[1]) as client:
            assert client.stdin is not None
            assert os.read(pipe[0], 100) == b"started\n"
            assert os.get_blocking(pipe[1])
            assert os.get_blocking(client.stdin.fileno())
        assert client.returncode == 0
        for descriptor in pipe:
            os.close(descriptor)

    def test_files_keep_their_position(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / "in").write_bytes(data := os.urandom(MIB))
        with open(tmp_path / "in", "rb", 0) as source, open(tmp_path / "out", "wb", 0) as sink:
            source.read(10)
            sink.write(b"before ")
            subprocess.run(server.command("cat"), cwd=ROOT, stdin=source, stdout=sink, check=True, timeout=PATIENCE)
            sink.write(b" after")
        assert (tmp_path / "out").read_bytes() == b"before " + data[10:] + b" after"

    def test_sockets_work_as_standard_streams(self, server: Server) -> None:
        data = os.urandom(MIB)
        ours, theirs = socket.socketpair()
        with ours, subprocess.Popen(server.command("cat"), cwd=ROOT, stdin=theirs, stdout=theirs) as client:
            theirs.close()
            with ThreadPoolExecutor(1) as pool:
                pool.submit(lambda: (ours.sendall(data), ours.shutdown(socket.SHUT_WR)))
                with ours.makefile("rb") as file:
                    assert file.read() == data
        assert client.returncode == 0

    def test_terminals_and_closed_descriptors_work(self, server: Server) -> None:
        ours, terminal = pty.openpty()
        with subprocess.Popen(server.command("head", "-n1"), cwd=ROOT, stdin=terminal, stdout=terminal) as client:
            os.write(ours, b"hello\n")
            assert client.wait(PATIENCE) == 0
        assert os.read(ours, 100) == b"hello\r\nhello\r\n"  # the echo of the terminal, and head
        assert os.get_blocking(terminal)
        os.close(ours), os.close(terminal)
        shell = ["sh", "-c", '"$@" <&- >&-', "sh", *server.command("sh", "-c", "cat; echo hello")]
        assert subprocess.run(shell, cwd=ROOT, timeout=PATIENCE).returncode == 0

    def test_a_killed_client_stops_the_command(self, server: Server) -> None:
        with running(server.command("sh", "-c", FAMILY)) as (client, pids):
            client.kill()
            until(lambda: not any(map(alive, pids)))

    def test_ctrl_c_stops_the_command(self, server: Server) -> None:
        with running(server.command("sh", "-c", FAMILY)) as (client, pids):
            client.send_signal(signal.SIGINT)
            assert client.communicate(timeout=PATIENCE) == (b"", b"")
            assert client.returncode == -signal.SIGINT
            until(lambda: not any(map(alive, pids)))

    def test_a_killed_server_is_one_line(self, tmp_path: Path) -> None:
        with serving(tmp_path) as server, running(server.command("sh", "-c", FAMILY)) as (client, pids):
            assert server.stop(signal.SIGKILL) == -signal.SIGKILL
            out, err = client.communicate(timeout=PATIENCE)
            assert_one_line(subprocess.CompletedProcess("", client.returncode, out, err), "the connection was lost")
            until(lambda: not any(map(alive, pids)))

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interrupted_server_stops_its_commands(self, tmp_path: Path, number: int) -> None:
        with serving(tmp_path) as server, running(server.command("sh", "-c", FAMILY)) as (client, pids):
            assert server.stop(number) == 0
            assert not any(map(alive, pids))
            out, err = client.communicate(timeout=PATIENCE)
            assert_one_line(subprocess.CompletedProcess("", client.returncode, out, err))

    def test_the_peer_may_be_given_as_a_key_or_a_file(self, server: Server) -> None:
        assert server.run("echo", "hi", peer=server.key).stdout == b"hi\n"
        (keys := server.directory / "keys").write_text(f"{chanlink.Identity.generate().public_key}\n{server.key}\n")
        assert server.run("echo", "hi", peer=keys).stdout == b"hi\n"

    def test_wrong_keys_are_one_line(self, server: Server) -> None:
        stranger = (server.directory / "stranger.pub").read_text().strip()
        assert_one_line(server.run("true", peer=stranger), "SHA256:", "--peer")
        assert_one_line(server.run("true", peer=server.directory / "stranger.pub"), "SHA256:", "--peer")
        assert_one_line(server.run("true", identity="stranger"), "does not trust our key", stranger)
        assert_one_line(server.run("true", identity="no-such-file"), "no-such-file")
        assert_one_line(server.run("true", peer="no-such-file"), "no-such-file")
        assert_one_line(server.run("true", peer="ssh-ed25519 AAAA"))

    def test_wrong_addresses_are_one_line(self, server: Server) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            keys = ["--identity", server.directory / "client", "--peer", server.key]
            port = nobody.getsockname()[1]
            assert_one_line(rexec_command("run", *keys, f"tcp://127.0.0.1:{port}", "--", "true"), "refused")
            assert_one_line(rexec_command("run", *keys, "http://localhost", "--", "true"), "tcp://host:port")
            assert_one_line(rexec_command("run", *keys, "unix:/no/such/socket", "--", "true"), "No such file")

    def test_wrong_arguments_are_one_line(self) -> None:
        assert_one_line(rexec_command("run", "tcp://localhost"), "--")
        assert_one_line(rexec_command("run", "tcp://localhost", "ls", "--", "ls"), "--help")
        assert_one_line(rexec_command("run", "-e", "NAME", "tcp://localhost", "--", "ls"), "NAME=VALUE")
        assert_one_line(rexec_command("serve", "--", "ls"))
        assert_one_line(rexec_command(), "--help")

    def test_a_server_that_cannot_start_is_one_line(self, server: Server, tmp_path: Path) -> None:
        (bad := tmp_path / "bad").write_text("restrict ssh-ed25519 AAAA\n")
        keys = ["serve", "--identity", server.directory / "server", "--trust"]
        assert_one_line(rexec_command(*keys, bad), f"{bad}:1:", "public keys")
        assert_one_line(rexec_command(*keys, tmp_path / "none"), "none", "public keys")
        trust = server.directory / "client.pub"
        assert_one_line(rexec_command(*keys, trust, "--listen", server.address), "in use")
        assert_one_line(rexec_command("serve", "--identity", bad, "--trust", trust), str(bad))

    def test_key_prints_the_public_key(self, server: Server) -> None:
        done = rexec_command("key", "--identity", server.directory / "server")
        assert done.stdout.decode() == f"{server.key}\n"

    def test_help_has_examples_and_imports_no_event_loop(self) -> None:
        for words in (["--help"], ["run", "--help"], ["serve", "--help"]):
            assert b"examples:" in rexec_command(*words).stdout
        script = "import sys, examples.rexec.cli.main; print({'anyio', 'chanlink', 'asyncio'} & set(sys.modules))"
        assert subprocess.check_output([sys.executable, "-c", script], cwd=ROOT) == b"set()\n"
