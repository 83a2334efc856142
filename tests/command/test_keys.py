"""Keys from files, from the command line and from an agent."""

import argparse
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from chanlink import Identity, KeyFormatError, PublicKey, Trust
from chanlink.command.keys import load_ours, our_identity, public_key
from chanlink.command.problems import Problem
from tests.command.calls import COMMAND, Call, Keys, assert_one_line, environment, run
from tests.security.keys.credentials import CA, save
from tests.security.keys.programs import AgentProcess, needs_ssh_agent, needs_ssh_keygen

ALICE, BOB = (Identity.generate(name).public_key for name in ("alice", "bob"))


@needs_ssh_keygen
def test_a_passphrase_is_asked_for_at_the_terminal_and_missing_without_one(tmp_path: Path) -> None:
    pytest.importorskip("bcrypt")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "locked"], check=True)
    key = PublicKey.load(tmp_path / "locked.pub")
    done = subprocess.run(
        ["setsid", *COMMAND, "id", "locked"], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True
    )
    assert_one_line(("", done.stderr), "passphrase", "ssh-add")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(sys.executable, [*COMMAND, "id", "--fingerprint", "locked"], environment(tmp_path))
    said = b""
    for answer in (b"wrong\n", b"secret\n"):
        asked = said.count(b"Passphrase")
        while said.count(b"Passphrase") == asked:
            said += os.read(terminal, 1000)
        os.write(terminal, answer)
    while key.fingerprint.encode() not in said:
        said += os.read(terminal, 1000)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"secret" not in said
    os.close(terminal)


def test_keys_come_from_files_and_standard_input(call: Call, tmp_path: Path) -> None:
    Identity.generate("carol").save(tmp_path / "carol")
    assert call("peers", "add", "--trust", "trust", "carol.pub").status == 0
    run(tmp_path, "peers", "add", "--trust", "trust", "-", input=f"{ALICE}\n".encode())
    assert {grant.name for grant in Trust.load("trust").grants.values()} == {"carol", "alice"}
    assert_one_line(call("peers", "add", "--trust", "trust", "carol"), "carol.pub")
    assert_one_line(call("peers", "add", "--trust", "trust", "no-file"), "no-file", "public key")
    assert_one_line(call("peers", "add", "--trust", "trust", "ssh-ed25519 AAAA"))


@pytest.mark.slow
@needs_ssh_agent
def test_keys_in_an_agent_are_used(keys: Keys, server: str, ssh_agent: AgentProcess) -> None:
    ssh_agent.ssh_add("-q", keys.home / "client")
    agent = {"SSH_AUTH_SOCK": str(ssh_agent.socket)}
    words = ["ping", "-c1", "--agent", "--peer", keys.home / "server.pub", server]
    assert "1 round trips" in run(keys.home, *words, **agent)[0]
    ssh_agent.add(Identity.generate("another"))
    assert_one_line(run(keys.home, *words, status=1, **agent), "2 Ed25519 keys")
    assert "1 round trips" in run(keys.home, *words, "--identity", keys.home / "client.pub", **agent)[0]
    assert_one_line(run(keys.home, *words, status=1), "SSH_AUTH_SOCK")


@pytest.mark.anyio
@needs_ssh_agent
async def test_a_credential_beside_the_public_half_of_a_key_in_an_agent_is_shown(
    tmp_path: Path, ssh_agent: AgentProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(ssh_agent.socket))
    client = Identity.generate()
    key = ssh_agent.add(client)
    key.unlink()
    credential = CA().issue(client.public_key)
    save(credential, key)
    for text, shown in ((f"{key}.pub", credential), (str(client.public_key), None)):
        given = options(agent=True, identity=text)
        given.loaded = load_ours(given)
        assert await (await our_identity(given)).credential() == shown


def options(**given: object) -> argparse.Namespace:
    return argparse.Namespace(**{"agent": False, "identity": None, **given})


def test_our_identity_is_the_one_that_is_named_or_that_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHANLINK_IDENTITY", str(tmp_path / "mine"))
    made = load_ours(options())
    assert isinstance(made, Identity)
    assert capsys.readouterr().err == f"made a key of our own: {tmp_path / 'mine'}\n"
    named = load_ours(options(identity=str(tmp_path / "mine")))
    assert isinstance(named, Identity)
    assert named.public_key == made.public_key
    assert capsys.readouterr().err == ""


def test_of_a_key_in_an_agent_only_the_public_half_is_read(tmp_path: Path) -> None:
    (tmp_path / "alice.pub").write_text(f"{ALICE}\n")
    assert load_ours(options(agent=True)) is None
    assert load_ours(options(agent=True, identity=str(tmp_path / "alice.pub"))) == ALICE


def test_a_public_key_is_itself_or_a_file_and_else_it_is_said_what_it_should_be(tmp_path: Path) -> None:
    Identity.generate("bob").save(tmp_path / "bob")
    assert public_key(str(ALICE)) == ALICE
    assert public_key(str(tmp_path / "bob.pub")) == PublicKey.load(tmp_path / "bob.pub")
    with pytest.raises(Problem, match=r"is no public key; that is .*bob\.pub"):
        public_key(str(tmp_path / "bob"))
    with pytest.raises(Problem, match="give a public key"):
        public_key(str(tmp_path / "none"))
    with pytest.raises(KeyFormatError):
        public_key("ssh-ed25519 AAAA")
