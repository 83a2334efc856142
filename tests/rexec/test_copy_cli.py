"""``rexec cp``: real processes on both sides, also killed ones."""

import json
import os
import pty
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import chanlink
from examples.rexec.cli import progress
from examples.rexec.cli.arguments import Parser
from examples.rexec.cli.commands import cp
from examples.rexec.copy import messages as copying
from examples.rexec.copy.rules import may_copy
from examples.rexec.policy.policy import Policy, Rule

from .servers import COMMAND, MIB, PATIENCE, ROOT, Server, assert_one_line, rexec_command, serving, until
from .test_copy import contents, make_tree, names

KILLS = int(os.environ.get("REXEC_COPY_KILLS", "1"))
"""Of each of four kinds; ``make copy-kills`` does more of them."""
DATA = os.urandom(12 * MIB)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("rexec")) as server:
        yield server


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


class TestPermission:
    def test_copying_and_running_are_allowed_each_by_itself(self, tmp_path: Path) -> None:
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "file").touch()
        with serving(tmp_path, "--copy-root", tmp_path / "root") as server:
            trust = tmp_path / "client.pub"
            key = trust.read_text()
            for allowed, status in (("copy", (0, 255)), ("rexec", (255, 0))):
                trust.write_text(f'services="{allowed}" {key}')
                deadline = time.monotonic() + PATIENCE
                while time.monotonic() < deadline:  # until the server has seen the change
                    copied = rexec_cp(server, ":/file", tmp_path / "copy")
                    ran = server.run("true")
                    if (copied.returncode, ran.returncode) == status:
                        break
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
                trust.write_text(trust_line)
                policy.write_text(f"[rules.all]\nkeys = ['*']\n{rule}")
                until(lambda: rexec_cp(server, tmp_path / "mine", f":{tmp_path}/there").returncode)
                (tmp_path / "there").unlink(missing_ok=True)
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

    @pytest.mark.parametrize(
        ("rule", "reason"),
        [
            (Rule("free", ("*",)), None),
            (Rule("some", ("*",), commands=(("ls",),)), "the rule some of the server's policy does not allow"),
            (Rule("some", ("*",), commands=(("ls",),), copy=True), None),
            (Rule("none", ("*",), copy=False), "does not allow to copy"),
            (Rule("others", ("bob",)), "names this key"),
            (Rule("users", ("*",), users=("nobody",)), "" if os.geteuid() else "is for other users"),
        ],
    )
    def test_what_a_rule_says_about_copies(self, rule: Rule, reason: str | None) -> None:
        said = may_copy(Policy([rule]))(chanlink.Peer(None, "alice", ""), True, 1)
        assert (said is None) == (not reason)
        assert (reason or "") in (said or "")

    def test_the_trust_file_is_not_read_for_each_copy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A thousand keys take 10 ms, in which the server does nothing else; what is taken away is, a moment later."""
        identity = chanlink.Identity.generate("alice")
        peer = chanlink.Peer(identity.public_key, "alice", "")
        (file := tmp_path / "trust").write_text(f"{identity.public_key}\n")
        loads = []
        load = chanlink.Trust.load
        monkeypatch.setattr(chanlink.Trust, "load", lambda path: (loads.append(path), load(path))[1])
        refusal = may_copy(None, trust=str(file))
        for _ in range(1_000):
            assert refusal(peer, True, 1) is None
        assert len(loads) < 100
        file.write_text(f'services="copy" {identity.public_key}\n')
        until(lambda: refusal(peer, True, 1) is not None)
        file.write_text("nonsense\n")
        seen = len(loads)
        until(lambda: refusal(peer, True, 1) is not None and len(loads) > seen)


class TestProgress:
    def on_terminal(self, words: list[Any], **kwargs: Any) -> bytes:
        """What a command says on standard error, when that is a terminal."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(words, cwd=ROOT, stderr=theirs, stdout=subprocess.DEVNULL, **kwargs) as process:
            os.close(theirs)
            said = b""
            try:
                while data := os.read(ours, 65536):
                    said += data
            except OSError:  # the terminal has no other end any more
                pass
            os.close(ours)
        assert process.returncode == 0, said
        return said

    def test_a_bar_on_a_terminal_and_none_when_quiet(self, server: Server, tmp_path: Path) -> None:
        pytest.importorskip("rich")
        (tmp_path / "a file").write_bytes(DATA)
        words = command(server, tmp_path / "a file", f":{tmp_path}/copy")
        said = self.on_terminal(words)
        assert b"12.6/12.6 MB" in said
        assert b"MB/s" in said
        assert self.on_terminal([*words, "--quiet"]) == b""

    @pytest.mark.parametrize("name", ["\x1b]0;title\a", "two\nlines", "\u202egnp.exe", "x" * 10_000, "\udcff"])
    def test_a_name_in_a_bar_is_printable_and_short(self, name: str) -> None:
        assert progress._short(name).isprintable()
        assert len(progress._short(name)) <= 30

    def test_a_bar_for_a_pipe(self, server: Server, tmp_path: Path) -> None:
        pytest.importorskip("rich")
        (tmp_path / "file").write_bytes(DATA)
        with (tmp_path / "file").open() as file:
            assert b"12.6/12.6 MB" in self.on_terminal(server.command("cat", options=["--progress"]), stdin=file)
        done = server.run("cat", input=b"data", options=["--progress"])
        assert (done.stdout, done.stderr) == (b"data", b"")

    def test_without_rich_there_is_a_hint_and_the_copy(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / "rich.py").write_text("raise ImportError('not here')")
        (tmp_path / "file").write_bytes(DATA)
        words = command(server, tmp_path / "file", f":{tmp_path}/copy")
        said = self.on_terminal(words, env={**os.environ, "PYTHONPATH": f"{tmp_path}"})
        assert (said.count(b"\n"), b"pip install" in said) == (1, True)
        assert (tmp_path / "copy").read_bytes() == DATA


def test_the_service_has_the_name_that_trust_files_say() -> None:
    assert copying.SERVICE == "copy"
