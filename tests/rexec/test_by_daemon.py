"""``rexec run --local`` and ``rexec serve --advertise``: the daemon has the keys, and rexec the commands."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cutting import CuttingProxy, cutting
from tests.daemon.people import open_folder
from tests.daemon.places import US
from tests.daemon.processes import DaemonProcess, stopped
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.rexec.servers import COMMAND, ROOT, assert_one_line, rexec_command, until
from tests.security.keys.credentials import CA, save

pytestmark = pytest.mark.slow


class Machine:
    """One that finds itself behind a proxy, by the name ``here``, and lets its one user in."""

    def __init__(self, base: Path, proxy: CuttingProxy) -> None:
        self.base, self.proxy = base, proxy
        self.daemon = DaemonProcess(base, "daemon", groups=False, listen=proxy.target)
        self.daemon.add("rexec", users=[US])
        self.daemon.know(here=(proxy.address, self.daemon))
        self.key = self.daemon.folder.users()[US]
        self.trust(str(self.key))
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(base),  # where there is no key
            "PYTHONPATH": str(ROOT),
            "CHANLINK_RUN": str(self.daemon.run),
        }
        self.log = base / "log"

    def trust(self, *lines: str) -> None:
        new = self.base / "new"
        new.write_text("".join(f"{line}\n" for line in lines))
        new.replace(self.daemon.folder.trust)

    def start(self, *words: Any, **more: Any) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([*COMMAND, *words], cwd=self.base, env=self.environment, **more)

    @contextmanager
    def serving(self, *options: Any) -> Iterator["subprocess.Popen[bytes]"]:
        with self.log.open("wb") as log, self.start("serve", "--advertise", *options, stdout=-1, stderr=log) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == f"advertised by the daemon, at {self.proxy.target}\n".encode()
                yield server
            finally:
                server.terminate()

    def rexec(self, name: str, *words: Any, options: Sequence[str] = ()) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [*COMMAND, name, "--local", *options, "here", *words],
            cwd=self.base,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
        )

    def run(self, *words: str, options: Sequence[str] = ()) -> "subprocess.CompletedProcess[bytes]":
        return self.rexec("run", "--", *words, options=options)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with open_folder() as base, cutting(f"tcp://127.0.0.1:{free_port()}") as proxy:
        made = Machine(base, proxy)
        with stopped(made.daemon):
            made.daemon.start()
            yield made


def test_commands_run_without_a_key_of_ours(machine: Machine) -> None:
    with machine.serving() as server:
        done = machine.run("sh", "-c", "echo out; echo err >&2; exit 7")
        assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
        named = machine.run("sleep", "1000", options=["--detach", "--name", "nap"])
        assert (named.returncode, named.stdout) == (0, b"nap\n")
        assert b"sleep 1000" in machine.rexec("ps").stdout
        assert machine.rexec("kill", "nap").returncode == 0
        assert machine.rexec("attach", "nap").returncode == 128 + signal.SIGTERM
        server.terminate()
        assert server.wait(PATIENCE) == 0
    assert_one_line(machine.run("true"), "here: no application serves it now")
    assert not (machine.base / ".config").exists()


def test_whom_a_policy_names_is_whom_the_daemon_has_let_in(machine: Machine) -> None:
    (machine.base / "policy").write_text(f"[rules.us]\nkeys = ['{US}@daemon']\ncommands = [['echo', '...']]\n")
    with machine.serving("--policy", "policy", "--audit", "audit"):
        assert machine.run("echo", "yes").stdout == b"yes\n"
        assert_one_line(machine.run("true"), "refused: the rule us", status=127)
        start, *_ = [json.loads(line) for line in (machine.base / "audit").read_text().splitlines()]
        assert (start["name"], start["key"]) == (f"{US}@daemon", machine.key.fingerprint)


def test_what_a_credential_forces_is_forced_through_the_daemon(machine: Machine) -> None:
    ca = CA("org")
    machine.trust(f'cert-authority,issuer="org",principals="alice" {ca.key}')
    file = machine.daemon.folder.path / "users" / US / "id_ed25519"
    save(ca.issue(machine.key, "alice", force_command="echo forced: $SSH_ORIGINAL_COMMAND"), file)
    (machine.base / "policy").write_text("[rules.org]\nkeys = ['alice@org']\n")
    with machine.serving("--policy", "policy", "--audit", "audit"):
        until(lambda: machine.run("true").stdout)  # once the daemon has read its files
        assert machine.run("rm", "-rf", "x").stdout == b"forced: rm -rf x\n"
        line = json.loads((machine.base / "audit").read_text().splitlines()[-1])
        assert (line["name"], line["issuer"], line["principal"]) == ("alice@org", "org", "alice")


def test_a_command_goes_on_when_the_connection_breaks(machine: Machine) -> None:
    words = ["run", "--local", "--resume", "1m", "here", "--", "cat"]
    with machine.serving(), machine.start(*words, stdin=-1, stdout=-1, stderr=-1) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        for line in (b"before\n", b"after\n"):
            client.stdin.write(line)
            client.stdin.flush()
            assert client.stdout.readline() == line
            machine.proxy.cut()
        client.stdin.close()
        assert client.wait(PATIENCE) == 0
    assert machine.proxy.cuts == 2


def test_a_key_that_the_daemon_trusts_no_more_runs_nothing(machine: Machine) -> None:
    with machine.serving():
        with machine.start("run", "--local", "here", "--", "sleep", "1000", stderr=subprocess.PIPE) as client:
            until(lambda: "starts: sleep" in machine.log.read_text())
            machine.trust("# nobody")
            assert client.wait(PATIENCE) == 255
            assert client.stderr is not None
            assert b"revoked" in client.stderr.read()
        algorithm, key, _ = str(machine.key).split(" ", 2)
        assert_one_line(machine.run("true"), "here: the server does not trust our key", f"{algorithm} {key}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_server_that_is_stopped_tells_its_clients(number: signal.Signals, machine: Machine) -> None:
    with machine.serving() as server:
        with machine.start("run", "--local", "here", "--", "sleep", "1000", stderr=subprocess.PIPE) as client:
            until(lambda: "starts: sleep" in machine.log.read_text())
            server.send_signal(number)
            assert client.wait(PATIENCE) == 255
            assert client.stderr is not None
            assert client.stderr.read() == b"rexec: here: the server was stopped, and what it ran\n"
        assert server.wait(PATIENCE) == 0


def test_a_host_that_the_daemon_does_not_know_is_said(machine: Machine) -> None:
    done = subprocess.run(
        [*COMMAND, "run", "--local", "there", "--", "true"],
        cwd=machine.base, env=machine.environment, capture_output=True, timeout=PATIENCE,
    )  # fmt: skip
    assert_one_line(done, "there (rexec, by the daemon)", "hosts.toml")


def test_a_daemon_that_does_not_run_is_said(machine: Machine, tmp_path: Path) -> None:
    machine.environment["CHANLINK_RUN"] = str(tmp_path)
    assert_one_line(machine.run("true"), f"{tmp_path}/ipc/rexec", "does `chanlink daemon` run")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--local", "--identity", "key", "here", "--", "true"], "--identity does not go with --local"),
        (["ps", "--local", "--peer", "key", "here"], "--peer does not go with --local"),
        (["attach", "--local", "--first-use", "here", "x"], "--first-use does not go with --local"),
        (["kill", "--local", "--accept-new", "here", "x"], "--accept-new does not go with --local"),
        (["run", "--local", "--share", "here", "--", "true"], "--local and --share exclude each other"),
        (["run", "--local", "web*,db1", "--", "true"], "--local is for one server"),
        (["cp", "--local", "file", "here:there"], "copies are another one"),
        (["serve", "--advertise", "--listen", "tcp://127.0.0.1:0"], "--listen does not go with --advertise"),
        (["serve", "--advertise", "--identity", "key"], "--identity does not go with --advertise"),
        (["serve", "--advertise", "--trust", "keys"], "--trust does not go with --advertise"),
        (["serve", "--advertise", "--revoked", "keys"], "--revoked does not go with --advertise"),
        (["serve", "--advertise", "--copy-root", "/"], "--copy-root does not go with --advertise"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_daemon_decides_is_no_option_beside_it(words: list[str], says: str) -> None:
    assert_one_line(rexec_command(*words), says)
