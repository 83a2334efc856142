"""Changing files of peers: what is not meant stays as it is, and what is not certain is not done."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chanlink import Identity, KnownPeers, PublicKey, Trust
from tests.command.calls import COMMAND, Call, assert_one_line, environment, mode_of, run
from tests.security.keys.programs import needs_ssh_keygen

ALICE, BOB = (Identity.generate(name).public_key for name in ("alice", "bob"))


def test_comments_order_and_mode_stay(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "trust"
    text = f"# our laptops\r\n\r\n{ALICE}\r\n\t# and more\n  {BOB}"
    file.write_bytes(text.encode())
    file.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(file)
    carol = Identity.generate("carol").public_key
    assert call("peers", "add", "--trust", "link", carol).status == 0
    assert file.read_bytes() == f"{text}\n{carol}\n".encode()
    assert call("peers", "remove", "--trust", "link", "alice").status == 0
    assert file.read_bytes() == f"# our laptops\r\n\r\n\t# and more\n  {BOB}\n{carol}\n".encode()
    assert mode_of(file) == 0o640
    assert link.is_symlink()


@pytest.mark.parametrize("action", ["remove", "revoke"])
@pytest.mark.parametrize("kind", ["trust", "known"])
def test_a_file_that_is_called_as_somebody_is_not_taken_for_him(
    kind: str, action: str, call: Call, tmp_path: Path
) -> None:
    lines = {"trust": f"{ALICE}\n{BOB}\n", "known": f"one {ALICE}\ntwo {BOB}\n"}[kind]
    file, other = tmp_path / kind, tmp_path / "alice"
    keys = {ALICE: str(ALICE).split()[1], BOB: str(BOB).split()[1]}

    def in_force() -> list[str]:
        return [line for line in file.read_text().splitlines() if line and not line.startswith(("#", "@"))]

    def left(whom: str) -> int:
        file.write_text(lines)
        return call("peers", action, f"--{kind}", kind, whom).status

    other.write_text(f"{BOB}\n")
    assert left("alice") == 1  # which of the two is meant?
    assert file.read_text() == lines
    assert left("./alice") == 0
    assert [keys[ALICE] in line for line in in_force()] == [True]
    other.write_text(f"{PublicKey(Identity.generate().public_key.raw)}\n")
    assert left("alice") == 1
    other.write_text(f"{PublicKey(ALICE.raw)}\n")  # the same key: no doubt
    assert left("alice") == 0
    assert [keys[BOB] in line for line in in_force()] == [True]
    for text in ("-----BEGIN OPENSSH PRIVATE KEY-----\n", ""):
        other.write_text(text)
        assert left("alice") == 0
        assert [keys[BOB] in line for line in in_force()] == [True]


def test_several_are_revoked_at_once_by_name_file_key_and_fingerprint(call: Call, tmp_path: Path) -> None:
    carol, dave = (Identity.generate(name).public_key for name in ("carol", "dave"))
    (tmp_path / "carol.pub").write_text(f"{carol}\n")
    for kind, lines in {"trust": f"{ALICE}\n{BOB}\n", "known": f"one {ALICE}\ntwo {BOB}\n"}.items():
        file = tmp_path / kind
        file.write_text(lines)
        done = call("peers", "revoke", f"--{kind}", kind, "alice", BOB.fingerprint, "carol.pub", dave)
        assert done.status == 0
        revoked = [line for line in file.read_text().splitlines() if line.startswith("@revoked")]
        assert len(revoked) == 4
        for key in (ALICE, BOB, carol, dave):
            assert any(str(key).split()[1] in line for line in revoked)


@pytest.mark.parametrize("action", ["add", "remove", "revoke"])
@pytest.mark.parametrize("bad", [b"restrict ssh-ed25519 AAAA\n", b"\xff\n", b"x" * (1024 * 1024 + 1)])
def test_a_file_that_is_not_understood_is_left_alone(call: Call, tmp_path: Path, action: str, bad: bytes) -> None:
    for name in ("trust", "known"):
        (tmp_path / name).write_bytes(bad)
        words = ["tcp://a:1"] if (name, action) == ("known", "add") else []
        assert_one_line(call("peers", action, f"--{name}", name, *words, ALICE), name)
        assert (tmp_path / name).read_bytes() == bad


def test_a_name_of_several_keys_is_not_guessed(call: Call, tmp_path: Path) -> None:
    others = [Identity.generate("laptop").public_key for _ in range(2)]
    (tmp_path / "trust").write_text("".join(f"{key}\n" for key in others))
    assert_one_line(call("peers", "remove", "--trust", "trust", "laptop"), "several", "SHA256:")
    assert_one_line(call("peers", "remove", "--trust", "trust", "nobody"), "nobody", "peers list")
    assert len(Trust.load("trust").grants) == 2


@pytest.mark.slow
def test_editors_at_once_lose_no_key(tmp_path: Path) -> None:
    keys = [Identity.generate(f"n{number}").public_key for number in range(8)]
    known = KnownPeers.load(tmp_path / "known")
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(run, tmp_path, "peers", "add", "--known", "known", f"tcp://h{n}:1", key)
                for n, key in enumerate(keys)]  # fmt: skip
        jobs.append(pool.submit(known.add, "tcp://build:1", ALICE))  # type: ignore[arg-type]
        for job in jobs:
            job.result()
    now = KnownPeers.load(tmp_path / "known")
    assert now.find("tcp://build:1", ALICE) is not None
    for number, key in enumerate(keys):
        assert now.find(f"tcp://h{number}:1", key) is not None


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "trust").write_text(f"{ALICE}\n")
    limited = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *COMMAND, "peers", "add", "--trust", "trust", str(BOB)]
    done = subprocess.run(limited, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True)
    assert_one_line(("", done.stderr), "trust", "File too large")
    assert (tmp_path / "trust").read_text() == f"{ALICE}\n"
    assert os.listdir(tmp_path) == ["trust"]


def test_an_authority_of_hosts_is_added_listed_and_revoked(call: Call, tmp_path: Path) -> None:
    hosts = ("peers", "add", "--known", "known", "--hosts")
    assert call("peers", "add", "--known", "known", "tcp://build.example", BOB).status == 0
    assert call(*hosts, "*.example,!old.example", ALICE).status == 0
    assert (tmp_path / "known").read_text().splitlines()[1] == f"@cert-authority *.example,!old.example {ALICE}"
    assert "already" in call(*hosts, "*.example,!old.example", ALICE).err
    _, listed = json.loads(call("peers", "list", "--json", "--known", "known").out)
    assert (listed["authority"], listed["addresses"]) == (True, ["*.example", "!old.example"])
    assert "@cert-authority *.example,!old.example" in call("peers", "list", "--known", "known").out
    assert call("peers", "remove", "--known", "known", "tcp://build.example").status == 0  # and not the authority
    assert (tmp_path / "known").read_text() == f"@cert-authority *.example,!old.example {ALICE}\n"
    assert call("peers", "revoke", "--known", "known", "alice").status == 0
    assert (tmp_path / "known").read_text() == f"@revoked * {ALICE}\n"
    assert_one_line(call(*hosts, "*.example", ALICE), "known:1", "revoked")


@pytest.mark.parametrize("hosts", ["", "a b", f"a {BOB}", "a,,b", "a\nb", "|1|x|y", "*a*," * 100])
def test_hosts_that_are_none_change_nothing(call: Call, tmp_path: Path, hosts: str) -> None:
    (tmp_path / "known").write_text(f"one {BOB}\n")
    failed = call("peers", "add", "--known", "known", "--hosts", hosts, ALICE)
    assert failed.status == 1
    assert len(failed.err) < 400
    assert (tmp_path / "known").read_text() == f"one {BOB}\n"


@needs_ssh_keygen
def test_files_of_ssh_are_understood(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"host.example,other.example {ALICE}\nsecret.example {BOB}\nx ssh-rsa AAAA\n")
    assert_one_line(call("peers", "remove", "--known", file, "tcp://host.example"), "other servers", "editor")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, stderr=subprocess.DEVNULL)
    assert call("peers", "remove", "--known", file, "tcp://secret.example").status == 0
    assert str(BOB).split()[1] not in file.read_text()
    assert "ssh-rsa" in file.read_text()
