"""Building our packages, and clean environments to install them into."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = {"chanlink": ROOT, "chanlink-rexec": ROOT / "examples" / "rexec"}
UV = Path(sys.executable).with_name("uv")
FAR_TOO_LONG = 120
"""Seconds."""


def build(source: Path, folder: Path) -> None:
    """The sdist, and from that, not from the source, the wheel."""
    _call(UV, "build", "--quiet", "--no-python-downloads", "--out-dir", folder, source)


def find_python(minor: int) -> Path | None:
    """Python 3.``minor`` of this machine: on the path, or made by pyenv."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    on_path = [Path(folder, f"python3.{minor}") for folder in os.get_exec_path()]
    for python in [*on_path, *sorted(versions.glob(f"3.{minor}.*/bin/python3.{minor}"))]:
        # What pyenv puts on the path may say but that there is none.
        if python.is_file() and not subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
            return python
    return None


class Environment:
    """A virtual environment in a folder with nothing else in it, which is the home of what runs there, too."""

    def __init__(self, folder: Path, python: Path | str = sys.executable) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.bin = folder / "environment" / "bin"
        _call(UV, "venv", "--quiet", "--no-python-downloads", "--python", python, self.bin.parent)

    @property
    def python(self) -> Path:
        return self.bin / "python"

    def install(self, *requirements: str | Path) -> None:
        _call(UV, "pip", "install", "--quiet", "--python", self.python, *requirements)

    def variables(self) -> dict[str, str]:
        """Those of the environment that this process runs in say nothing there."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return {**kept, "HOME": str(self.home), "PATH": f"{self.bin}:{os.environ['PATH']}"}

    def run(self, *command: str | Path) -> "subprocess.CompletedProcess[str]":
        """In the home, with what stands in the environment first on the path."""
        return subprocess.run(
            command,
            cwd=self.home,
            env=self.variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FAR_TOO_LONG,
            check=False,
        )

    def output(self, *command: str | Path) -> str:
        """What a command prints that succeeds, and says nothing on its standard error."""
        result = self.run(*command)
        assert (result.returncode, result.stderr) == (0, ""), f"{command}: {result}"
        return result.stdout


def _call(*command: str | Path) -> None:
    subprocess.run(command, check=True, timeout=FAR_TOO_LONG)
