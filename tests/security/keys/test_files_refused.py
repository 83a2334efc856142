"""Key folders on file systems that lack hard links, modes, owners or locks: FAT, SMB, some by FUSE."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chanlink import Identity, KnownPeers, PublicKey, Trust
from tests.command.calls import environment
from tests.patience import PATIENCE
from tests.refusing import LINKS, MODES, needs_refusing, refusing

ALICE = Identity.generate("alice").public_key

REFUSALS = {
    "no links": refusing(*LINKS),
    "no links, SMB": refusing(*LINKS, error=errno.EOPNOTSUPP),
    "no links, FUSE": refusing(*LINKS, error=errno.ENOSYS),
    "no modes": refusing(*MODES),
    "no locks": refusing("flock", error=errno.ENOLCK),
    "nothing of it": refusing(*LINKS, *MODES, "fchown", "flock"),
}
pytestmark = [needs_refusing, pytest.mark.parametrize("refuse", REFUSALS.values(), ids=REFUSALS)]

Refuse = Callable[[], None]


def run(home: Path, refuse: Refuse, *command: Any) -> str:
    done = subprocess.run(
        [*map(str, command)], cwd=home, env=environment(home), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, preexec_fn=refuse,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_keys_are_made_and_files_of_peers_changed(refuse: Refuse, tmp_path: Path) -> None:
    """By the command, and by the library: a server that is met for the first time is remembered."""
    program = f"""
from chanlink import Identity, KeyFormatError, KnownPeers, PublicKey
from chanlink.command import main
key = {str(ALICE)!r}
for words in (["keygen", "alice"], ["keygen", "--psk", "shared"], ["id"], ["id"],
              ["peers", "add", "--trust", "trust", key], ["peers", "revoke", "--trust", "trust", "alice"]):
    assert main(words) == 0, words
for name in ("mine", "other"):
    open(name.replace("other", "other.pub"), "w").write("precious")
    try:
        Identity.generate().save(name)
    except KeyFormatError as exc:
        assert "File exists" in str(exc)
    else:
        assert False, "it was overwritten"
known = KnownPeers.load("known", first_use=True)
for name in ("build", "other"):
    known.add("tcp://" + name, PublicKey.parse(key))
"""
    run(tmp_path, refuse, sys.executable, "-c", program)
    assert Identity.load(tmp_path / "alice").public_key == PublicKey.load(tmp_path / "alice.pub")
    assert mode(tmp_path / "shared") == mode(tmp_path / "alice") == 0o600
    assert Trust.load(tmp_path / "trust").check(ALICE) is None
    assert "@revoked" in (tmp_path / "trust").read_text()
    for address in ("tcp://build", "tcp://other"):
        assert KnownPeers.load(tmp_path / "known").find(address, ALICE) is not None
    assert (tmp_path / "mine").read_text() == (tmp_path / "other.pub").read_text() == "precious"
    left = [".config", "alice", "alice.pub", "known", "mine", "other.pub", "shared", "trust"]
    assert sorted(os.listdir(tmp_path)) == left


def test_all_who_race_for_the_first_use_get_the_same_key(refuse: Refuse, tmp_path: Path) -> None:
    program = """
import threading
from concurrent.futures import ThreadPoolExecutor
import os
from chanlink import Identity
for lap in range(5):
    os.environ["CHANLINK_IDENTITY"] = f"{lap}/mine"
    start = threading.Barrier(8)
    def race():
        start.wait()
        return Identity.default().public_key
    with ThreadPoolExecutor(8) as pool:
        keys = {future.result() for future in [pool.submit(race) for _ in range(8)]}
    assert len(keys) == 1, keys
    assert sorted(os.listdir(str(lap))) == ["mine", "mine.pub"]
"""
    run(tmp_path, refuse, sys.executable, "-c", program)
