"""A user without a home: HOME is not set, and no password file has him. Every command says so in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
NOBODY = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
"""In a name space of its own, whoever runs the tests is a user that no password file has."""
COMMANDS = [
    "chanlink keygen",
    "chanlink ping ADDRESS",
    "chanlink cat --listen unix:~/socket",
    "rexec serve --listen tcp://127.0.0.1:0",
    "rexec run ADDRESS -- true",
    "rexec run --share ADDRESS -- true",
]
"""Some, as processes of a user who really has none; all of them are in test_hints.py, where one is pretended."""

pytestmark = pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*NOBODY, "true"], capture_output=True).returncode != 0,
    reason="needs a name space of users",
)


@pytest.fixture(scope="module")
def address() -> str:
    """Where nobody listens."""
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("line", COMMANDS)
def test_it_is_said_in_one_line_and_no_folder_is_made(line: str, tmp_path: Path, address: str) -> None:
    program, *words = line.replace("ADDRESS", address).split()
    module = {"chanlink": "chanlink", "rexec": "examples.rexec"}[program]
    done = subprocess.run(
        [*NOBODY, sys.executable, "-m", module, *words],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == {"chanlink": 1, "rexec": 255}[program], (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    (said,) = done.stderr.splitlines()
    assert "there is no such home folder; set HOME, or write the whole path" in said
    assert os.listdir(tmp_path) == []


def test_a_copy_makes_no_folder_called_by_a_tilde(tmp_path: Path) -> None:
    program = """
from examples.rexec.copy.place import Place
for path in (b"~", b"~/there", b"~/"):
    for call in (Place().parent, Place().folder, Place().opened):
        try:
            with call(path):
                raise AssertionError(path)
        except OSError as exc:
            assert "no such home folder" in str(exc), exc
with Place().parent(b"~$letter.docx") as (folder, name):
    assert name == b"~$letter.docx"
"""
    done = subprocess.run(
        [*NOBODY, sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
