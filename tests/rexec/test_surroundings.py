"""Where a server runs: without /proc, as the first process, with signals ignored, with few descriptors, ..."""

import json
import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import anyio
import pytest

import chanlink
from examples.rexec import messages
from examples.rexec.cli.signals import heeding
from examples.rexec.client import StartError, run, start
from examples.rexec.server.service import SERVICE, service

from .servers import COMMAND, FAMILY, PATIENCE, ROOT, alive, assert_one_line, gone, running, serving, until
from .test_run import read_line, sessions

STUBBORN_CHILD = """sh -c "trap '' TERM; echo $$ \\$\\$; exec sleep 1000" & wait"""
"""As `FAMILY`; TERM ends the command but not its child."""


def can(*command: str) -> bool:
    """Whether we may use it here."""
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


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


@pytest.mark.skipif(not can("unshare", "--pid", "--fork", "--mount-proc", "true"), reason="is the first process")
class TestFirstProcess:
    INSIDE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    STATES = "cat /proc/[0-9]*/stat | sed 's/.*) //' | cut -c 1"

    def test_it_reaps_what_commands_leave_and_ends_when_told(self, tmp_path: Path) -> None:
        with serving(tmp_path, inside=self.INSIDE) as server:
            assert b"Z" not in server.run("sh", "-c", self.STATES).stdout
            for _ in range(3):
                assert server.run("sh", "-c", "(true &); (sleep 0.01 &); (exec true) &").returncode == 0
            until(lambda: b"Z" not in server.run("sh", "-c", self.STATES).stdout)
            (first,) = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
            os.kill(int(first), signal.SIGTERM)
            assert server.wait() == 0

    def test_one_that_is_killed_says_so(self, tmp_path: Path) -> None:
        with serving(tmp_path, inside=self.INSIDE) as server:
            (first,) = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
            (serve,) = Path(f"/proc/{first}/task/{first}/children").read_text().split()
            os.kill(int(serve), signal.SIGKILL)
            assert server.wait() == 128 + signal.SIGKILL


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


@pytest.mark.anyio
async def test_the_signals_that_are_heeded_are_those_that_were_not_ignored() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with heeding(signal.SIGUSR1, signal.SIGUSR2) as signals:
            for number in (signal.SIGUSR1, signal.SIGUSR2):
                os.kill(os.getpid(), number)
            with anyio.fail_after(PATIENCE):
                assert await anext(signals) == signal.SIGUSR2
        with heeding(signal.SIGUSR1) as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            with anyio.move_on_after(0.01) as waiting:
                await anext(signals)
            assert waiting.cancelled_caught
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


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


class TestStopped:
    """Who waits for a server that is stopped, is told so, after its command has ended."""

    @pytest.mark.parametrize("name", ["run", "attach"])
    def test_it_is_said_in_a_line(self, tmp_path: Path, name: str) -> None:
        with serving(tmp_path, "--grace", "0.2") as server:
            command = server.command("sh", "-c", FAMILY)
            if name == "attach":
                subprocess.run(server.command("sh", "-c", FAMILY, options=["--detach", "--name", "x"]), check=True)
                command = server.rexec("attach", "x")
            with running(command) as (client, pids):
                server.stop()
                gone(pids)
                _, said = client.communicate(timeout=PATIENCE)
                assert client.returncode == 255
                assert said.decode() == f"rexec: {server.address}: the server was stopped, and what it ran\n"

    def test_a_detached_command_that_is_not_there_is_the_same_mistake_for_all(self, tmp_path: Path) -> None:
        with serving(tmp_path) as server:
            for name in ("attach", "kill"):
                assert_one_line(server.call(name, "nosuch"), "there is no detached command of this name", status=255)

    @pytest.mark.anyio
    async def test_all_commands_end_and_no_other_begins(self, no_leaks: object) -> None:
        us, them = chanlink.Identity.generate("us"), chanlink.Identity.generate("them")
        trust = chanlink.Trust.of(us.public_key)
        async with (
            service(grace=0.1) as rexec,
            chanlink.listen("tcp://127.0.0.1:0", identity=them, trust=trust, services={SERVICE: rexec}) as listener,
            chanlink.connect(listener.addresses[0], identity=us, peer=them.public_key) as session,
            start(session, ["sh", "-c", f"trap '' TERM; {FAMILY}"]) as stubborn,
            start(session, ["sh", "-c", FAMILY]) as other,
        ):
            pids = [*(await read_line(stubborn.stdio)).split(), *(await read_line(other.stdio)).split()]
            await rexec.stop()
            assert not any(alive(int(pid)) for pid in pids)
            for command in (stubborn, other):
                with pytest.raises(chanlink.ChannelFailed) as caught:
                    await command.wait()
                assert (caught.value.code, caught.value.text) == (
                    messages.STOPPED,
                    "the server was stopped, and what it ran",
                )
            with pytest.raises(chanlink.ChannelFailed):
                await run(session, ["true"])
            await rexec.stop()


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


@pytest.mark.anyio
class TestScripts:
    """Without ``#!``: a shell runs them, so do we."""

    @pytest.mark.parametrize("name", ["script", "-c", "a b\n"])
    async def test_one_is_run_by_sh(self, tmp_path: Path, name: str) -> None:
        (script := tmp_path / name).write_text('printf "%s\\n" "$@"; exit 3\n')
        script.chmod(0o755)
        expected = (3, b"a b\n-x\n\n", b"", "")
        async with sessions() as session:
            assert await run(session, [str(script), "a b", "-x", ""]) == expected
            assert await run(session, [f"./{name}", "a b", "-x", ""], directory=str(tmp_path)) == expected
            environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
            assert await run(session, [name, "a b", "-x", ""], environment=environment) == expected
            environment = {"PATH": ":/usr/bin:/bin"}  # an empty folder is where it runs
            settings = {"environment": environment, "directory": str(tmp_path)}
            assert await run(session, [name, "a b", "-x", ""], **settings) == expected

    async def test_an_empty_one_does_nothing(self, tmp_path: Path) -> None:
        (script := tmp_path / "script").touch(0o755)
        async with sessions() as session:
            assert (await run(session, [str(script)])).status == 0

    async def test_a_program_for_another_machine_is_none(self, tmp_path: Path) -> None:
        (program := tmp_path / "program").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(200) + b"\necho ran\n")
        program.chmod(0o755)
        async with sessions() as session:
            with pytest.raises(StartError) as caught:
                await run(session, [str(program)])
            assert caught.value.code == messages.CANNOT_START
            assert "Exec format error" in caught.value.text
