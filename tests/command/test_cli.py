"""The chanlink command: keys, files of peers, arguments, errors, and what shells complete."""

import argparse
import json
import os
import pty
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import chanlink
from chanlink import Identity, KnownPeers, PublicKey, Trust
from chanlink.command.cli import COMMANDS, VERSION, make_parser
from chanlink.command.problems import explain
from chanlink.transport.address import parse_address
from examples.rexec.cli.connecting import Destination, Disconnected, explain_client
from tests.rexec.servers import until
from tests.security.keys.programs import AgentProcess, needs_ssh_agent

from .calls import COMMAND, PATIENCE, ROOT, Call, assert_one_line, call, environment, make_keys, run

__all__ = ["call"]

needs_ssh_keygen = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="openssh-client is not installed")
ALICE, BOB = (Identity.generate(name).public_key for name in ("alice", "bob"))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- arguments ----------------------------------------------------------------------------------


def test_every_command_has_help_with_examples_and_is_in_the_reference(call: Call) -> None:
    assert "examples:" in call("--help").out
    reference = (ROOT / "docs/reference/command.md").read_text()
    for command in COMMANDS:
        name = {"identity": "id"}.get(command.__name__.rpartition(".")[2], command.__name__.rpartition(".")[2])
        text = call(name, "--help").out
        assert "examples:" in text
        assert f"## chanlink {name}" in reference
        for option in re.findall(r"--[a-z-]+", text):
            assert option in reference, f"{name} {option}"


