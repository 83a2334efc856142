"""``chanlink keygen``: what it writes, where, and what it says."""

import json
import shutil
import subprocess
from pathlib import Path

from chanlink import Identity, PublicKey
from chanlink.security.keys.successor import Successor
from tests.command.calls import COMMAND, Call, assert_one_line, environment, mode_of, run
from tests.security.keys.programs import AgentProcess, needs_ssh_agent


def test_keygen_writes_what_ssh_keygen_reads_and_says_what_it_made(call: Call, tmp_path: Path) -> None:
    done = call("keygen", "alice", "--comment", "alice@laptop")
    assert done.status == 0
    identity = Identity.load("alice")
    assert PublicKey.load("alice.pub") == identity.public_key
    assert identity.public_key.comment == "alice@laptop"
    assert (mode_of(tmp_path / "alice"), mode_of(tmp_path / "alice.pub")) == (0o600, 0o644)
    assert str(identity.public_key) in done.out
    assert identity.public_key.fingerprint in done.out
    assert "chanlink peers add" in done.err
    if shutil.which("ssh-keygen"):
        assert subprocess.check_output(["ssh-keygen", "-y", "-f", "alice"], text=True).strip() == str(
            identity.public_key
        )


def test_keygen_makes_the_default_key_and_says_so_as_json(call: Call, tmp_path: Path) -> None:
    made = json.loads(call("keygen", "--json").out)
    key = Identity.default().public_key
    assert made["public_key"] == str(key)
    assert made["fingerprint"] == key.fingerprint
    assert "PRIVATE" not in json.dumps(made)
    assert mode_of(tmp_path / ".config/chanlink") == 0o700


def test_keygen_can_be_quiet_about_what_it_made_and_never_about_what_it_did_not(call: Call, tmp_path: Path) -> None:
    for words in (["alice"], ["--psk", "shared"]):
        done = call("keygen", "--quiet", *words)
        assert (done.status, done.out, done.err) == (0, "", "")
    assert str(Identity.load("alice").public_key) == (tmp_path / "alice.pub").read_text().strip()
    assert len((tmp_path / "shared").read_text()) == 45
    assert_one_line(call("keygen", "-q", "alice"), "exists")
    piped = call("keygen", "-q", "-")
    assert piped.out.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert piped.err == ""
    assert call("keygen", "-q", "--json", "bob").status == 2


def test_keygen_never_overwrites(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("precious")
    (tmp_path / "b.pub").write_text("precious")
    for words in (["a"], ["b"], ["--psk", "a"]):
        assert_one_line(call("keygen", *words), "exists", "another name")
    assert (tmp_path / "a").read_text() == (tmp_path / "b.pub").read_text() == "precious"
    assert not (tmp_path / "b").exists()


def test_keygen_to_standard_output_has_only_the_private_key(call: Call, tmp_path: Path) -> None:
    done = call("keygen", "-", "--comment", "piped")
    (tmp_path / "key").touch(0o600)
    (tmp_path / "key").write_text(done.out)
    assert str(Identity.load("key").public_key) == done.err.strip()


def test_keygen_makes_a_pre_shared_key(call: Call, tmp_path: Path) -> None:
    assert call("keygen", "--psk", "shared").status == 0
    assert mode_of(tmp_path / "shared") == 0o600
    text = (tmp_path / "shared").read_text()
    assert len(text) == 45
    done = call("keygen", "--psk", "other", "--json")
    assert text not in done.out + done.err
    assert json.loads(done.out) == {"file": "other"}
    assert len(call("keygen", "--psk", "-").out) == 45


def test_keygen_where_nothing_can_be_written_is_one_line_and_leaves_nothing(call: Call, tmp_path: Path) -> None:
    assert_one_line(call("keygen", "/proc/nowhere/key"), "/proc/nowhere")
    assert_one_line(call("keygen", "--psk", "/proc/nowhere"), "/proc")
    limited = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *COMMAND]
    for words in (["keygen", "full"], ["keygen", "--psk", "full"]):  # as on a full disk
        done = subprocess.run([*limited, *words], cwd=tmp_path, env=environment(tmp_path), capture_output=True)
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 1), done.stderr
    assert not list(tmp_path.glob("*full*")) + list(tmp_path.glob(".chanlink-*"))


def test_keygen_with_a_comment_of_two_lines_is_one_line(call: Call) -> None:
    assert_one_line(call("keygen", "key", "--comment", "a\nssh-ed25519 AAAA"), "comment")


def test_keygen_has_an_old_key_say_which_one_takes_its_place(call: Call, tmp_path: Path) -> None:
    assert call("keygen", "old", "--comment", "alice").status == 0
    done = call("keygen", "--successor", "old", "new")
    old, new = Identity.load("old").public_key, Identity.load("new").public_key
    assert new.comment == "alice"
    assert (str(new) in done.out, old.fingerprint in done.err) == (True, True)
    successor = Successor.load("new-successor")
    assert (successor.old, successor.new) == (old, new)
    assert mode_of(tmp_path / "new-successor") == 0o644


def test_keygen_makes_no_key_that_is_there_and_overwrites_nothing_that_was_said(call: Call, tmp_path: Path) -> None:
    for name in ("old", "new"):
        assert call("keygen", "-q", name).status == 0
    before = (tmp_path / "new").read_bytes()
    about = json.loads(call("keygen", "--json", "--successor", "old", "new").out)
    assert about["successor_file"] == "new-successor"
    assert about["old_fingerprint"] == Identity.load("old").public_key.fingerprint
    said = (tmp_path / "new-successor").read_bytes()
    assert_one_line(call("keygen", "--successor", "old", "new.pub"), "new-successor", "exists")
    assert ((tmp_path / "new").read_bytes(), (tmp_path / "new-successor").read_bytes()) == (before, said)
    assert_one_line(call("keygen", "--successor", "old", "old"), "its own place")
    assert not (tmp_path / "old-successor").exists()


def test_keygen_says_what_can_take_no_place(call: Call, tmp_path: Path) -> None:
    assert_one_line(call("keygen", "--successor", "none", "new"), "none")
    assert call("keygen", "-q", "old").status == 0
    for words in ([], ["-"], ["--psk", "shared"], ["--comment", "x", "old"]):
        assert call("keygen", "--successor", "old", *words).status == 2
    assert_one_line(call("keygen", "--successor", "old.pub", "new"), "ssh-agent")
    assert not list(tmp_path.glob("new*"))


@needs_ssh_agent
def test_keygen_has_an_agent_sign_for_the_old_key(ssh_agent: AgentProcess, tmp_path: Path) -> None:
    old = Identity.generate("old")
    ssh_agent.add(old)
    (tmp_path / "old.pub").write_text(f"{old.public_key}\n")
    run(tmp_path, "keygen", "--successor", "old.pub", "new", SSH_AUTH_SOCK=str(ssh_agent.socket))
    assert Successor.load(tmp_path / "new-successor").old == old.public_key
