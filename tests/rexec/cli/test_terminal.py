"""Commands with a terminal: the client runs on a real one, driven by these tests, and inside tmux."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rexec.cli.screens import is_raw, needs, screen
from tests.rexec.servers import PATIENCE, ROOT, Server, gone, serves, serving, until

SHELL = ["bash", "--norc", "--noprofile", "-i"]


server = serves("--grace", "0.5")


def is_stopped(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def on_terminal(server: Server, *words: str) -> list[Any]:
    return server.command(*words, options=["-t"])


class TestPty:
    def test_the_command_has_a_terminal_of_our_size_and_kind(self, server: Server) -> None:
        script = 'test -t 0 -a -t 1 -a -t 2 && stty size && echo "$TERM" && tty < /dev/tty > /dev/null && exit 3'
        with screen(on_terminal(server, "sh", "-c", script), columns=91, rows=23) as terminal:
            terminal.until(r"23 91\r\nxterm\r\n")
            assert terminal.wait() == 3

    def test_the_size_follows_also_a_storm_of_changes(self, server: Server) -> None:
        script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.02; done"
        with screen(on_terminal(server, "sh", "-c", script)) as terminal:
            terminal.until("ready")
            terminal.resize(50, 10)
            terminal.until("10 50")
            for number in range(300):
                terminal.resize(60 + number, 20)
            terminal.until("20 359")
            terminal.type("\x03")
            assert terminal.wait() == -signal.SIGINT or terminal.wait() == 130

    def test_keys_reach_the_command_as_they_are(self, server: Server) -> None:
        script = "stty raw -echo; echo ready; head -c 8 | od -An -tx1"
        with screen(on_terminal(server, "sh", "-c", script)) as terminal:
            terminal.until("ready")
            terminal.until_mode(is_raw)
            os.write(terminal.descriptor, b"\x03\x1a\x04\x11\x13\r\n\xff")
            terminal.until("03 1a 04 11 13 0d 0a ff")
            assert terminal.wait() == 0

    def test_without_a_terminal_here_there_is_one_there(self, server: Server) -> None:
        done = server.run("sh", "-c", "stty size; cat; echo over", options=["-t"], input=b"no newline")
        assert done.returncode == 0
        assert b"24 80\r\n" in done.stdout
        assert done.stdout.endswith(b"no newlineover\r\n")

    def test_a_lost_connection_ends_what_runs_there_if_it_may_not_come_back(self, server: Server) -> None:
        with screen(server.command(*SHELL, options=["-t", "--resume", "0"])) as terminal:
            terminal.until("[$#] ")
            terminal.type("sleep 1000 & echo id $! $$; trap '' HUP; sleep 2000\n")
            found = terminal.until(r"id (\d+) (\d+)")
            os.kill(terminal.pid, signal.SIGKILL)
            gone([int(found[1]), int(found[2])])


class TestRawMode:
    """It is undone whatever happens."""

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
    def test_when_the_client_is_killed(self, server: Server, number: int) -> None:
        with screen(on_terminal(server, "sh", "-c", "echo ready; exec sleep 1000")) as terminal:
            before = terminal.mode()
            terminal.until("ready")
            assert is_raw(terminal.mode())
            os.kill(terminal.pid, number)
            if number == signal.SIGINT:  # passed on
                assert terminal.wait() == -number
            terminal.until_mode(lambda mode: mode == before)

    def test_when_the_server_is_killed(self, tmp_path: Path) -> None:
        with serving(tmp_path) as server, screen(on_terminal(server, *SHELL)) as terminal:
            before = terminal.mode()
            terminal.until("[$#] ")
            server.stop(signal.SIGKILL)
            terminal.until("no connection")  # it may come again
            terminal.type("~.")
            assert terminal.wait() == -signal.SIGINT
            assert terminal.mode() == before

    def test_when_the_server_is_killed_and_is_not_waited_for(self, tmp_path: Path) -> None:
        with serving(tmp_path) as server, screen(server.command(*SHELL, options=["-t", "--resume", "0"])) as terminal:
            before = terminal.mode()
            terminal.until("[$#] ")
            server.stop(signal.SIGKILL)
            terminal.until("the connection was lost")
            assert terminal.wait() == 255
            assert terminal.mode() == before

    def test_when_the_command_ends_or_can_not_be_started(self, server: Server) -> None:
        for words, status in ((["sh", "-c", "exit 5"], 5), (["no-such-command"], 127)):
            with screen(on_terminal(server, *words)) as terminal:
                before = terminal.mode()
                assert terminal.wait() == status
                assert terminal.mode() == before

    def test_a_tilde_and_a_dot_give_up(self, tmp_path: Path) -> None:
        """Also when nobody answers any more."""
        with serving(tmp_path) as server, screen(on_terminal(server, "cat")) as terminal:
            before = terminal.mode()
            terminal.until_mode(is_raw)
            terminal.type("~~ a ~.\r")  # not at the beginning of a line
            terminal.until(r"~ a ~\.\r\n")
            server.process.send_signal(signal.SIGSTOP)
            try:
                terminal.type("~.")
                assert terminal.wait() == -signal.SIGINT
            finally:
                server.process.send_signal(signal.SIGCONT)
            assert terminal.mode() == before


@needs("bash")
class TestPrograms:
    def test_bash_runs_edits_interrupts_and_has_jobs(self, server: Server) -> None:
        runs = "sh -c 'echo up $$; exec sleep 1000'"
        with screen(on_terminal(server, *SHELL)) as terminal:
            terminal.until("[$#] ")
            terminal.type("echo $((6*7))x\x7f\r")  # a backspace
            terminal.until(r"[\r\n]42\r\n")
            terminal.type(f"{runs}\r")
            terminal.until(r"[\r\n]up \d+\r\n")
            terminal.type("\x03")
            terminal.until(r"\^C[^$#]*[$#] ")
            terminal.type(f"{runs}\r")
            process = int(terminal.until(r"[\r\n]up (\d+)\r\n")[1])
            terminal.type("\x1a")
            terminal.until("Stopped")
            terminal.type("fg\r")
            terminal.until(r"fg[\s\S]*sleep 1000.\r\n")
            # Bash names the job, then gives it the terminal, then wakes it; an interrupt before that is for bash.
            until(lambda: not is_stopped(process))
            terminal.type("\x03")
            terminal.until(r"\^C[^$#]*[$#] ")
            terminal.type("exit 9\r")
            assert terminal.wait() == 9

    @needs("vim")
    def test_vim_edits_a_file(self, server: Server, tmp_path: Path) -> None:
        (file := tmp_path / "file").write_text("one\ntwo\n")
        with screen(on_terminal(server, "vim", "-u", "NONE", str(file))) as terminal:
            terminal.until("two")
            terminal.type("Gothree\x1b")
            terminal.resize(70, 20)
            terminal.type(":wq\r")
            assert terminal.wait() == 0
        assert file.read_text() == "one\ntwo\nthree\n"

    @needs("top")
    def test_top_shows_and_quits(self, server: Server) -> None:
        with screen(on_terminal(server, "top")) as terminal:
            terminal.until("load average")
            terminal.until("PID")
            terminal.type("q")
            assert terminal.wait() == 0


OVER_THERE = r"(?m)^over-there:\s*$"
"""The prompt, and not the line that says what it is to be: what is typed before it is there is lost."""


@needs("tmux")
@needs("bash")
class TestTmux:
    """What a user sees: the screen as tmux has it."""

    @pytest.fixture
    def tmux(self, tmp_path: Path) -> Iterator[Callable[..., str]]:
        socket = tmp_path / "tmux"

        def tmux(*words: str) -> str:
            command = ["tmux", "-S", str(socket), "-f", "/dev/null", *words]
            environment = {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
            return subprocess.run(
                command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=PATIENCE
            ).stdout

        tmux("new-session", "-d", "-x", "90", "-y", "20", "env PS1=at-home: bash --norc --noprofile")
        yield tmux
        tmux("kill-server")

    def shows(self, tmux: Callable[..., str], pattern: str) -> None:
        until(lambda: re.search(pattern, tmux("capture-pane", "-p")))

    @needs("vim")
    @needs("top")
    def test_shell_vim_and_top_on_a_screen_that_changes_its_size(
        self, server: Server, tmux: Callable[..., str], tmp_path: Path
    ) -> None:
        line = " ".join(map(str, server.command("env", "PS1=over-there:", *SHELL, options=["-t"])))
        self.shows(tmux, "at-home:")
        tmux("send-keys", line, "Enter")
        self.shows(tmux, OVER_THERE)
        tmux("send-keys", f"cd {tmp_path}; vim -u NONE file", "Enter")  # a long name would not fit into the last line
        self.shows(tmux, r"~\s*\n~")
        tmux("send-keys", "ihello", "Escape")
        tmux("resize-window", "-x", "70", "-y", "12")
        tmux("send-keys", ":wq", "Enter")
        self.shows(tmux, "over-there:")
        assert (tmp_path / "file").read_text() == "hello\n"
        tmux("send-keys", "clear; stty size", "Enter")
        self.shows(tmux, "12 70")
        tmux("send-keys", "top", "Enter")
        self.shows(tmux, "PID")
        tmux("send-keys", "q")
        self.shows(tmux, r"over-there:\s*$")
        tmux("send-keys", "clear; exit 6", "Enter")
        self.shows(tmux, "at-home:")
        tmux("send-keys", "echo status $?", "Enter")
        self.shows(tmux, "status 6")

    def test_a_shell_is_usable_after_the_client_was_killed(self, server: Server, tmux: Callable[..., str]) -> None:
        line = " ".join(map(str, server.command("sh", "-c", "'echo ready $PPID; sleep 1000'", options=["-t"])))
        self.shows(tmux, "at-home:")
        tmux("send-keys", f"{line} & echo id $!; fg", "Enter")
        self.shows(tmux, r"ready \d+")
        found = re.search(r"id (\d+)", tmux("capture-pane", "-p"))
        assert found is not None
        os.kill(int(found[1]), signal.SIGKILL)
        self.shows(tmux, "Killed")
        tmux("send-keys", "clear; stty -a", "Enter")
        self.shows(tmux, r"(?s)\bicrnl.*\bopost.*\bicanon.*\becho\b")