def test_help_imports_nothing_that_it_does_not_need() -> None:
    script = (
        "import sys, chanlink; before = set(sys.modules); import chanlink.command.cli as m; m.make_parser();"
        "new = set(sys.modules) - before;"
        "print([name for name in new if name in ('json', 'asyncio', 'termios') or '.actions.' in name])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], cwd=ROOT) == b"[]\n"


def test_the_version_is_that_of_the_package(call: Call) -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    assert call("--version").out == f"chanlink {VERSION}\n"


@pytest.mark.parametrize(
    "line",
    [
        "", "no-such-command", "ping", "ping tcp://a tcp://b", "ping -c -1 tcp://a", "ping -i 0.001 tcp://a",
        "ping --timeout nan tcp://a", "cat", "cat --listen tcp://a tcp://b", "cat tcp://a one --service two", "bench",
        "cat tcp://a ''", "forward", "forward tcp://a", "forward tcp://a --listen tcp://b:1",
        "forward --serve tcp://a", "forward --serve tcp://a --allow tcp://b:1 --to tcp://c:1",
        "forward --listen tcp://127.0.0.1:0 --to tcp://b tcp://a", "completion", "completion csh",
        "keygen --psk a b", "id --agent file", "peers", "peers add KEY", "peers add --trust f tcp://a KEY",
        "peers add --services a tcp://a KEY", "peers list --trust a --known b", "bench --size -1 tcp://a",
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_line_and_status_2(call: Call, line: str) -> None:
    assert_one_line(call(*shlex.split(line)), "--help", status=2)


def test_addresses_that_are_none_are_one_line(call: Call) -> None:
    assert_one_line(call("ping", "http://a"), "tcp://host:port")
    assert_one_line(call("forward", "--listen", "a", "--to", "b", "tcp://c"), "tcp://host:port")
    assert_one_line(call("peers", "add", "a", ALICE), "tcp://host:port")


def test_an_event_loop_that_is_not_known_is_one_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANLINK_EVENT_LOOP", "tokio")
    assert_one_line(call("ping", "tcp://localhost"), "asyncio, uvloop or trio")


# --- keygen -------------------------------------------------------------------------------------


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


# --- id -----------------------------------------------------------------------------------------


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
    assert found == {"public_key": str(key), "fingerprint": key.fingerprint, "comment": "alice", "from": "alice"}


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


# --- peers: who may connect ---------------------------------------------------------------------


def test_a_trust_file_is_made_listed_and_emptied(call: Call, tmp_path: Path) -> None:
    assert call("peers", "add", "--trust", "trust", ALICE).status == 0
    assert call("peers", "add", "--trust", "trust", "--services", "ping,bench", "--name", "bob b", BOB).status == 0
    assert mode_of(tmp_path / "trust") == 0o600
    trust = Trust.load("trust")
    assert trust.check(ALICE) == (grant := trust.check(ALICE))
    assert grant is not None
    assert (grant.name, grant.services) == ("alice", None)
    assert (grant := trust.check(BOB)) is not None
    assert (grant.name, grant.services) == ("bob b", {"ping", "bench"})
    lines = call("peers", "list", "--trust", "trust").out.splitlines()
    assert [line.split()[0] for line in lines] == ["all", "bench,ping"]
    listed = json.loads(call("peers", "list", "--json", "--trust", "trust").out)
    assert [(one["line"], one["services"]) for one in listed] == [(1, None), (2, ["bench", "ping"])]
    assert "already" in call("peers", "add", "--trust", "trust", ALICE).err
    assert call("peers", "remove", "--trust", "trust", "alice", BOB.fingerprint).status == 0
    assert (tmp_path / "trust").read_text() == ""
    assert "no keys" in call("peers", "list", "--trust", "trust").err


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


def test_a_key_that_was_revoked_stays_as_a_comment_and_does_not_come_back(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "trust"
    file.write_text(f"{ALICE}\n{BOB}\n")
    done = call("peers", "revoke", "--trust", "trust", "alice")
    assert done.status == 0
    assert ALICE.fingerprint in done.err
    assert re.fullmatch(r"# revoked \d{4}-\d\d-\d\d: " + re.escape(str(ALICE)), file.read_text().splitlines()[0])
    assert list(Trust.load("trust").grants) == [BOB]
    assert_one_line(call("peers", "add", "--trust", "trust", "--name", "other", ALICE), "trust:1", "revoked")
    carol = Identity.generate("carol").public_key
    assert call("peers", "revoke", "--trust", "trust", carol).status == 0  # one that was never there
    assert_one_line(call("peers", "add", "--trust", "trust", carol), "revoked")


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
        revoked = [line for line in file.read_text().splitlines() if line.startswith(("# revoked", "@revoked"))]
        assert len(revoked) == 4
        for key in (ALICE, BOB, carol, dave):
            assert any(str(key).split()[1] in line for line in revoked)


def test_a_key_with_other_services_is_not_added_beside_them(call: Call) -> None:
    call("peers", "add", "--trust", "trust", "--services", "ping", ALICE)
    assert_one_line(call("peers", "add", "--trust", "trust", ALICE), "ping", "remove it first")


@pytest.mark.parametrize("services", ["", "a b", "a,,b", 'a" ssh-ed25519 AAAA', 'x",restrict,services="y', "a\nb"])
def test_services_that_are_none_change_nothing(call: Call, tmp_path: Path, services: str) -> None:
    (tmp_path / "trust").write_text(f"{BOB}\n")
    assert call("peers", "add", "--trust", "trust", "--services", services, ALICE).status == 1
    assert (tmp_path / "trust").read_text() == f"{BOB}\n"


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


def test_a_missing_trust_file_is_one_line_and_is_not_made(call: Call, tmp_path: Path) -> None:
    for words in (["list"], ["remove", "alice"], ["revoke", "alice"]):
        assert_one_line(call("peers", *words, "--trust", "none"), "none", "peers add")
    assert not (tmp_path / "none").exists()


def test_keys_come_from_files_and_standard_input(call: Call, tmp_path: Path) -> None:
    Identity.generate("carol").save(tmp_path / "carol")
    assert call("peers", "add", "--trust", "trust", "carol.pub").status == 0
    run(tmp_path, "peers", "add", "--trust", "trust", "-", input=f"{ALICE}\n".encode())
    assert {grant.name for grant in Trust.load("trust").grants.values()} == {"carol", "alice"}
    assert_one_line(call("peers", "add", "--trust", "trust", "carol"), "carol.pub")
    assert_one_line(call("peers", "add", "--trust", "trust", "no-file"), "no-file", "public key")
    assert_one_line(call("peers", "add", "--trust", "trust", "ssh-ed25519 AAAA"))


def test_editors_at_once_lose_no_key(tmp_path: Path) -> None:
    keys = [Identity.generate(f"n{number}").public_key for number in range(8)]
    known = KnownPeers.load(tmp_path / "known")
    address = parse_address("tcp://build:1")
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(run, tmp_path, "peers", "add", "--known", "known", f"tcp://h{n}:1", key)
                for n, key in enumerate(keys)]  # fmt: skip
        jobs.append(pool.submit(known.add, address, ALICE))  # type: ignore[arg-type]
        for job in jobs:
            job.result()
    now = KnownPeers.load(tmp_path / "known")
    assert now.find(address, ALICE) is not None
    for number, key in enumerate(keys):
        assert now.find(parse_address(f"tcp://h{number}:1"), key) is not None


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "trust").write_text(f"{ALICE}\n")
    limited = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *COMMAND, "peers", "add", "--trust", "trust", str(BOB)]
    done = subprocess.run(limited, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True)
    assert_one_line(("", done.stderr), "trust", "File too large")
    assert (tmp_path / "trust").read_text() == f"{ALICE}\n"
    assert os.listdir(tmp_path) == ["trust"]


# --- peers: known servers -----------------------------------------------------------------------


def test_known_peers_are_added_found_and_removed(call: Call, tmp_path: Path) -> None:
    assert call("peers", "add", "tcp://Build", ALICE).status == 0
    assert call("peers", "add", "unix:/run/x", BOB, "--name", "the socket").status == 0
    known = KnownPeers.load()
    assert (grant := known.find(parse_address("tcp://build:9323"), ALICE)) is not None
    assert grant.name == "alice"
    listed = json.loads(call("peers", "list", "--json").out)
    assert [one["addresses"] for one in listed] == [["[build]:9323"], ["unix:/run/x"]]
    assert "already" in call("peers", "add", "tcp://build:9323", ALICE).err
    assert_one_line(call("peers", "add", "tcp://build", BOB), "another key", "peers remove tcp://build")
    assert call("peers", "remove", "tcp://build", "the socket").status == 0
    assert json.loads(call("peers", "list", "--json").out) == []


def test_a_revoked_server_key_is_refused_everywhere(call: Call, tmp_path: Path) -> None:
    call("peers", "add", "tcp://a:1", ALICE)
    call("peers", "add", "tcp://b:1", ALICE)
    call("peers", "add", "tcp://c:1", BOB)
    assert call("peers", "revoke", "tcp://a:1").status == 0
    (entry, _) = sorted(json.loads(call("peers", "list", "--json").out), key=lambda one: not one["revoked"])
    assert (entry["fingerprint"], entry["addresses"]) == (ALICE.fingerprint, ["*"])
    for address in ("tcp://a:1", "tcp://elsewhere:1"):
        assert_one_line(call("peers", "add", address, ALICE), "revoked")
    assert call("peers", "add", "tcp://a:1", Identity.generate().public_key).status == 0
    assert call("peers", "revoke", ALICE).status == 0
    assert sum(one["revoked"] for one in json.loads(call("peers", "list", "--json").out)) == 1


def test_what_a_file_holds_is_printed_as_text(call: Call, tmp_path: Path) -> None:
    (tmp_path / "known").write_text(f"\x1b]0;evil\x07 {ALICE}\n")
    assert "\x1b" not in call("peers", "list", "--known", "known").out
    assert "\x1b" not in call("peers", "list", "--json", "--known", "known").out
    (tmp_path / "known").write_text("\x1b]0;evil\x07\n")
    assert_one_line(call("peers", "list", "--known", "known"), "known:1")


@needs_ssh_keygen
def test_files_of_ssh_are_understood(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"host.example,other.example {ALICE}\nsecret.example {BOB}\nx ssh-rsa AAAA\n")
    assert_one_line(call("peers", "remove", "--known", file, "tcp://host.example"), "other servers", "editor")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, stderr=subprocess.DEVNULL)
    assert call("peers", "remove", "--known", file, "tcp://secret.example").status == 0
    assert str(BOB).split()[1] not in file.read_text()
    assert "ssh-rsa" in file.read_text()


