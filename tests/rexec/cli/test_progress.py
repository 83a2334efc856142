"""The bar that shows how far something is."""

import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from examples.rexec.cli import progress
from tests.rexec.cli.commands.test_cp import DATA, command
from tests.rexec.servers import ROOT, Server, serves

server = serves()


class TestProgress:
    def on_terminal(self, words: list[Any], **kwargs: Any) -> bytes:
        """What a command says on standard error, when that is a terminal."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(words, cwd=ROOT, stderr=theirs, stdout=subprocess.DEVNULL, **kwargs) as process:
            os.close(theirs)
            said = b""
            try:
                while data := os.read(ours, 65536):
                    said += data
            except OSError:  # the terminal has no other end any more
                pass
            os.close(ours)
        assert process.returncode == 0, said
        return said

    def test_a_bar_on_a_terminal_and_none_when_quiet(self, server: Server, tmp_path: Path) -> None:
        pytest.importorskip("rich")
        (tmp_path / "a file").write_bytes(DATA)
        words = command(server, tmp_path / "a file", f":{tmp_path}/copy")
        said = self.on_terminal(words)
        assert b"12.6/12.6 MB" in said
        assert b"MB/s" in said
        assert self.on_terminal([*words, "--quiet"]) == b""

    @pytest.mark.parametrize("name", ["\x1b]0;title\a", "two\nlines", "\u202egnp.exe", "x" * 10_000, "\udcff"])
    def test_a_name_in_a_bar_is_printable_and_short(self, name: str) -> None:
        assert progress._short(name).isprintable()
        assert len(progress._short(name)) <= 30

    def test_a_bar_for_a_pipe(self, server: Server, tmp_path: Path) -> None:
        pytest.importorskip("rich")
        (tmp_path / "file").write_bytes(DATA)
        with (tmp_path / "file").open() as file:
            assert b"12.6/12.6 MB" in self.on_terminal(server.command("cat", options=["--progress"]), stdin=file)
        done = server.run("cat", input=b"data", options=["--progress"])
        assert (done.stdout, done.stderr) == (b"data", b"")

    def test_without_rich_there_is_a_hint_and_the_copy(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / "rich.py").write_text("raise ImportError('not here')")
        (tmp_path / "file").write_bytes(DATA)
        words = command(server, tmp_path / "file", f":{tmp_path}/copy")
        said = self.on_terminal(words, env={**os.environ, "PYTHONPATH": f"{tmp_path}"})
        assert (said.count(b"\n"), b"pip install" in said) == (1, True)
        assert (tmp_path / "copy").read_bytes() == DATA
