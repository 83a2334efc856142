"""``rexec run`` on several servers: real processes on all sides."""

import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.rexec.cli.screens import screen
from tests.rexec.servers import COMMAND, PATIENCE, ROOT, Server, assert_one_line, gone, serving


class Site:
    """Two servers with names, one name of a server that is down, and a user who knows all of them."""

    def __init__(self, home: Path, servers: Sequence[Server]) -> None:
        self.home = home
        self.servers = servers
        self.config = home / ".config" / "chanlink"
        self.config.mkdir(parents=True, mode=0o700)
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "PYTHONPATH": str(ROOT)}
        tables = [f'[web9]\naddress = "unix:{home}/nobody"\nidentity = "{servers[0].directory}/client"\n']
        for number, server in enumerate(servers, 1):
            settings = f'address = "{server.address}"\nidentity = "{server.directory}/client"\n'
            tables += f'[web{number}]\n{settings}key = "{server.key}"\n', f"[new{number}]\n{settings}"
        (self.config / "hosts.toml").write_text("".join(tables))

    def command(self, address: str, *words: str, options: Sequence[str] = ()) -> list[str]:
        return [*COMMAND, "run", *options, address, "--", *words]

    def run(self, *args: Any, **kwargs: Any) -> subprocess.CompletedProcess[bytes]:
        command = self.command(*args, **kwargs)
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, input=b"not read", capture_output=True, timeout=PATIENCE
        )

    def start(self, *args: Any, **kwargs: Any) -> "subprocess.Popen[bytes]":
        command = self.command(*args, **kwargs)
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=ROOT, env=self.environment, **pipes)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="many-") as folder:
        places = [Path(folder, name) for name in ("one", "two", "home")]
        for place in places:
            place.mkdir()
        with serving(places[0], "--grace", "0.5") as one, serving(places[1], "--grace", "0.5") as two:
            yield Site(places[2], [one, two])


def last_line(stderr: bytes) -> str:
    return stderr.decode().splitlines()[-1]


def test_each_line_has_its_server_in_front_and_the_last_one_has_the_statuses(site: Site) -> None:
    done = site.run("web1,web2", "sh", "-c", "cat; echo one; printf two; echo err >&2")
    assert sorted(done.stdout.decode().splitlines()) == ["web1: one", "web1: two", "web2: one", "web2: two"]
    assert sorted(done.stderr.decode().splitlines()[:-1]) == ["web1: err", "web2: err"]
    assert (done.returncode, last_line(done.stderr)) == (0, "rexec: exit 0: web1, web2")


def test_the_lines_of_one_are_in_order_and_none_is_in_another(site: Site) -> None:
    done = site.run("web[12]", "seq", "20000")
    lines = done.stdout.decode().splitlines()
    for name in ("web1", "web2"):
        assert [line for line in lines if line.startswith(name)] == [f"{name}: {n}" for n in range(1, 20001)]
    assert len(lines) == 40000


def test_one_that_is_down_is_a_line_and_the_others_do_their_work(site: Site) -> None:
    done = site.run("web*", "echo", "up")
    assert sorted(done.stdout.decode().splitlines()) == ["web1: up", "web2: up"]
    first, last = done.stderr.decode().splitlines()
    assert re.fullmatch(r"web9: rexec: .*no such file.*", first, re.IGNORECASE)
    assert (done.returncode, last) == (255, "rexec: exit 0: web1, web2; failed: web9")


def test_the_status_is_the_largest(site: Site, tmp_path: Path) -> None:
    script = f"mkdir {tmp_path}/first && exit 3; kill -9 $$"
    done = site.run("web1,web2", "sh", "-c", script, options=["--at-once", "1"])
    assert (done.returncode, done.stdout) == (137, b"")
    assert last_line(done.stderr) == "rexec: exit 3: web1; signal 9: web2"


def test_what_is_not_started_is_said_for_each(site: Site) -> None:
    done = site.run("web1,web2", "no-such-command")
    one, two = sorted(done.stderr.decode().splitlines()[:-1])
    assert one.startswith("web1: rexec: not-found: no-such-command")
    assert two.startswith("web2: rexec: not-found: no-such-command")
    assert (done.returncode, last_line(done.stderr)) == (127, "rexec: exit 127: web1, web2")


def test_detached_ones_say_the_names_that_they_run_under(site: Site) -> None:
    done = site.run("web?,web1", "true", options=["--detach", "--name", "here"])
    assert sorted(done.stdout.decode().splitlines()) == ["web1: here", "web2: here"]
    assert done.returncode == 255  # of web9


