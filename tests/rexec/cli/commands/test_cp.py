"""``rexec cp``: real processes on both sides, also killed ones."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from examples.rexec.cli.arguments import Parser
from examples.rexec.cli.commands import cp
from tests.rexec.copy.trees import contents, make_tree, names
from tests.rexec.servers import (
    COMMAND,
    MIB,
    PATIENCE,
    ROOT,
    Server,
    assert_one_line,
    rexec_command,
    serves,
    serving,
    until,
)

KILLS = int(os.environ.get("REXEC_COPY_KILLS", "1"))
"""Of each of four kinds; ``make copy-kills`` does more of them."""
DATA = os.urandom(12 * MIB)


server = serves()


def command(server: Server, *words: Any) -> list[Any]:
    """``rexec cp`` with the keys for a server; of the words, those that begin with a colon are paths there."""
    keys = ["--identity", server.directory / "client", "--peer", server.directory / "server.pub"]
    return [*COMMAND, "cp", *keys, *(f"{server.address}{word}" if f"{word}"[0] == ":" else word for word in words)]


def rexec_cp(server: Server, *words: Any, **kwargs: Any) -> subprocess.CompletedProcess[bytes]:
    options = {"cwd": ROOT, "stdin": subprocess.DEVNULL, "capture_output": True, "timeout": PATIENCE}
    return subprocess.run(command(server, *words), **{**options, **kwargs})


class TestCommandLine:
    def test_files_and_folders_go_there_and_back(self, server: Server, tmp_path: Path) -> None:
        make_tree(tree := tmp_path / "tree")
        for words in (("-r", tree, f":{tmp_path}/there"), ("-r", f":{tmp_path}/there", tmp_path / "back")):
            done = rexec_cp(server, *words)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert contents(tmp_path / "back") == contents(tree)
        (tmp_path / "into").mkdir()
        done = rexec_cp(server, f":{tree}/large", f":{tree}/sub/middle", tmp_path / "into")
        assert (done.returncode, names(tmp_path / "into")) == (0, ["large", "middle"])

    def test_from_one_server_to_another(self, server: Server, tmp_path: Path) -> None:
        make_tree(tree := tmp_path / "tree")
        with serving(server.directory) as other:
            done = rexec_cp(server, "-r", f":{tree}", f"{other.address}:{tmp_path}/copy")
        assert (done.returncode, done.stderr) == (0, b"")
        assert contents(tmp_path / "copy") == contents(tree)

    def test_what_could_not_be_copied_is_said_and_the_status_is_1(self, server: Server, tmp_path: Path) -> None:
        (tree := tmp_path / "tree").mkdir()
        os.mkfifo(tree / "fifo")
        (tree / "file").touch()
        done = rexec_cp(server, "-r", tree, f":{tmp_path}/copy")
        assert_one_line(done, "tree/fifo: left out", status=0)
        done = rexec_cp(server, "-r", tree / "file", tmp_path / "nothing", f":{tmp_path}/copy")
        assert_one_line(done, "nothing: No such file", status=1)
        assert names(tmp_path / "copy") == ["file"]
        assert_one_line(rexec_cp(server, tree, f":{tmp_path}/copy2"), "copy it with -r", status=1)
        assert_one_line(rexec_cp(server, f":{tmp_path}/nothing", tmp_path), "nothing: No such file", status=1)

    def test_mistakes_are_one_line(self, server: Server, tmp_path: Path) -> None:
        assert_one_line(rexec_cp(server, "a", "b"), "neither side names a server")
        assert_one_line(rexec_cp(server, "a", ":b", ":c"), "several machines")
        assert_one_line(rexec_cp(server, "a", server.address), "no path")
        assert_one_line(rexec_cp(server, "a"), "DST")
        assert_one_line(rexec_cp(server, tmp_path, f":{tmp_path}/no/folder"), "no such folder")
        assert_one_line(rexec_cp(server, "a", "tcp://127.0.0.1:1:/x"), "refused")

    @pytest.mark.parametrize(
        ("text", "server", "path"),
        [
            ("a", None, "a"),
            ("./a:b", None, "./a:b"),
            ("/a:b", None, "/a:b"),
            ("a/b:c", None, "a/b:c"),
            ("web1:a", "web1", "a"),
            ("web1:", "web1", ""),
            ("web1:a:b", "web1", "a:b"),
            ("tcp://h:/x", "tcp://h", "/x"),
            ("tcp://h:1:x", "tcp://h:1", "x"),
            ("tcp://h:1:1:x", "tcp://h:1", "1:x"),
            ("tcp://[::1]:9:~/x", "tcp://[::1]:9", "~/x"),
            ("unix:/run/x:/y:z", "unix:/run/x", "/y:z"),
            ("web1:two\nlines", "web1", "two\nlines"),
        ],
    )
    def test_which_part_of_a_word_is_the_server(self, text: str, server: str | None, path: str) -> None:
        assert cp._side(text) == (server, path)

    def test_help_has_examples(self) -> None:
        assert b"examples:" in rexec_command("cp", "--help").stdout
        parser = Parser()
        cp.add(parser.add_subparsers())
        for line in cp.NOTES.splitlines():
            if line.startswith("  rexec "):
                parser.parse_args(line.split("   ")[0].split()[1:])


class TestKilled:
    """A copy that is killed at some moment leaves the old file whole, and the next one makes it right."""

    @pytest.mark.parametrize("way", ["there", "back"])
    @pytest.mark.parametrize("victim", ["client", "server"])
    def test_the_next_copy_makes_it_right(self, way: str, victim: str, tmp_path: Path) -> None:
        chance = random.Random()
        (tree := tmp_path / "tree").mkdir()
        (tree / "large").write_bytes(DATA)
        for number in range(200):
            (tree / f"{number}").write_bytes(DATA[number : number * 50])
        new = contents(tree)
        shutil.copytree(tree, old := tmp_path / "old")
        (old / "large").write_text("old")
        (old / "7").write_text("old")
        for _ in range(KILLS):
            shutil.rmtree(tmp_path / "into", ignore_errors=True)
            shutil.copytree(old, tmp_path / "into" / "tree")
            with serving(tmp_path) as server:
                words = [tree, f":{tmp_path}/into"] if way == "there" else [f":{tree}", tmp_path / "into"]
                began = subprocess.Popen(
                    command(server, "-r", *words), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
                )
                time.sleep(chance.uniform(0.15, 0.6))  # the moment is random; what has to hold holds at each
                (began if victim == "client" else server.process).kill()
                _, said = began.communicate(timeout=PATIENCE)
                if victim == "server":
                    server.wait()
                    assert (began.returncode, said.count(b"\n")) in ((0, 0), (255, 1)), said
                    server.__init__(tmp_path)  # type: ignore[misc]
                self.assert_old_or_new(tmp_path / "into" / "tree", old, new)
                done = self.repeat(server, words)
                assert (done.returncode, done.stderr) == (0, b"")
            assert contents(tmp_path / "into" / "tree") == new
            assert names(tmp_path / "into") == ["tree"]

    def repeat(self, server: Server, words: list[Any]) -> subprocess.CompletedProcess[bytes]:
        """A server may hold a part for a moment, until it has seen that its client is gone."""
        deadline = time.monotonic() + PATIENCE
        while True:
            done = rexec_cp(server, "-r", *words)
            if b"another copy" not in done.stderr or time.monotonic() > deadline:
                return done

    def assert_old_or_new(self, into: Path, old: Path, new: dict[str, Any]) -> None:
        for path in into.iterdir():
            if not path.name.endswith(".rexec-part"):
                assert path.read_bytes() in (new[path.name][0], (old / path.name).read_bytes())

    def test_interrupted_it_says_nothing_and_ends_by_the_signal(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        os.truncate(tmp_path / "file", 4096 * MIB)
        with subprocess.Popen(
            command(server, tmp_path / "file", f":{tmp_path}/copy"), cwd=ROOT, stderr=subprocess.PIPE
        ) as copy:
            while not (tmp_path / ".copy.rexec-part").exists():
                assert copy.poll() is None
            copy.send_signal(signal.SIGINT)
            _, said = copy.communicate(timeout=PATIENCE)
        assert (copy.returncode, said) == (-signal.SIGINT, b"")
        assert not (tmp_path / "copy").exists()


def rewrite(server: Server, path: Path, text: str) -> None:
    """Change a file that the server watches, and wait until it has read that."""
    if path.read_text() != text:
        read = f"{path} was read again"
        before = server.log.read_text().count(read)
        path.write_text(text)
        until(lambda: server.log.read_text().count(read) > before)


class TestPermission:
    def test_copying_and_running_are_allowed_each_by_itself(self, tmp_path: Path) -> None:
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "file").touch()
        with serving(tmp_path, "--copy-root", tmp_path / "root") as server:
            trust = tmp_path / "client.pub"
            key = trust.read_text()
            for allowed, status in (("copy", (0, 255)), ("rexec", (255, 0))):
                rewrite(server, trust, f'services="{allowed}" {key}')
                copied = rexec_cp(server, ":/file", tmp_path / "copy")
                ran = server.run("true")
                assert (copied.returncode, ran.returncode) == status
                refused = ran if allowed == "copy" else copied
                assert_one_line(refused, "does not let us do that")

    def test_a_root_and_no_copies_at_all(self, tmp_path: Path) -> None:
        (tmp_path / "root").mkdir()
        (tmp_path / "file").touch()
        with serving(tmp_path, "--copy-root", tmp_path / "root") as server:
            assert rexec_cp(server, tmp_path / "file", ":/").returncode == 0
            assert_one_line(rexec_cp(server, ":../file", tmp_path / "got"), "leads out", status=1)
        assert names(tmp_path / "root") == ["file"]
        with serving(tmp_path, "--no-copy") as server:
            assert_one_line(rexec_cp(server, f":{tmp_path}/file", tmp_path / "got"), "does not let us do that")

    def test_without_a_root_only_who_may_run_anything_may_copy(self, tmp_path: Path) -> None:
        """Or a key that is for copies alone puts itself into the trust file, for all."""
        trust, policy = tmp_path / "client.pub", tmp_path / "policy.toml"
        policy.write_text("[rules.all]\nkeys = ['*']\n")
        with serving(tmp_path, "--policy", policy) as server:
            key = trust.read_text()
            (tmp_path / "mine").write_text(key)
            assert rexec_cp(server, f":{trust}", tmp_path / "seen").returncode == 0
            for trust_line, rule in ((f'services="copy" {key}', ""), (key, "commands = [['true']]\ncopy = true\n")):
                rewrite(server, policy, f"[rules.all]\nkeys = ['*']\n{rule}")
                rewrite(server, trust, trust_line)
                for words in ((tmp_path / "mine", f":{trust}"), (f":{trust}", tmp_path / "stolen")):
                    assert_one_line(rexec_cp(server, *words), "only who may run anything may")
            assert trust.read_text() == key
        assert not (tmp_path / "stolen").exists()

    @pytest.mark.parametrize("option", ["--trust", "--policy", "--audit", "--identity"])
    def test_what_says_who_may_do_what_is_not_beneath_the_root(self, tmp_path: Path, option: str) -> None:
        (root := tmp_path / "root").mkdir()
        (tmp_path / "link").symlink_to(root)
        keys = ["--trust", tmp_path / "trust", "--identity", tmp_path / "key"]
        done = rexec_command("serve", *keys, "--copy-root", root, option, tmp_path / "link" / "file")
        assert_one_line(done, f"{option} {tmp_path}/link/file is beneath --copy-root")

    @pytest.mark.parametrize(
        "path", ["root/out", "root/folder/file", "root/inner/up/out", "to-link", "safe/../root/folder/file"]
    )
    def test_nor_is_a_link_on_the_way_to_it_which_a_copy_could_replace(self, tmp_path: Path, path: str) -> None:
        for folder in ("root/inner", "safe"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "root" / "out").symlink_to("../safe/file")
        (tmp_path / "root" / "folder").symlink_to(tmp_path / "safe")
        (tmp_path / "root" / "inner" / "up").symlink_to("..")
        (tmp_path / "to-link").symlink_to("root/out")
        done = rexec_command("serve", "--copy-root", tmp_path / "root", "--trust", tmp_path / path)
        assert_one_line(done, f"--trust {tmp_path / path} is beneath --copy-root")

    def test_a_policy_decides_and_an_audit_tells(self, tmp_path: Path) -> None:
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "file").touch()
        (tmp_path / "audit").touch()
        options = ["--policy", tmp_path / "policy.toml", "--audit", tmp_path / "audit"]
        options += ["--copy-root", tmp_path / "root"]
        for rule, status in (('commands = [["true"]]', 255), ('commands = [["true"]]\ncopy = true', 0), ("", 0)):
            (tmp_path / "policy.toml").write_text(f'[rules.all]\nkeys = ["*"]\n{rule}\n')
            with serving(tmp_path, *options) as server:
                done = rexec_cp(server, ":/file", tmp_path / "copy")
                assert done.returncode == status, done.stderr
                if status:
                    assert_one_line(done, "the rule all of the server's policy does not allow to copy files")
        events = [json.loads(line)["event"] for line in (tmp_path / "audit").read_text().splitlines()]
        assert events == ["copy-refused", *["copy-start", "copy-end"] * 2]