# --- standard output ----------------------------------------------------------------------------


def test_an_output_that_is_full_closed_or_a_broken_pipe(tmp_path: Path) -> None:
    keys = make_keys(tmp_path)
    environ = environment(tmp_path)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "id", "client"], stdout=full, stderr=subprocess.PIPE, env=environ, cwd=keys.home, text=True
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert done.stderr.count("\n") == 1
    reader, writer = os.pipe()
    os.close(reader)
    broken = subprocess.run(
        [*COMMAND, "completion", "bash"], stdout=writer, stderr=subprocess.PIPE, env=environ, cwd=keys.home
    )
    os.close(writer)
    assert (broken.returncode, broken.stderr) == (-signal.SIGPIPE, b"")
    closed = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *COMMAND, "id", "client"]
    assert subprocess.run(closed, env=environ, cwd=keys.home).returncode == 1  # nobody gets the key


# --- completion ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    (folder / "bin").mkdir()
    (folder / "bin/chanlink").write_text("#!/bin/sh\nexit 0\n")
    (folder / "bin/chanlink").chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        (folder / shell).write_text(run(folder, "completion", shell)[0])
    (folder / "a key.pub").touch()
    return folder


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


class Terminal:
    """A shell in a terminal, where somebody types."""

    def __init__(self, folder: Path, *command: str) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            path = f"{folder}/bin:{os.environ['PATH']}"
            os.execvpe(command[0], command, {"PATH": path, "HOME": str(folder), "TERM": "vt100", "PS1": "$ "})
        self.text = ""
        self.reading = threading.Thread(target=self._read)
        self.reading.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.descriptor, 4096)
            except OSError:
                return
            if not data:
                return
            self.text += data.decode(errors="replace")

    def type(self, text: str, *expected: str) -> None:
        before = len(self.text)
        os.write(self.descriptor, text.encode())
        until(lambda: all(word in self.text[before:] for word in expected))

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.reading.join(PATIENCE)
        os.close(self.descriptor)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