def test_all_are_at_work_at_once_unless_it_is_said_how_many(site: Site, tmp_path: Path) -> None:
    meet = f"touch {tmp_path}/$$; until test $(ls {tmp_path} | wc -l) = 2; do sleep 0.02; done"
    assert site.run("web1,web2", "sh", "-c", meet).returncode == 0
    alone = f"mkdir {tmp_path}/alone && sleep 0.1 && rmdir {tmp_path}/alone"
    assert site.run("web1,web2", "sh", "-c", alone, options=["--at-once", "1"]).returncode == 0


def test_a_reader_that_goes_away_ends_all(site: Site) -> None:
    with site.start("web1,web2", "yes") as client:
        assert client.stdout is not None
        assert client.stdout.readline()
        client.stdout.close()
        assert client.wait(PATIENCE) == 128 + signal.SIGPIPE


class TestNothingIsRun:
    """Where a part of what is asked for can't be."""

    def test_for_a_pattern_that_matches_nothing(self, site: Site) -> None:
        assert_one_line(site.run("mail*", "true"), "'mail*' matches no name in", "it has new1, new2, web1")

    def test_for_a_name_that_is_not_known(self, site: Site, tmp_path: Path) -> None:
        assert_one_line(site.run("web1,web3", "touch", f"{tmp_path}/ran"), "'web3' is no address")
        assert not (tmp_path / "ran").exists()

    def test_for_a_pattern_that_the_shell_has_made_to_names(self, site: Site) -> None:
        command = [*COMMAND, "run", "web1", "web2", "--", "true"]
        done = subprocess.run(command, cwd=ROOT, env=site.environment, capture_output=True, timeout=PATIENCE)
        assert_one_line(done, "one ADDRESS", "web1,web2", "patterns in quotes")

    @pytest.mark.parametrize("option", ["--terminal", "--share", "--progress"])
    def test_with_what_is_for_one(self, option: str, site: Site) -> None:
        assert_one_line(site.run("web*", "true", options=[option]), f"{option} is for one server")

    @pytest.mark.parametrize("count", ["0", "-1", "501", "x"])
    def test_on_a_number_at_once_that_is_none(self, count: str, site: Site) -> None:
        assert_one_line(site.run("web*", "true", options=["--at-once", count]), "not a number from 1 to 500")


class TestInterrupted:
    SCRIPT = "trap 'echo caught; exit 7' INT; echo $$ $$; while :; do sleep 0.05; done"

    def test_ctrl_c_is_passed_on_to_all(self, site: Site) -> None:
        with site.start("web1,web2", "sh", "-c", self.SCRIPT) as client:
            pids_of(client, 2)
            client.send_signal(signal.SIGINT)
            out, err = client.communicate(timeout=PATIENCE)
            assert sorted(out.splitlines()) == [b"web1: caught", b"web2: caught"]
            assert (client.returncode, last_line(err)) == (7, "rexec: exit 7: web1, web2")

    def test_what_has_not_begun_never_begins(self, site: Site) -> None:
        with site.start("web1,web2", "sh", "-c", self.SCRIPT, options=["--at-once", "1"]) as client:
            pids_of(client, 1)
            client.send_signal(signal.SIGINT)
            out, err = client.communicate(timeout=PATIENCE)
            assert out == b"web1: caught\n"
            assert (client.returncode, last_line(err)) == (-signal.SIGINT, "rexec: exit 7: web1; given up: web2")

    def test_twice_gives_up_commands_that_do_not_listen(self, site: Site) -> None:
        script = "trap 'echo caught' INT; trap '' TERM; echo $$ $$; while :; do sleep 0.05; done"
        with site.start("web1,web2", "sh", "-c", script) as client:
            pids = pids_of(client, 2)
            client.send_signal(signal.SIGINT)
            assert client.stdout is not None
            assert sorted(client.stdout.readline() for _ in range(2)) == [b"web1: caught\n", b"web2: caught\n"]
            client.send_signal(signal.SIGINT)
            assert client.wait(PATIENCE) == -signal.SIGINT
            assert client.stderr is not None
            assert last_line(client.stderr.read()) == "rexec: given up: web1, web2"
            gone(pids)


def pids_of(client: "subprocess.Popen[bytes]", servers: int) -> list[int]:
    """What the commands have said first, which are the ids of processes."""
    assert client.stdout is not None
    return [int(client.stdout.readline().split()[1]) for _ in range(servers)]


def test_about_servers_that_are_not_known_one_question_is_asked_at_a_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    question = r"The server at (tcp://\S+) is not known.*\r\n.*\(yes/no\): "
    with screen(site.command("new*", "echo", "hello", options=["--first-use"])) as terminal:
        asked = {terminal.until(question)[1].decode()}
        assert not re.search(question.encode(), terminal.written)
        terminal.type("yes\n")
        asked.add(terminal.until(question)[1].decode())
        terminal.type("no\n")
        terminal.until(r"failed: new\d")
        assert terminal.wait() == 255
    assert asked == {server.address for server in site.servers}
