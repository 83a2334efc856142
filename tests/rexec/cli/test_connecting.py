"""Names for servers, and how a client of examples/rexec knows them."""

import os
import pty
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import chanlink
from tests.rexec.servers import COMMAND, PATIENCE, ROOT, Server, assert_one_line, serves

KEY = chanlink.Identity.generate("server").public_key


ONLY_HOME = ["sh", "-c", 'mount --bind "$HOME" "$HOME" && mount -o remount,bind,ro / && exec "$@"', "sh"]
"""In a name space of mounts: nothing else can be written."""


class User:
    """Somebody with a home, who has a key that the server trusts, and knows nobody yet."""

    def __init__(self, server: Server, home: Path) -> None:
        self.server = server
        self.home = home
        self.config = home / ".config" / "chanlink"
        self.config.mkdir(parents=True, mode=0o700)
        chanlink.Identity.load(server.directory / "client").save(self.config / "id_ed25519")
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)}

    @property
    def known(self) -> str:
        path = self.config / "known_peers"
        return path.read_text() if path.exists() else ""

    def run(self, *words: Any) -> subprocess.CompletedProcess[bytes]:
        command = [*COMMAND, "run", *words]
        return subprocess.run(
            command,
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            start_new_session=True,  # without a terminal
        )

    def answer(self, answer: bytes, *words: Any) -> tuple[int, bytes]:
        """Run on a terminal and answer the question: the status, and all that was said."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.home)
            command = [os.fspath(word) for word in [*COMMAND, "run", *words]]
            os.execve(command[0], command, self.environment)
        said = b""
        try:
            while data := os.read(terminal, 1000):
                said += data
                if answer and b"(yes/no): " in said:
                    os.write(terminal, answer)
                    answer = b""
        except OSError:  # it has ended
            pass
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        return os.waitstatus_to_exitcode(status), said


server = serves()


@pytest.fixture
def user(server: Server) -> Iterator[User]:
    with tempfile.TemporaryDirectory(prefix="hosts-") as home:
        yield User(server, Path(home))


def fingerprint(server: Server) -> str:
    return chanlink.PublicKey.parse(server.key).fingerprint


class TestUnknownServers:
    def test_one_is_refused_with_the_line_that_would_make_it_known(self, user: User) -> None:
        done = user.run(user.server.address, "--", "true")
        host = user.server.address.removeprefix("tcp://").replace("127.0.0.1", "[127.0.0.1]")
        line = f"{host} {' '.join(user.server.key.split()[:2])}"
        assert_one_line(done, fingerprint(user.server), "add this line", line, "--first-use")
        assert user.known == ""
        (user.config / "known_peers").write_text(f"{line}\n")
        assert user.run(user.server.address, "--", "true").returncode == 0

    @pytest.mark.parametrize("share", [[], ["--share"]])
    def test_first_use_asks_on_the_terminal_and_remembers(self, share: list[str], user: User) -> None:
        words = [*share, "--first-use", user.server.address, "--", "sh", "-c", "exit 7"]
        for answer in (b"no\n", b"\n", b"y\n"):
            status, said = user.answer(answer, *words)
            assert (status, user.known) == (255, "")
        status, said = user.answer(b"yes\n", *words)
        assert status == 7
        assert fingerprint(user.server).encode() in said
        assert user.server.key.split()[1] in user.known
        status, said = user.answer(b"", *words)  # nothing is asked again
        assert (status, said) == (7, b"")
        if share:
            subprocess.run([*COMMAND, "share", "--stop"], cwd=ROOT, env=user.environment, check=True)

    @pytest.mark.parametrize("share", [[], ["--share"]])
    def test_without_a_terminal_nothing_is_taken_in_silence(self, share: list[str], user: User) -> None:
        done = user.run(*share, "--first-use", user.server.address, "--", "true")
        assert_one_line(done, "no terminal to ask on")
        assert user.known == ""

    def test_accept_new_says_what_it_takes(self, user: User) -> None:
        done = user.run("--accept-new", user.server.address, "--", "true")
        assert_one_line(done, fingerprint(user.server), "is trusted from now on", status=0)
        done = user.run("--accept-new", user.server.address, "--", "true")
        assert (done.returncode, done.stderr) == (0, b"")

    @pytest.mark.skipif(
        subprocess.run(["unshare", "--mount", *ONLY_HOME, "true"], capture_output=True).returncode != 0
        if shutil.which("unshare")
        else True,
        reason="needs a name space of mounts",
    )
    def test_accept_new_needs_no_place_to_write_but_the_home(self, user: User) -> None:
        command = [*COMMAND, "run", "--accept-new", user.server.address, "--", "true"]
        done = subprocess.run(
            ["unshare", "--mount", *ONLY_HOME, *command], cwd="/", env=user.environment,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE,
        )  # fmt: skip
        assert_one_line(done, fingerprint(user.server), "is trusted from now on", status=0)
        assert user.server.key.split()[1] in user.known

    def test_another_key_than_the_known_one_is_refused_whatever_the_options(self, user: User) -> None:
        host = user.server.address.removeprefix("tcp://").replace("127.0.0.1", "[127.0.0.1]")
        (user.config / "known_peers").write_text(f"{host} {KEY}\n")
        for options in ([], ["--first-use"], ["--accept-new"]):
            done = user.run(*options, user.server.address, "--", "true")
            assert_one_line(done, fingerprint(user.server), KEY.fingerprint)
        assert user.known == f"{host} {KEY}\n"

    def test_a_server_that_refuses_us_is_no_server_that_we_refuse(self, user: User) -> None:
        chanlink.Identity.generate("stranger").save(user.config / "other")
        done = user.run("--accept-new", "--identity", user.config / "other", user.server.address, "--", "true")
        text = done.stderr.decode()
        assert (done.returncode, "does not trust our key" in text.splitlines()[-1]) == (255, True)


class TestNames:
    def test_a_name_stands_for_address_key_and_identity(self, user: User) -> None:
        (user.config / "id_ed25519").rename(user.home / "mine")
        (user.config / "id_ed25519.pub").unlink()
        hosts = user.config / "hosts.toml"
        hosts.write_text(f'[web1]\naddress = "{user.server.address}"\nkey = "{user.server.key}"\nidentity = "~/mine"\n')
        done = user.run("web1", "--", "echo", "hello")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n", b"")
        assert_one_line(user.run("web2", "--", "true"), "'web2' is no address", "it has web1")
        hosts.write_text(f'[web1]\naddress = "{user.server.address}"\nkey = "{KEY}"\n')
        assert_one_line(user.run("web1", "--", "true"), "web1: ", fingerprint(user.server))
        hosts.write_text("[web1]\nadress = 3\n")
        assert_one_line(user.run("web1", "--", "true"), "hosts.toml:2: 'web1': 'adress' is not known")

    def test_the_user_of_a_name_is_asked_for(self, user: User) -> None:
        (user.config / "hosts.toml").write_text(
            f'[web1]\naddress = "{user.server.address}"\nkey = "{user.server.key}"\nuser = "no-such-user"\n'
        )
        assert_one_line(user.run("web1", "--", "true"), "no-such-user", status=127)
