"""Runs the shell blocks of a page as one script, in a fresh folder that is also the home.

What a page has to know, beside that its blocks follow one another as if typed into one shell (``bash -eu``):

- ``rexec`` and ``chanlink`` are on the path, and nothing of the user's home is there. Standard input is empty.
- Blocks are marked ``sh``; what is only to be read (it needs a terminal or a second machine) is marked ``console``.
- A command in the background (its line ends in `` &``) is ready once it has said something: the next line waits for
  that. What it says is in the file ``background.N``, counted from 1. At the end of the page it gets TERM.
- The ports 9323, 8080 and 8000 are others, which are free.
- A comment ``# prints: some words`` is checked: these lines are printed, in this order, among others.
- A command that is to fail is written ``if ! command; then ...`` or ``command || echo "status $?"``.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from .patience import PATIENCE

ROOT = Path(__file__).parent.parent
COMMANDS = {"rexec": "examples.rexec", "chanlink": "chanlink"}
OPTIONAL = ("bash", "ssh-keygen", "ssh-agent", "ssh-add", "ssh")

PORTS = ("9323", "8080", "8000")
BACKGROUND = """\
{line} > background.{number} 2>&1 &
until test -s background.{number} || ! kill -0 $! 2> /dev/null; do sleep 0.02; done
"""


class Done(NamedTuple):
    status: int
    output: list[str]
    errors: str


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def missing_programs(page: Path) -> list[str]:
    """What a page uses that is not installed here, of what is not on every machine."""
    used = {"bash", *re.findall(r"[a-z-]+", "".join(blocks_of(page)))}
    return [program for program in OPTIONAL if program in used and shutil.which(program) is None]


def promised_output(page: Path) -> list[str]:
    return re.findall(r"# prints: (.*)", "".join(blocks_of(page)))


def run_page(page: Path) -> Done:
    """Run all blocks of a page; background processes are ended."""
    with _fresh_home() as home:
        script = _script(blocks_of(page))
        (home / "page.sh").write_text(script)
        with subprocess.Popen(
            ["bash", "-eu", "page.sh"],
            cwd=home,
            env={"HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "USER": "me"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as shell:
            try:
                output, errors = shell.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                shell.kill()
                output, errors = "", f"not done after {PATIENCE} s\n"
            finally:
                _end_group(shell.pid)
        said = "".join(file.read_text(errors="replace") for file in sorted(home.glob("background.*")))
        return Done(shell.returncode, output.splitlines(), errors + said)


def _script(blocks: list[str]) -> str:
    lines = []
    number = 0
    for line in "\n".join(blocks).splitlines():
        if line.endswith(" &"):
            number += 1
            line = BACKGROUND.format(line=line.removesuffix(" &"), number=number)
        lines.append(line)
    script = "\n".join(lines) + "\n"
    for port in PORTS:
        script = script.replace(port, str(_free_port()))
    return script


@contextmanager
def _fresh_home() -> Iterator[Path]:
    """A folder with a short name: the path of a Unix socket has little room."""
    home = Path(tempfile.mkdtemp(prefix="howto-"))
    try:
        (home / "bin").mkdir()
        for name, module in COMMANDS.items():
            command = f"PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -m {module}"
            (home / "bin" / name).write_text(f'#!/bin/sh\n{command} "$@"\n')
            (home / "bin" / name).chmod(0o755)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _end_group(group: int) -> None:
    """TERM to what is left of the page, and KILL to what does not listen to it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(group, number)
            with suppress(subprocess.TimeoutExpired):
                # Nobody but us knows this group, and its members are not our children: ps waits for them.
                watch = f"while ps -eo pgid=,stat= | grep -v Z | grep -qw {group}; do sleep 0.05; done"
                subprocess.run(["sh", "-c", watch], timeout=PATIENCE, check=True)
                return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
