"""Where a server runs: without /proc, as the first process, with signals ignored, with few descriptors, ..."""

import shutil
import subprocess
from pathlib import Path

import pytest

from examples.rexec import messages
from examples.rexec.client import StartError, run

from .rexec_servers import FAMILY, gone, running, serving
from .test_rexec import sessions

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

    def test_a_command_gets_none_of_the_descriptors_of_the_server(self, tmp_path: Path) -> None:
        script = "import os\nfor n in range(3, 1000):\n  try: os.fstat(n)\n  except OSError: continue\n  print(n)"
        with serving(tmp_path, inside=self.INSIDE) as server:
            for _ in range(2):
                assert server.run("python3", "-c", script).stdout == b""


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