TYPED = [
    ("chanlink keyg\t", "keygen "),
    ("chanlink peers rev\t", "revoke "),
    ("chanlink peers add --tr\t", "--trust "),
    ("chanlink completion fi\t", "fish "),
    ("chanlink ping --ident\t", "--identity "),
    ("chanlink ping --identity a\t", r"a\ key.pub"),
    ("chanlink id a\t", r"a\ key.pub"),
]
"""What is typed, and what the shell makes of its last word."""


@needs("bash")
def test_bash_completes(scripts: Path, terminals: list[Terminal]) -> None:
    terminals.append(bash := Terminal(scripts, "bash", "--norc", "--noprofile", "-i"))
    bash.type("bind 'set enable-bracketed-paste off'; source ./bash; echo rea''dy\n", "ready\r\n")
    for typed, completed in TYPED:
        bash.type(typed, completed.removeprefix(typed.split()[-1]))
        bash.type("\x15")
    bash.type("chanlink ping --count \t\t", "--count ")
    bash.type("\x15chanlink p\t\t", "peers", "ping")


@needs("zsh")
def test_zsh_completes(scripts: Path, terminals: list[Terminal]) -> None:
    terminals.append(zsh := Terminal(scripts, "zsh", "-f", "-i"))
    zsh.type("PS1='> '; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u; source ./zsh; echo rea''dy\n",
             "ready\r\n")  # fmt: skip
    for number, (typed, completed) in enumerate(TYPED):
        zsh.type(typed, completed.removeprefix(typed.split()[-1]).rstrip())
        zsh.type("\x15\n", "> ")
        assert number < len(TYPED)
    zsh.type("chanlink p\t", "connect to a server")


@needs("fish")
def test_fish_completes(scripts: Path) -> None:
    def complete(line: str) -> list[str]:
        command = ["fish", "--no-config", "-c", f"source ./fish; complete -C {line!r}"]
        environ = {"PATH": f"{scripts}/bin:{os.environ['PATH']}", "HOME": str(scripts), "TERM": "dumb"}
        return subprocess.check_output(command, cwd=scripts, env=environ, text=True).splitlines()

    for typed, completed in TYPED:
        (found,) = complete(typed.removesuffix("\t"))
        assert found.split("\t")[0] == completed.rstrip().replace("\\", "")
    assert {line.split("\t")[0] for line in complete("chanlink p")} == {"peers", "ping"}
    assert complete("chanlink ping --count ") == []


def test_completion_scripts_name_every_command_and_option(scripts: Path) -> None:
    text = {shell: (scripts / shell).read_text() for shell in ("bash", "zsh", "fish")}
    for command in COMMANDS:
        assert all(command.__name__.rpartition(".")[2].replace("identity", "id") in one for one in text.values())
    assert "--first-use" in text["bash"]
    assert "--first-use" in text["zsh"]
    assert "-l first-use" in text["fish"]
    assert make_parser().prog == "chanlink"
    assert chanlink.__doc__


@pytest.mark.parametrize(
    ("cause", "says"),
    [
        (chanlink.SessionClosed(), "the server closed the connection before we were done"),
        (chanlink.SessionClosed("revoked"), "the connection was lost: the session was closed: revoked"),
        (chanlink.ConnectionLost("it broke"), "the connection was lost: it broke"),
    ],
)
def test_a_server_that_was_stopped_is_no_broken_connection(cause: chanlink.SessionError, says: str) -> None:
    lost = chanlink.SessionLost(cause)
    assert says in (explain(lost, argparse.Namespace(address="tcp://build")) or "")
    disconnected = Disconnected(Destination("build", "tcp://build", None, None))
    disconnected.__cause__ = lost
    assert says in (explain_client(disconnected, argparse.Namespace()) or "")
