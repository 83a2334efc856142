"""A user without a home: HOME is not set, and no password file has him.  Every command says so in one line."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .patience import PATIENCE

ROOT = Path(__file__).parent.parent
NOBODY = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
"""In a name space of its own, whoever runs the tests is a user that no password file has."""
COMMANDS = [
    "chanlink keygen",
    "chanlink keygen ~/key",
    "chanlink keygen --psk ~/psk",
    "chanlink id",
    "chanlink id ~/key",
    "chanlink id --agent",
    "chanlink peers list",
    "chanlink peers add tcp://build KEY",
    "chanlink peers list --trust ~/trust",
    "chanlink peers revoke --trust trust ~/key.pub",
    "chanlink ping ADDRESS",
    "chanlink ping --identity key ADDRESS",
    "chanlink ping --identity key --peer key.pub --psk ~/psk ADDRESS",
    "chanlink ping --identity key --peer key.pub unix:~/socket",
    "chanlink cat ADDRESS service",
    "chanlink cat --listen unix:~/socket",
    "chanlink forward --listen tcp://127.0.0.1:0 ADDRESS --to tcp://127.0.0.1:1",
    "chanlink top ADDRESS",
    "rexec serve --listen tcp://127.0.0.1:0",
    "rexec serve --listen tcp://127.0.0.1:0 --identity key",
    "rexec serve --listen tcp://127.0.0.1:0 --identity key --trust ~/trust",
    "rexec serve --listen tcp://127.0.0.1:0 --identity key --trust trust --policy ~/policy",
    "rexec serve --listen tcp://127.0.0.1:0 --identity key --trust trust --audit ~/audit",
    "rexec run ADDRESS -- true",
    "rexec run name -- true",
    "rexec run --share ADDRESS -- true",
    "rexec run --identity key ADDRESS -- true",
    "rexec run --identity key --accept-new ADDRESS -- true",
    "rexec cp --identity key trust ADDRESS:there",
    "rexec ps ADDRESS",
    "rexec key",
]

pytestmark = pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*NOBODY, "true"], capture_output=True).returncode != 0,
    reason="needs a name space of users",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import chanlink

    made = tmp_path_factory.mktemp("folder")
    identity = chanlink.Identity.generate("somebody")
    identity.save(made / "key")
    (made / "trust").write_text(f"{identity.public_key}\n")
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> str:
    """A socket where nobody says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("line", COMMANDS)
def test_it_is_said_in_one_line_and_no_folder_is_made(line: str, folder: Path, address: str) -> None:
    key = (folder / "key.pub").read_text().strip()
    program, *words = [word.replace("ADDRESS", address).replace("KEY", key) for word in line.split()]
    module = {"chanlink": "chanlink", "rexec": "examples.rexec"}[program]
    before = sorted(os.listdir(folder))
    done = subprocess.run(
        [*NOBODY, sys.executable, "-m", module, *words],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SSH_AUTH_SOCK": "~/agent"},
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode in (1, 2, 127, 255), (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    (said,) = done.stderr.splitlines()
    assert "there is no such home folder; set HOME, or write the whole path" in said
    assert sorted(os.listdir(folder)) == before


def test_a_copy_makes_no_folder_called_by_a_tilde(tmp_path: Path) -> None:
    program = """
from examples.rexec.copying_places import Place
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
