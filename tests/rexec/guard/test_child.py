"""What a child of the guard becomes."""

from pathlib import Path

import pytest

from examples.rexec import messages
from examples.rexec.client import StartError, run
from tests.rexec.sessions import sessions


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
