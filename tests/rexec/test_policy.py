"""Who may run what: patterns, rules, the file, what callers and the log are told, and the audit."""

import json
import os
import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import chanlink
from examples.rexec import limits, messages
from examples.rexec.client import StartError, detach, run
from examples.rexec.policy import file as policy_file
from examples.rexec.policy import patterns
from examples.rexec.policy.policy import Policy, Rule

from .servers import PATIENCE, ROOT, Server, assert_one_line, rexec_command, serving, until
from .test_run import sessions

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1q8n9Zc1oqUVVoG0rXwTnCJv0h2Ju9p1cTzV0vHbqA"
PRINT = "SHA256:" + "aB0+/" * 8 + "xyz"


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "words", "others"),
        [
            ("git", ["git"], ["gi", "gitk", "/usr/bin/git", "GIT", "git\n"]),
            ("web-*", ["web-1", "web-"], ["web", "web-/1", "xweb-1"]),
            ("*", ["", "a", "a\nb", "*"], ["-a", "a/b", "--", "-"]),
            ("-*", ["-a", "--all"], ["a", "-a/b"]),
            ("**", ["", "a/b", "-a", "../x"], []),
            ("/var/log/*", ["/var/log/a", "/var/log/-a"], ["/var/log/a/b", "/var/log/../shadow"]),
            ("/srv/**", ["/srv/a/b"], ["/srv", "/etc"]),
            ("a?c", ["abc"], ["ac", "a/c", "abbc"]),
            ("a.c+[x]", ["a.c+[x]"], ["abc+[x]", "a.cc[x]", "a.c+x"]),
            ("?", ["a"], ["-", "/", "ab"]),
        ],
    )
    def test_of_words(self, pattern: str, words: list[str], others: list[str]) -> None:
        assert [word for word in words + others if patterns.matches(word, pattern)] == words

    @pytest.mark.parametrize(
        ("pattern", "commands", "others"),
        [
            (["ls"], ["ls"], ["ls -l", "", "lsof"]),
            (
                ["git", "pull", "..."],
                ["git pull", "git pull a b"],
                ["git", "git push", "git -c x pull", "git pull --all", "git pull a -v"],
            ),
            (["git", "pull", "-..."], ["git pull", "git pull --all a -v"], ["git", "git push --all"]),
            (
                ["tail", "*", "/var/log/*"],
                ["tail 5 /var/log/a"],
                ["tail -f /var/log/a", "tail 5 /etc/a"],
            ),
        ],
    )
    def test_of_commands(self, pattern: list[str], commands: list[str], others: list[str]) -> None:
        allowed = [line for line in commands + others if patterns.matches_command(line.split(), pattern)]
        assert allowed == commands

    @pytest.mark.parametrize(
        ("pattern", "word", "allowed"),
        [
            ("/srv/*/log", "/srv/../log", False),
            ("/srv/**", "/srv/a/../../etc/shadow", False),
            ("/srv/**", "/srv/..", False),
            ("/srv/??/log", "/srv/../log", False),
            ("--file=/srv/*", "--file=/srv/..", False),
            ("*", "..", False),
            ("../*", "../..", False),
            ("../*", "../a", True),
            ("/srv/../*", "/srv/../a", True),
            ("*", "main..next", True),
            ("/srv/**", "/srv/a..b/...", True),
            ("**", "cd a/../b", True),
        ],
    )
    def test_what_is_wild_does_not_lead_up(self, pattern: str, word: str, allowed: bool) -> None:
        assert patterns.matches(word, pattern) == allowed

    def test_they_mean_what_a_regular_expression_means(self) -> None:
        def expected(word: str, pattern: str) -> bool:
            if pattern[:1] in ("*", "?") and word.startswith("-") and not pattern.startswith("**"):
                return False
            pieces = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
            parts = re.split(r"(\*\*|\*|\?)", pattern)
            expression = "".join(pieces.get(part) or re.escape(part) for part in parts)
            return re.fullmatch(expression, word, re.DOTALL) is not None

        lot = random.Random(12)
        matching = 0
        for _ in range(20_000):
            pattern = "".join(lot.choices("ab/-\n?**", k=lot.randrange(8)))
            word = "".join(lot.choices("aab/-\n", k=lot.randrange(9)))
            assert patterns.matches(word, pattern) == expected(word, pattern), (word, pattern)
            matching += patterns.matches(word, pattern)
        assert matching > 1_000

    @pytest.mark.parametrize("pattern", ["**a" * 30 + "b", "*a" * 30 + "b", "*?" * 30 + "/", "**a**/" * 20 + "?b"])
    def test_none_takes_for_ever_whatever_the_word(self, pattern: str) -> None:
        """By going back it would take longer than the age of the earth."""
        for word in ("a" * patterns.WORD_MAX, "a/" * (patterns.WORD_MAX // 2), "a" * (patterns.WORD_MAX + 1)):
            assert not patterns.matches(word, pattern)
        assert patterns.matches("a" * (patterns.WORD_MAX - 1) + "b", "**a**a*b")


@pytest.mark.anyio
class TestRules:
    """In force: the server here, commands are real."""

    def ruled(self, **entries: Any) -> Policy:
        return Policy([Rule("test", ("*",), **entries)])

    async def refused(self, session: chanlink.Session, argv: list[str], *words: str, **settings: Any) -> None:
        with pytest.raises(StartError) as caught:
            await run(session, argv, **settings)
        assert caught.value.code == messages.REFUSED
        for word in ("the rule test", *words):
            assert word in caught.value.text
        assert "\n" not in caught.value.text

    async def test_only_the_commands_of_the_rule(self) -> None:
        policy = self.ruled(commands=(("echo", "-..."), ("sh", "-c", "exit 3")))
        async with sessions(policy=policy) as session:
            assert (await run(session, ["echo", "-n", "a"])).stdout == b"a"
            assert (await run(session, ["sh", "-c", "exit 3"])).status == 3
            await self.refused(session, ["sh", "-c", "exit 4"], "does not allow this command", "sh -c 'exit 4'")
            await self.refused(session, ["/bin/echo"], "/bin/echo")
            await self.refused(session, ["echo"], "the folder /tmp", directory="/tmp")
            await self.refused(session, ["echo"], "to set PATH", environment={"PATH": "/tmp"})
            await self.refused(session, ["echo"], "to set LD_PRELOAD", environment={"LANG": "C", "LD_PRELOAD": "x"})
            await self.refused(session, ["echo"], "the user root", user="root")

    @pytest.mark.parametrize("value", ["/dev/tape", ":/etc/shadow", "../../tmp/x", "Europe/../../../tmp/x"])
    @pytest.mark.parametrize("name", ["TZ", "LANG", "LC_ALL"])
    async def test_a_variable_is_harmless_only_if_it_names_no_file(self, name: str, value: str) -> None:
        async with sessions(policy=self.ruled(commands=(("sh", "-c", f"echo ${name}"),))) as session:
            argv = ["sh", "-c", f"echo ${name}"]
            await self.refused(session, argv, f"to set {name}", environment={name: value})
            for good in ("Europe/Berlin", "de_DE.UTF-8", "CET-1CEST"):
                assert (await run(session, argv, environment={name: good})).stdout.decode() == f"{good}\n"

    @pytest.mark.parametrize("restriction", [{"commands": (("test", "-t", "1"),)}, {"command": ("test", "-t", "1")}])
    async def test_a_terminal_has_to_be_allowed_where_commands_are_restricted(self, restriction: Any) -> None:
        """There a command like ``git log`` starts a pager, which starts whatever is typed."""
        argv, size = ["test", "-t", "1"], messages.Size(80, 24)
        async with sessions(policy=self.ruled(**restriction)) as session:
            assert (await run(session, argv)).status == 1
            await self.refused(session, argv, "allows no terminal", terminal=size)
        for policy in (self.ruled(**restriction, pty=True), self.ruled()):
            async with sessions(policy=policy) as session:
                assert (await run(session, argv, terminal=size)).status == 0

    async def test_a_forced_command_is_run_whatever_is_asked_for(self) -> None:
        policy = self.ruled(command=("sh", "-c", 'echo "$REXEC_ORIGINAL_COMMAND"; exit 7'))
        async with sessions(policy=policy) as session:
            done = await run(session, ["rm", "-rf", "/ home"])
            assert (done.status, done.stdout) == (7, b"rm -rf '/ home'\n")
            await self.refused(session, ["true"], "REXEC_ORIGINAL", environment={"REXEC_ORIGINAL_COMMAND": "x"})

    async def test_variables_folders_and_terminals(self) -> None:
        policy = self.ruled(
            environment=("APP_*",), variables={"APP_MODE": "safe"}, directories=("/usr/*",), directory="/", pty=False
        )
        async with sessions(policy=policy) as session:
            script = "echo $APP_NAME $APP_MODE $PWD"
            environment = {"APP_NAME": "a", "APP_MODE": "b"}
            assert (await run(session, ["sh", "-c", script], environment=environment)).stdout == b"a safe /\n"
            assert (await run(session, ["pwd"], directory="/usr/bin")).stdout == b"/usr/bin\n"
            await self.refused(session, ["pwd"], "HOME", environment={"HOME": "/"})
            await self.refused(session, ["pwd"], "/usr/bin/..", directory="/usr/bin/../..")
            await self.refused(session, ["pwd"], "/usr/..", directory="/usr/..")
            await self.refused(session, ["pwd"], "allows no terminal", terminal=messages.Size(80, 24))

    async def test_callers_may_lower_limits_but_not_raise_them(self) -> None:
        policy = self.ruled(limits={"files": 100, "time": 1})
        async with sessions(policy=policy) as session:
            assert (await run(session, ["sh", "-c", "ulimit -n"])).stdout == b"100\n"
            assert (await run(session, ["sh", "-c", "ulimit -n"], limits={"files": 50})).stdout == b"50\n"
            assert "time of 1 s" in (await run(session, ["sleep", "1000"])).note
            await self.refused(session, ["true"], "files is 100 count at most", limits={"files": 101})

    async def test_so_many_at_once_and_no_more(self) -> None:
        policy = self.ruled(at_once=2)
        async with sessions(policy=policy) as session:
            await detach(session, ["sleep", "1000"])
            await detach(session, ["sleep", "1000"])
            with pytest.raises(StartError) as caught:
                await run(session, ["true"])
            assert "allows 2 at once" in caught.value.text

    async def test_detaching_may_be_forbidden(self) -> None:
        async with sessions(policy=self.ruled(detach=False)) as session:
            with pytest.raises(StartError) as caught:
                await detach(session, ["true"])
            assert caught.value.code == messages.REFUSED

    async def test_a_key_that_no_rule_names_may_run_nothing(self) -> None:
        for policy in (Policy([]), Policy([Rule("other", ("SHA256:abc", "somebody"))])):
            async with sessions(policy=policy) as session:
                with pytest.raises(StartError) as caught:
                    await run(session, ["true"])
                assert (caught.value.code, "no rule" in caught.value.text) == (messages.REFUSED, True)

    def test_rules_are_found_by_name_key_and_fingerprint(self) -> None:
        key = chanlink.Identity.generate("alice").public_key
        peer = chanlink.Peer(key, "alice", "here")
        for name in ("alice", key.fingerprint, " ".join(str(key).split()[:2])):
            policy = Policy([Rule("other", ("bob",)), Rule("hers", (name,)), Rule("rest", ("*",))])
            assert policy.rule_for(peer).name == "hers"
            assert policy.rule_for(chanlink.Peer(None, "carol", "here")).name == "rest"

    @pytest.mark.parametrize("kind", ["fingerprint", "key", "everybody"])
    def test_a_comment_is_no_key(self, kind: str) -> None:
        """Whoever asks for his line in the trust file has written the comment in it."""
        boss, thief = (chanlink.Identity.generate(name).public_key for name in ("boss", "thief"))
        text = {"fingerprint": boss.fingerprint, "key": " ".join(str(boss).split()[:2]), "everybody": "*"}[kind]
        policy = Policy([Rule("all", (text,)), Rule("some", (thief.fingerprint,), commands=(("true",),))])
        peer = chanlink.Peer(thief, text, "here")
        if kind == "everybody":
            policy = Policy(policy.rules[::-1])
        assert policy.rule_for(peer).name == "some"
        with pytest.raises(StartError):
            Policy([Rule("all", (boss.fingerprint,))]).rule_for(chanlink.Peer(None, boss.fingerprint, "here"))

    @pytest.mark.skipif(os.geteuid() != 0, reason="runs commands as another user")
    async def test_the_first_user_of_a_rule_is_the_default(self) -> None:
        policy = self.ruled(users=("daemon", "nobody"))
        async with sessions(policy=policy) as session:
            assert (await run(session, ["id", "-un"])).stdout == b"daemon\n"
            assert (await run(session, ["id", "-un"], user="nobody")).stdout == b"nobody\n"
            await self.refused(session, ["id"], "the user root", user="root")

    def test_copying_is_for_those_who_may_run_anything(self) -> None:
        assert Rule("a", ("*",)).allows_copying
        assert not Rule("a", ("*",), commands=(("ls",),)).allows_copying
        assert not Rule("a", ("*",), command=("ls",)).allows_copying
        assert Rule("a", ("*",), commands=(("ls",),), copy=True).allows_copying


GOOD = f"""
[rules.deploy]
keys = ["alice@laptop", "{PRINT}", "{KEY} comment"]
commands = [["git", "pull", "..."], ["uptime"]]
environment = ["LANG", "APP_*"]
variables = {{ MODE = "safe" }}
directory = "/srv"
directories = ["/srv/*"]
users = ["www-data"]
pty = false
detach = false
copy = true
at_once = 3
limits = {{ memory = "1G", time = "10m", files = 100, processor = "1h", processes = 20 }}

[rules.rest]
keys = ["*"]
command = ["backup", "--serve"]
"""

BAD = [
    ("rules = 1", "rules: it has to be tables"),
    ("[rule.x]\nkeys = ['*']", '"rule": there is no such entry'),
    ("[rules.x]", "rules.x: it names no keys"),
    ("[rules.x]\nkeys = []", "it names no keys"),
    ("[rules.x]\nkeys = 'alice'", "rules.x.keys: it has to be a list of keys"),
    ("[rules.x]\nkeys = [1]", "rules.x.keys[0]: it has to be a string"),
    ("[rules.x]\nkeys = ['']", "rules.x.keys[0]: it is empty"),
    ("[rules.x]\nkeys = ['ssh-ed25519 AAAA']", "rules.x.keys[0]:"),
    (f"[rules.x]\nkeys = ['{PRINT[:-1]}']", "is no fingerprint"),
    (f"[rules.x]\nkeys = ['{PRINT}=']", "is no fingerprint"),
    (f"[rules.x]\nkeys = ['{PRINT} ']", "is no fingerprint"),
    ("[rules.x]\nkeys = ['MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48']", "is no fingerprint"),
    ("[rules.x]\nkeys = ['ssh-ed25519']", "rules.x.keys[0]:"),
    (f"[rules.x]\nkeys = ['{KEY[:-1]}']", "rules.x.keys[0]:"),
    (f"[rules.x]\nkeys = ['{KEY.split()[1]}']", "rules.x.keys[0]:"),
    ("[rules.x]\nkeys = ['ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ']", "rules.x.keys[0]:"),
    ("[rules.x]\nkeys = ['*@laptop']", "is no name"),
    ("[rules.x]\nkeys = ['alice ']", "is no name"),
    ("[rules.x]\nkeys = ['a']\n[rules.y]\nkeys = ['b', 'a']", 'rules.y.keys: "a" stands in rules.x too'),
    ("[rules.x]\nkeys = ['*']\ncomands = [['ls']]", 'there is no entry "comands"'),
    ("[rules.x]\nkeys = ['*']\ncommands = ['ls']", "rules.x.commands[0]: it has to be a list of words"),
    ("[rules.x]\nkeys = ['*']\ncommands = [[]]", "rules.x.commands[0]: it names no program"),
    ("[rules.x]\nkeys = ['*']\ncommands = [['...']]", "it names no program"),
    ("[rules.x]\nkeys = ['*']\ncommands = [['a', '...', 'b']]", "can only be the last word"),
    ("[rules.x]\nkeys = ['*']\ncommands = [['-...']]", "it names no program"),
    ("[rules.x]\nkeys = ['*']\ncommands = [['a', '-...', '...']]", "can only be the last word"),
    ("[rules.x]\nkeys = ['*']\ncommands = [['a', 1]]", "rules.x.commands[0][1]"),
    ("[rules.x]\nkeys = ['*']\ncommand = ['']", "it names no program"),
    ('[rules.x]\nkeys = ["*"]\ncommand = ["a\\u0000b"]', "zero byte"),
    ("[rules.x]\nkeys = ['*']\ncommand = ['a']\ncommands = [['a']]", "exclude each other"),
    ("[rules.x]\nkeys = ['*']\npty = 'no'", "rules.x.pty: it has to be true or false"),
    ("[rules.x]\nkeys = ['*']\npty = 0", "true or false"),
    ("[rules.x]\nkeys = ['*']\nat_once = true", "rules.x.at_once: it has to be a number"),
    ("[rules.x]\nkeys = ['*']\nat_once = 0", "at least 1"),
    ("[rules.x]\nkeys = ['*']\nat_once = 1" + "0" * 400, "at most"),
    ("[rules.x]\nkeys = ['*']\nat_once = 1" + "0" * 5_000, "digits"),
    ("[rules.x]\nkeys = ['*']\nlimits = {time = 1" + "0" * 400 + "}", "has to be 1 to"),
    ("[rules.x]\nkeys = ['*']\nlimits = {time = '3651d'}", "has to be 1 to"),
    ("[rules.x]\nkeys = ['*']\nlimits = {time = inf}", "rules.x.limits.time"),
    ("[rules.x]\nkeys = ['*']\nlimits = {height = 1}", "no limit 'height'"),
    ("[rules.x]\nkeys = ['*']\nlimits = {memory = '1X'}", "rules.x.limits.memory"),
    ("[rules.x]\nkeys = ['*']\nlimits = {memory = 0}", "a limit of memory has to be 1 to"),
    ("[rules.x]\nkeys = ['*']\nlimits = {memory = 1.5}", "rules.x.limits.memory"),
    ("[rules.x]\nkeys = ['*']\nlimits = []", "rules.x.limits: it has to be a table"),
    ("[rules.x]\nkeys = ['*']\nvariables = {'A=B' = 'c'}", "can't be a variable"),
    ("[rules.x]\nkeys = ['*']\nvariables = {A = 1}", "rules.x.variables.A: it has to be a string"),
    ("[rules.x]\nkeys = ['*']\ndirectory = 'srv'", "rules.x.directory: it has to begin with /"),
    ("[rules.'a b']\nkeys = ['*']", '"a b" is not the name of a rule'),
    ("[rules]\nx = 1", "rules.x: it has to be a table"),
    ("[rules.x\n", "line 1"),
    ("[rules.x]\nkeys = ['*']\nkeys = ['*']\n", "line 3"),
    ("x = " + "[" * 5000, "nested too deeply"),
]


class TestFile:
    def load(self, folder: Path, text: str | bytes) -> Policy:
        (path := folder / "policy.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return policy_file.load(str(path))

    def test_a_good_file_says_what_it_says(self, tmp_path: Path) -> None:
        deploy, rest = self.load(tmp_path, GOOD).rules
        assert deploy == Rule(
            "deploy", ("alice@laptop", PRINT, KEY), (("git", "pull", "..."), ("uptime",)), None,
            ("LANG", "APP_*"), {"MODE": "safe"}, "/srv", ("/srv/*",), ("www-data",), False, False, True, 3,
            {"memory": 2**30, "time": 600, "files": 100, "processor": 3600, "processes": 20},
        )  # fmt: skip
        assert rest == Rule("rest", ("*",), command=("backup", "--serve"))

    def test_whoever_is_named_is_meant_before_all_others(self, tmp_path: Path) -> None:
        text = "[rules.a]\nkeys=['*']\n[rules.b]\nkeys=['x']"
        assert [rule.name for rule in self.load(tmp_path, text).rules] == ["b", "a"]

    @pytest.mark.parametrize(("text", "words"), BAD, ids=range(len(BAD)))
    def test_a_bad_file_is_one_line_with_the_place(self, tmp_path: Path, text: str, words: str) -> None:
        with pytest.raises(policy_file.PolicyError) as caught:
            self.load(tmp_path, text)
        problem = str(caught.value)
        assert problem.startswith(f"{tmp_path}/policy.toml: ")
        assert words in problem
        assert "\n" not in problem
        assert len(problem) < 400

    def test_what_is_no_file_of_text_is_one_line(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "binary").write_bytes(b"[rules.x]\nkeys = ['\xff']")
        (tmp_path / "long").write_bytes(b"#" * 2_000_000)
        for name in ("fifo", "binary", "long", "none", ".", "a\0b"):
            with pytest.raises(policy_file.PolicyError) as caught:
                policy_file.load(str(tmp_path / name))
            assert "\n" not in str(caught.value)

    def test_no_damage_to_a_file_is_a_traceback(self, tmp_path: Path) -> None:
        chance = random.Random(7)
        for _ in range(500):
            data = bytearray(GOOD.encode())
            for _ in range(chance.randrange(1, 4)):
                at = chance.randrange(len(data))
                data[at : at + chance.randrange(3)] = chance.choice([b"", b'"', b"[", b"\n", b"\xff", b"=", b"0", b"{"])
            with suppress(policy_file.PolicyError):
                self.load(tmp_path, bytes(data))

    @pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1e3", "G", "1 G", "1g", "9" * 30, "٣"])
    def test_limits_that_are_none(self, text: str) -> None:
        with pytest.raises(ValueError, match="limit of memory"):
            limits.read_limit("memory", text)


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
