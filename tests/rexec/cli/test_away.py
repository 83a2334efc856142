"""``rexec run --resume``: a command that goes on when its connection is cut, and what is said meanwhile."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cutting import CuttingProxy, cutting
from tests.rexec.cli.screens import is_raw, screen
from tests.rexec.servers import FAMILY, PATIENCE, ROOT, Server, alive, assert_one_line, gone, running, serves, serving

server = serves("--grace", "0.5")
AWAY = b": no connection; the command waits for another one. "


@pytest.fixture
def proxy(server: Server) -> Iterator[CuttingProxy]:
    with cutting(server.address) as proxy:
        yield proxy


def through(proxy: CuttingProxy, server: Server, *words: str, options: Sequence[str] = ("--resume", "1h")) -> list[Any]:
    """A command whose connections go through the proxy."""
    command = server.command(*words, options=options)
    return [proxy.address if word == server.address else word for word in command]


@contextmanager
def talking(command: list[Any]) -> Iterator["subprocess.Popen[bytes]"]:
    """A command that says what it reads."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as client:  # type: ignore[call-overload]
        try:
            say(client, b"begun\n")
            yield client
        finally:
            client.kill()


def say(client: "subprocess.Popen[bytes]", line: bytes) -> None:
    """Say something to it, and have it back."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(line)
    client.stdin.flush()
    assert client.stdout.readline() == line


def heard(client: "subprocess.Popen[bytes]") -> bytes:
    assert client.stderr is not None
    return client.stderr.readline()


def test_a_command_goes_on_over_another_connection_and_nobody_notices(proxy: CuttingProxy, server: Server) -> None:
    with talking(through(proxy, server, "cat")) as client:
        for number in range(5):
            proxy.cut()
            say(client, b"%d\n" % number)
        assert client.communicate(timeout=PATIENCE) == (b"", b"")
        assert client.returncode == 0
    assert proxy.cuts == 5


def test_a_line_says_that_it_waits_and_one_that_it_goes_on(proxy: CuttingProxy, server: Server) -> None:
    with talking(through(proxy, server, "sh", "-c", "cat; exit 7")) as client:
        proxy.go_down()
        assert (
            heard(client)
            == b"rexec: " + proxy.address.encode() + AWAY + b"Ctrl-C twice gives up, which stops it later\n"
        )
        proxy.go_up()
        assert b": connected again after " in heard(client)
        say(client, b"again\n")
        assert client.communicate(timeout=PATIENCE) == (b"", b"")
        assert client.returncode == 7


@pytest.mark.parametrize("options", [[], ["--resume", "0"]])
def test_without_it_the_command_is_stopped_when_the_connection_is_lost(
    options: list[str], proxy: CuttingProxy, server: Server
) -> None:
    with running(through(proxy, server, "sh", "-c", FAMILY, options=options)) as (client, pids):
        proxy.cut()
        gone(pids)
        assert b"the connection was lost" in client.communicate(timeout=PATIENCE)[1]
        assert client.returncode == 255


def test_a_server_may_forbid_it(tmp_path: Path) -> None:
    with (
        serving(tmp_path, "--max-resume", "0") as server,
        cutting(server.address) as proxy,
        running(through(proxy, server, "sh", "-c", FAMILY)) as (client, pids),
    ):
        proxy.cut()
        gone(pids)
        assert b"the connection was lost" in client.communicate(timeout=PATIENCE)[1]


def test_a_server_that_was_started_anew_is_known_at_once(tmp_path: Path) -> None:
    with (
        serving(tmp_path) as server,
        cutting(server.address) as proxy,
        talking(through(proxy, server, "cat")) as client,
    ):
        proxy.go_down()
        server.stop(signal.SIGKILL)
        with serving(tmp_path) as another:
            proxy.target = another.address
            proxy.go_up()
            assert b"rexec: " in client.communicate(timeout=PATIENCE)[1].splitlines()[-1]
            assert client.returncode == 255


class TestTheEnd:
    """Of rexec, by whoever called it."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
    def test_a_signal_ends_the_command_at_once(self, number: int, proxy: CuttingProxy, server: Server) -> None:
        with running(through(proxy, server, "sh", "-c", FAMILY)) as (client, pids):
            client.send_signal(number)
            assert client.wait(PATIENCE) == -number
            gone(pids)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_ends_us_while_it_waits(self, number: int, proxy: CuttingProxy, server: Server) -> None:
        with running(through(proxy, server, "sh", "-c", FAMILY)) as (client, pids):
            proxy.go_down()
            assert AWAY in heard(client)
            client.send_signal(number)
            assert client.wait(PATIENCE) == -number
            assert all(map(alive, pids))  # nobody has told the server

    def test_ctrl_c_twice_ends_us_while_it_waits(self, proxy: CuttingProxy, server: Server) -> None:
        with running(through(proxy, server, "sh", "-c", FAMILY)) as (client, _):
            proxy.go_down()
            assert AWAY in heard(client)
            client.send_signal(signal.SIGINT)
            proxy.go_up()
            assert client.wait(PATIENCE) == -signal.SIGINT  # the first one has waited, too

    def test_when_the_server_ends_we_do(self, tmp_path: Path) -> None:
        with (
            serving(tmp_path) as server,
            cutting(server.address) as proxy,
            talking(through(proxy, server, "cat")) as client,
        ):
            server.stop()
            assert b"stop" in client.communicate(timeout=PATIENCE)[1]


class TestOnATerminal:
    """Where it is so without being asked for."""

    def test_a_shell_goes_on(self, proxy: CuttingProxy, server: Server) -> None:
        with screen(through(proxy, server, "cat", options=["-t"])) as terminal:
            terminal.until_mode(is_raw)
            terminal.type("one\r")
            terminal.until("one\r\n.*one\r\n")
            proxy.go_down()
            terminal.until("no connection; .*~. at the beginning of a line gives up, .*\r\n")
            terminal.type("two\r")
            proxy.go_up()
            terminal.until("connected again after .* s\r\n")
            terminal.until("two\r\n.*two\r\n")
            terminal.type("\x04")
            assert terminal.wait() == 0

    def test_a_tilde_and_a_dot_end_it_while_it_waits(self, proxy: CuttingProxy, server: Server) -> None:
        with screen(through(proxy, server, "cat", options=["-t"])) as terminal:
            terminal.until_mode(is_raw)
            proxy.go_down()
            terminal.until("no connection; ")
            terminal.type("~.")
            assert terminal.wait() == -signal.SIGINT
            assert not is_raw(terminal.mode())


def test_times_that_are_none_are_one_line(server: Server) -> None:
    for text in ("-1", "5x", "", "m", "31d"):
        assert_one_line(server.run("true", options=["--resume", text]), "is no time up to 30 days")
    assert_one_line(server.run("true", options=["--resume", "5m", "--share"]), "exclude each other")
