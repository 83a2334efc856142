"""A Python into which the wheels of chanlink and rexec were installed, as a user has them: not the sources."""

import fcntl
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from .pages import ROOT

DISTRIBUTIONS = (ROOT, ROOT / "examples" / "rexec")


def install(folder: Path) -> None:
    """Make it. What chanlink needs is taken from the Python that runs the tests."""
    wheels = folder.with_name(f"{folder.name}-wheels")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run(*pip, "wheel", "--no-deps", "--wheel-dir", wheels, *DISTRIBUTIONS)
    venv.create(folder, symlinks=True)
    _run(*pip, "--python", folder / "bin" / "python", "install", "--no-deps", *sorted(wheels.glob("*.whl")))
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "what_chanlink_needs.pth").write_text(sysconfig.get_path("purelib"))


def installed_once(folder: Path) -> Path:
    """The same for all processes that share the tests: who comes first makes it."""
    done = folder / "done"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            install(folder)
            done.touch()
    return folder


def _run(*command: str | os.PathLike[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr[-2000:]}")
