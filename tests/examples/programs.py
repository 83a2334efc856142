"""Runs the small programs of examples/ as processes, on a Unix socket and with keys of their own."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import chanlink

ROOT = Path(__file__).parents[2]
PEOPLE = ("server", "alice", "bob")


class Programs:
    """A folder with keys, where alice and bob are trusted, and one program that runs there as often as is asked."""

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder
        self._program = ROOT / "examples" / program
        self._running: list[subprocess.Popen[str]] = []
        for name in (*PEOPLE, "stranger"):
            chanlink.Identity.generate(name).save(folder / name)
        (folder / "people").write_text("".join((folder / f"{name}.pub").read_text() for name in PEOPLE))

    def start(self, *arguments: str, reads: Path | None = None) -> "subprocess.Popen[str]":
        """A process with pipes, or one that reads a file; it is killed in the end."""
        with nullcontext(subprocess.PIPE) if reads is None else reads.open() as stdin:
            program = subprocess.Popen(
                [sys.executable, self._program, *arguments],
                cwd=self.folder, env={**os.environ, "PYTHONPATH": os.fspath(ROOT)}, text=True,
                stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        self._running.append(program)
        return program

    def serve(self, *arguments: str) -> "subprocess.Popen[str]":
        return self.start("serve", "--identity", "server", "--trust", "people", *arguments)

    def client(self, command: str, name: str, *arguments: str, reads: Path | None = None) -> "subprocess.Popen[str]":
        return self.start(command, "--identity", name, "--peer", "server.pub", "--wait", "60", *arguments, reads=reads)

    def kill(self) -> None:
        for program in self._running:
            program.kill()
            program.communicate()
