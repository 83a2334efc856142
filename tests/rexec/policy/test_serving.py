"""``rexec serve --policy --audit``: what callers and the log are told, and what is written down."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import chanlink
from tests.rexec.policy.test_file import PRINT
from tests.rexec.servers import PATIENCE, ROOT, Server, assert_one_line, rexec_command, serving, until


class TestServer:
    """``rexec serve --policy --audit``."""

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[Server]:
        (tmp_path / "policy").write_text("[rules.all]\nkeys = ['client']\ncommands = [['echo', '...'], ['id', '...']]")
        with serving(tmp_path, "--policy", tmp_path / "policy", "--audit", tmp_path / "audit") as server:
            yield server

    def audit(self, server: Server) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (server.directory / "audit").read_text().splitlines()]

    def test_what_is_refused_is_said_in_one_line_and_logged(self, server: Server) -> None:
        words = ["rm", "-rf", "a b\x1b[31m\n"]
        done = server.run(*words)
        assert_one_line(done, "refused: the rule all of the server's policy does not allow this command", status=127)
        assert b"\x1b" not in done.stderr
        log = server.log.read_text()
        assert re.search(r"client from 127.0.0.1:\d+: #1 is refused: the rule all .* rm -rf", log)
        assert "\x1b" not in log
        (line,) = self.audit(server)
        assert (line["event"], line["name"], line["error"], line["command"]) == ("refused", "client", "refused", words)

    def test_a_line_for_each_start_and_end(self, server: Server) -> None:
        assert server.run("echo", "hello").returncode == 0
        assert server.run("id", "no such user", b"\xff").returncode == 1
        until(lambda: len(self.audit(server)) == 4)
        start, end, bad_start, bad_end = self.audit(server)
        key = chanlink.PublicKey.load(server.directory / "client.pub").fingerprint
        for line in (start, end):
            assert (line["name"], line["key"], line["id"]) == ("client", key, 1)
            assert line["from"].startswith("127.0.0.1:")
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
        assert (start["event"], start["command"], start["rule"]) == ("start", ["echo", "hello"], "all")
        assert (end["event"], end["status"], end["in"], end["out"], end["err"]) == ("end", 0, 0, 6, 0)
        assert 0 <= end["seconds"] < PATIENCE
        assert bad_start["command"] == ["id", "no such user", "\udcff"]
        assert (bad_end["status"], bad_end["out"]) == (1, 0)
        assert bad_end["err"] > 0

    def test_a_command_that_was_given_up_has_its_end_too(self, tmp_path: Path) -> None:
        with serving(tmp_path, "--audit", tmp_path / "audit") as server:
            with subprocess.Popen(server.command("sh", "-c", "echo x; sleep 1000"), cwd=ROOT, stdout=-1) as client:
                assert client.stdout is not None
                client.stdout.read(1)
                client.kill()
            until(lambda: len(self.audit(server)) == 2)
            assert self.audit(server)[1]["status"] == -15

    def test_a_changed_file_is_in_force_and_a_broken_one_is_not(self, server: Server) -> None:
        policy = server.directory / "policy"
        assert server.run("true").returncode == 127
        policy.write_text("[rules.all]\nkeys = ['client']\ncommands = [['true']]")
        until(lambda: "was read again: it has 1 rules now" in server.log.read_text())
        assert server.run("true").returncode == 0
        assert server.run("echo").returncode == 127
        policy.write_text("[rules.all]\nkeys = ['client']\ncommands = true")
        until(lambda: "stays in force" in server.log.read_text())
        assert "rules.all.commands: it has to be a list of lists of words; what" in server.log.read_text()
        assert server.run("true").returncode == 0

    def test_whom_the_trust_file_does_not_know_is_said(self, server: Server) -> None:
        policy = server.directory / "policy"
        key = chanlink.PublicKey.load(server.directory / "client.pub")
        others = ["cleint", PRINT, "*"]
        policy.write_text(
            f"[rules.all]\nkeys = {['client', key.fingerprint, str(key), *others]}\ncommands = [['true']]"
        )
        until(lambda: "was read again" in server.log.read_text())
        until(lambda: server.log.read_text().count("which is not in") >= 2)
        for name in ("'cleint'", repr(PRINT)):
            assert f"rules.all names {name}, which is not in {server.directory}/client.pub" in server.log.read_text()
        assert server.run("true").returncode == 0
        assert server.log.read_text().count("which is not in") == 2

    def test_a_server_does_not_start_with_what_it_can_not_use(self, server: Server, tmp_path: Path) -> None:
        (bad := tmp_path / "bad").write_text("[rules.x]\nkeys = 1")
        keys = ["serve", "--identity", server.directory / "server", "--trust", server.directory / "client.pub"]
        assert_one_line(rexec_command(*keys, "--policy", bad), f"{bad}: rules.x.keys")
        assert_one_line(rexec_command(*keys, "--policy", tmp_path / "none"), "No such file")
        assert_one_line(rexec_command(*keys, "--audit", tmp_path), f"rexec: {tmp_path}: Is a directory")
        assert_one_line(rexec_command(*keys, "--audit", "/nope/x"), "rexec: /nope/x: No such file or directory")
        assert_one_line(rexec_command(*keys, "--grace", "-1"), "seconds")

    def test_what_can_not_be_written_down_is_not_run(self, tmp_path: Path) -> None:
        ran = tmp_path / "ran"
        with serving(tmp_path, "--audit", "/dev/full") as server:
            assert_one_line(server.run("touch", str(ran)), "can't write its audit file", status=127)
            assert "No space left" in server.log.read_text()
        assert not ran.exists()

    def test_a_pipe_that_nobody_reads_keeps_no_server_from_serving(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with serving(tmp_path, "--audit", tmp_path / "pipe") as server:
            assert server.call("ps").returncode == 0

    def test_a_file_that_was_moved_away_is_made_again(self, server: Server) -> None:
        server.run("echo")
        audit = server.directory / "audit"
        audit.rename(server.directory / "old")
        server.run("echo")
        until(audit.exists)
        assert audit.stat().st_mode & 0o777 == 0o600
