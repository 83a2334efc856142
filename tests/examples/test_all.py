"""What all small programs have in common: help, one line for what goes wrong, and a Ctrl-C that is quiet."""

import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.patience import PATIENCE

from .programs import ROOT, Programs

COMMANDS = {
    "ping/ping.py": ("call",),
    "chat/chat.py": ("join",),
    "queue/jobs.py": ("submit", "1"),
    "upload/upload.py": ("put", "people"),
}
"""A client of each program, with what it needs besides the options that all have."""
LINKED = {"workers/hashes.py": ("submit", ".")}
"""Those whose clients connect again by themselves, and so wait for a server."""
LONGEST = 120
"""The lines of a file: these are programs to be read."""

Call = Callable[..., tuple[object, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a program in this process, with arguments: its status, its output, and what it says besides."""

    def call(program: str, *arguments: str) -> tuple[object, str, str]:
        path = ROOT / "examples" / program
        monkeypatch.syspath_prepend(path.parent)
        monkeypatch.setattr(sys, "argv", [path.name, *arguments])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(path), run_name="__main__")
        return left.value.code, *capsys.readouterr()

    return call


@pytest.mark.parametrize("program", COMMANDS | LINKED)
def test_help_names_the_commands(call: Call, program: str) -> None:
    status, output, said = call(program, "--help")
    assert (status, said) == (0, "")
    assert "serve" in output
    assert (COMMANDS | LINKED)[program][0] in output


@pytest.mark.slow
@pytest.mark.parametrize("program", COMMANDS | LINKED)
def test_what_goes_wrong_is_one_line_and_a_server_ends_quietly(
    programs: Callable[[str], Programs], call: Call, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    here = programs(program)
    monkeypatch.chdir(here.folder)
    name, (command, *more) = Path(program).stem, (COMMANDS | LINKED)[program]
    folder = ["."] if name == "upload" else []
    address = ["unix:socket"] if name in ("ping", "chat") else ["--address", "unix:socket"]

    def client(who: str, peer: str, *wait: str) -> tuple[object, str, str]:
        return call(program, command, "--identity", who, "--peer", f"{peer}.pub", *wait, *address, *more)

    if program in COMMANDS:
        assert client("alice", "server") == (1, "", f"{name}: unix:socket: No such file or directory\n")
    server = here.serve(*address, *folder)
    for who, peer, begins in (
        ("alice", "bob", "the peer's key is SHA256:"),
        ("stranger", "server", "the peer does not trust our key"),
    ):
        status, output, said = client(who, peer, *(("--wait", "60") if program in COMMANDS else ()))
        assert (status, output, said.count("\n")) == (1, "", 1)
        assert said.startswith(
            f"{name}: {begins}" if program in COMMANDS else f"{name}: the queue did not do it: no-session: {begins}"
        )
    server.send_signal(signal.SIGINT)
    output, said = server.communicate(timeout=PATIENCE)
    assert (server.returncode, output) == (0, "")
    assert "Traceback" not in said


def test_the_programs_are_short() -> None:
    for program in COMMANDS | LINKED:
        for path in (ROOT / "examples" / program).parent.glob("*.py"):
            assert len(path.read_text().splitlines()) <= LONGEST, path
