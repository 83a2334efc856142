"""The file of a policy: what it says, and what is said of one that is wrong."""

import os
import random
from contextlib import suppress
from pathlib import Path

import pytest

from chanlink import Peer
from examples.rexec.policy import file as policy_file
from examples.rexec.policy.policy import Policy, Rule
from tests.vouched import issued

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1q8n9Zc1oqUVVoG0rXwTnCJv0h2Ju9p1cTzV0vHbqA"
PRINT = "SHA256:" + "aB0+/" * 8 + "xyz"


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
    ("[rules.x]\nkeys = ['a*@laptop']", "is no name"),
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
        policy = self.load(tmp_path, text)
        assert [policy.rule_for(Peer(None, name, "here")).name for name in ("x", "y")] == ["b", "a"]

    def test_all_of_an_issuer_are_meant_before_all_others_and_after_whoever_is_named(self, tmp_path: Path) -> None:
        text = "[rules.a]\nkeys=['*']\n[rules.b]\nkeys=['*@example']\n[rules.c]\nkeys=['alice@example']"
        policy = self.load(tmp_path, text)
        alice, bob = (Peer(None, f"{name}@example", "here", issued=issued(principal=name)) for name in ("alice", "bob"))
        carol = Peer(None, "carol@example", "here")
        assert [policy.rule_for(peer).name for peer in (alice, bob, carol)] == ["c", "b", "a"]

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


def test_names_that_an_authority_gives_are_known_to_the_trust_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "policy").write_text('[rules.x]\nkeys = ["alice@example", "carol@example", "*@example", "*@other"]\n')
    (tmp_path / "trust").write_text(f'cert-authority,issuer="example",principals="alice" {KEY}\n')
    policy_file.PolicyFile(str(tmp_path / "policy"), str(tmp_path / "trust")).warn()
    unknown = [message.split(" names ")[1].partition(",")[0] for message in caplog.messages]
    assert unknown == ["'carol@example'", "'*@other'"]
