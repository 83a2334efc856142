"""``chanlink id``: the public half of keys in files, on standard input and in an agent."""

import json
from pathlib import Path

import pytest

from chanlink import Identity
from tests.command.calls import Call, assert_one_line, run
from tests.security.keys.credentials import CA, save
from tests.security.keys.programs import AgentProcess, needs_ssh_agent


def test_id_shows_private_and_public_files_and_standard_input_alike(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (identity := Identity.generate("alice")).public_key
    identity.save(tmp_path / "alice")
    for file in ("alice", "alice.pub"):
        done = call("id", file)
        assert done.out == f"{key}\n"
        assert done.err == f"{key.fingerprint}  {file}\n"
        assert call("id", "--fingerprint", file).out == f"{key.fingerprint}\n"
    assert run(tmp_path, "id", "-", input=f"{key}\n".encode())[0] == f"{key}\n"
    (found,) = json.loads(call("id", "--json", "alice").out)
    assert found == {
        "public_key": str(key),
        "fingerprint": key.fingerprint,
        "comment": "alice",
        "from": "alice",
        "credentials": [],
        "successor": None,
    }


def test_id_makes_the_default_key_once(call: Call) -> None:
    first, second = call("id"), call("id")
    assert first.out == second.out == f"{Identity.default().public_key}\n"
    assert "made a key" in first.err
    assert "made a key" not in second.err


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"ssh-rsa AAAA x\n", b"-----BEGIN OPENSSH PRIVATE KEY-----\nA\n"]
)
def test_id_of_what_is_no_key_is_one_line(call: Call, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad").write_bytes(content)
    (tmp_path / "bad").chmod(0o600)
    assert_one_line(call("id", "bad"), "bad")
    assert_one_line(call("id", "no-such-file"), "no-such-file", "keygen")
    assert_one_line(call("id", tmp_path), "directory")


def test_id_of_a_private_key_that_others_may_read_is_one_line(call: Call, tmp_path: Path) -> None:
    Identity.generate().save(tmp_path / "open")
    (tmp_path / "open").chmod(0o644)
    assert_one_line(call("id", "open"), "chmod 600")


@needs_ssh_agent
def test_id_lists_the_keys_of_an_agent(ssh_agent: AgentProcess, tmp_path: Path) -> None:
    agent = {"SSH_AUTH_SOCK": str(ssh_agent.socket)}
    assert_one_line(run(tmp_path, "id", "--agent", status=1, **agent), "ssh-add")
    keys = [Identity.generate(name) for name in ("first", "second")]
    for key in keys:
        ssh_agent.add(key)
    listed = json.loads(run(tmp_path, "id", "--agent", "--json", **agent)[0])
    assert [one["fingerprint"] for one in listed] == [key.public_key.fingerprint for key in keys]
    assert_one_line(run(tmp_path, "id", "--agent", status=1), "SSH_AUTH_SOCK")


def test_id_says_what_lies_beside_a_key_and_what_a_credential_is(call: Call, tmp_path: Path) -> None:
    old, new = Identity.generate("old"), Identity.generate("alice")
    new.save(tmp_path / "alice")
    credential = CA().issue(new.public_key, "alice", "a.lice", serial=7, force_command="uptime")
    save(credential, tmp_path / "alice")
    assert call("keygen", "--successor", _saved(old, tmp_path / "old"), "alice").status == 0
    for file in ("alice", "alice.pub"):
        done = call("id", file)
        assert done.out == f"{new.public_key}\n"
        for words in ("user: alice, a.lice; 'of a test', serial 7", credential.ca.fingerprint, "force-command: uptime"):
            assert words in done.err
        assert f"in the place of {old.public_key.fingerprint}, since" in done.err
    done = call("id", "alice-cert.pub")
    assert done.out.split()[:2] == str(new.public_key).split()[:2]
    assert "serial 7" in done.err
    (found,) = json.loads(call("id", "--json", "alice").out)
    (shown,) = found["credentials"]
    about = (shown["type"], shown["principals"], shown["serial"], shown["valid"], shown["valid_before"])
    assert about == ("user", ["alice", "a.lice"], 7, True, None)
    assert shown["options"] == {"force-command": "uptime"}
    assert found["successor"]["old_fingerprint"] == old.public_key.fingerprint


def _saved(identity: Identity, file: Path) -> Path:
    identity.save(file)
    return file


def test_id_of_a_key_with_what_is_of_another_key_is_one_line(call: Call, tmp_path: Path) -> None:
    key = Identity.generate("alice")
    key.save(tmp_path / "alice")
    save(CA().issue(Identity.generate().public_key), tmp_path / "alice")
    for file in ("alice", "alice.pub"):
        assert_one_line(call("id", file), "alice-cert.pub", "it is of the key")


@needs_ssh_agent
def test_id_shows_the_credentials_of_an_agent(ssh_agent: AgentProcess, tmp_path: Path) -> None:
    key = Identity.generate("alice")
    file = ssh_agent.add(key)
    save(CA().issue(key.public_key, serial=9), file)
    ssh_agent.ssh_add("-q", file)
    agent = {"SSH_AUTH_SOCK": str(ssh_agent.socket)}
    (found,) = json.loads(run(tmp_path, "id", "--agent", "--json", **agent)[0])
    assert [one["serial"] for one in found["credentials"]] == [9]
