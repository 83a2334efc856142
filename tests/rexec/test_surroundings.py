"""Where a server runs: without /proc, as the first process, with signals ignored, with few descriptors, ..."""

import json
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from tests.rexec.servers import COMMAND, FAMILY, PATIENCE, ROOT, alive, assert_one_line, gone, running, serving
from tests.rexec.surroundings import can

STUBBORN_CHILD = """sh -c "trap '' TERM; echo $$ \\$\\$; exec sleep 1000" & wait"""
"""As `FAMILY`; TERM ends the command but not its child."""


@pytest.mark.skipif(not can("unshare", "--mount", "umount", "-l", "/proc"), reason="takes /proc away")
class TestWithoutProc:
    INSIDE = ("unshare", "--mount", "sh", "-c", 'umount -l /proc && exec "$@"', "sh")

    def test_commands_run_and_end_with_their_children(self, tmp_path: Path) -> None:
        with serving(tmp_path, "--grace", "0.2", inside=self.INSIDE) as server:
            assert server.run("sh", "-c", "test ! -e /proc/self && cat", input=b"input").stdout == b"input"
            script = "import os\nfor n in range(3, 1000):\n  try: os.fstat(n)\n  except OSError: continue\n  print(n)"
            for _ in range(2):  # none of the descriptors of the server
                assert server.run("python3", "-c", script).stdout == b""
            for script in (FAMILY, STUBBORN_CHILD):
                with running(server.command("sh", "-c", script)) as (client, pids):
                    client.kill()
                    gone(pids)

    def test_an_empty_one_does_not_make_the_living_dead(self, tmp_path: Path) -> None:
        inside = (*self.INSIDE[:4], 'umount -l /proc && mount -t tmpfs none /proc && exec "$@"', "sh")
        with serving(tmp_path, "--grace", "0.2", inside=inside) as server:
            with running(server.command("sh", "-c", STUBBORN_CHILD)) as (client, pids):
                client.kill()
                gone(pids)
            assert server.run("echo", "on").stdout == b"on\n"


class TestIgnored:
    """A signal that was ignored at the start stays so, for us; a command begins with none ignored."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    @pytest.mark.parametrize(
        ("ignored", "loop"),
        [((signal.SIGINT,), "asyncio"), (SIGNALS, "uvloop")],
    )
    def test_it_does_not_end_the_server_nor_its_commands(
        self, tmp_path: Path, ignored: tuple[signal.Signals, ...], loop: str
    ) -> None:
        def ignore() -> None:
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)

        environment = os.environ | ({"PYTHONPATH": str(without_uvloop(tmp_path))} if loop == "asyncio" else {})
        with serving(tmp_path, preexec_fn=ignore, env=environment) as server:
            with running(server.command("sh", "-c", FAMILY)) as (client, pids):
                for number in ignored:
                    server.process.send_signal(number)
                    os.kill(server.guard, number)
                done = server.run("sh", "-c", "grep SigIgn: /proc/self/status")
                said = int(done.stdout.split()[1], 16)
                # Of those that programs can handle: two belong to the C library.
                assert [number for number in signal.valid_signals() if said >> number - 1 & 1] == []
                assert all(map(alive, pids))
                assert client.poll() is None
            heeded = [number for number in self.SIGNALS if number not in ignored]
            server.stop(heeded[0] if heeded else signal.SIGKILL)


def without_uvloop(folder: Path) -> Path:
    """A folder that, on the path of Python, hides it: the server runs on plain asyncio then."""
    hiding = (
        "import importlib.util as u; find = u.find_spec\nu.find_spec = lambda n: None if n == 'uvloop' else find(n)\n"
    )
    (folder / "sitecustomize.py").write_text(hiding)
    return folder


class TestLocale:
    """Of the server: what arrives is bytes, and what its files say is UTF-8, wherever it runs."""

    POLICY = """
[rules.all]
keys = ["client"]
commands = [["printf", "%s", "\N{LATIN SMALL LETTER U WITH DIAERESIS}*"], ["pwd"], ["env"]]
environment = ["\N{EURO SIGN}*", "X"]
directories = ["/tmp/**"]
variables = { "V\N{EURO SIGN}" = "\N{EURO SIGN}" }
"""

    def test_bytes_and_patterns_mean_the_same(self, tmp_path: Path) -> None:
        name = "de_DE.ISO-8859-1"
        if can("localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(tmp_path / name)):
            environment = os.environ | {"LC_ALL": name, "LOCPATH": str(tmp_path)}
        else:
            environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        (tmp_path / "policy").write_text(self.POLICY, encoding="utf-8")
        folder = os.fsencode(tmp_path) + b"/f\xfcr"
        os.mkdir(folder)
        options = ["--policy", tmp_path / "policy", "--audit", tmp_path / "audit"]
        with serving(tmp_path, *options, env=environment) as server:
            word = "\N{LATIN SMALL LETTER U WITH DIAERESIS}".encode() + b"\xfc\xff"
            assert server.run("printf", "%s", word).stdout == word
            assert server.run("pwd", options=["-C", folder]).stdout == folder + b"\n"
            done = server.run("env", options=["-e", b"X=\xfc", "-e", "\N{EURO SIGN}=1"])
            variables = {b"X=\xfc", b"V\xe2\x82\xac=\xe2\x82\xac", b"\xe2\x82\xac=1"}
            assert variables <= set(done.stdout.splitlines()), done
            for words in (("printf", "%s", b"\xfc"), ("printf", b"\xff")):
                assert_one_line(server.run(*words), "does not allow this command", status=127)
            assert_one_line(server.run("pwd", options=["-e", b"\xff=1"]), "does not allow to set", status=127)
            assert "Traceback" not in server.log.read_text(errors="replace")
            said = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
            assert os.fsencode(said[0]["command"][2]) == word


@pytest.mark.parametrize("most", [9, 15])
def test_too_few_descriptors_are_one_line(tmp_path: Path, most: int) -> None:
    """From 9 on, Python gets as far as our code."""
    with serving(tmp_path) as server:
        serve = [*COMMAND, "serve", "--listen", "tcp://127.0.0.1:0"]
        serve += ["--identity", tmp_path / "server", "--trust", tmp_path / "client.pub"]
        for command in (serve, server.command("true")) if most == 9 else (serve,):
            done = subprocess.run(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)),
                timeout=PATIENCE,
            )
            assert_one_line(done, "Too many open files")
