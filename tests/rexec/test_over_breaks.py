"""git and rsync through rexec, over a connection that is cut twenty times.

`MIB` is what they move; the figures of the page about breaks were made with 300.
"""

import filecmp
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cutting import CuttingProxy, cutting
from tests.rexec.cli.screens import needs
from tests.rexec.servers import COMMAND, MIB, PATIENCE, ROOT, serving

SIZE = int(os.environ.get("REXEC_TREE_MIB", "8")) * MIB
CUTS = 20
FILES = 32
THROUGH = shlex.join([*COMMAND, "run", "--resume", "5m", "--shell"])
"""What stands in the place of ssh."""


class Site:
    """A user who knows a server as ``build``, the proxy that leads there and cuts, and a tree of files."""

    def __init__(self, home: Path, proxy: CuttingProxy, key: str, identity: Path) -> None:
        self.home, self.proxy = home, proxy
        config = home / ".config" / "chanlink"
        config.mkdir(parents=True, mode=0o700)
        (config / "hosts.toml").write_text(
            f'[build]\naddress = "{proxy.address}"\nkey = "{key}"\nidentity = "{identity}"\n'
        )
        self.tree = home / "tree"
        self.tree.mkdir()
        for number in range(FILES):
            (self.tree / f"file{number}").write_bytes(os.urandom(SIZE // FILES))

    def run(self, *words: str, folder: Path | None = None) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "GIT_SSH_COMMAND": THROUGH,
            **{f"GIT_{who}_{what}": "me@here" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        patience = PATIENCE * (1 + SIZE / (100 * MIB))
        done = subprocess.run(words, cwd=folder or self.home, env=environment, capture_output=True, timeout=patience)
        assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])

    def same(self, one: Path, other: Path) -> None:
        names = [f"file{number}" for number in range(FILES)]
        assert filecmp.cmpfiles(one, other, names, shallow=False) == (names, [], [])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "server").mkdir()
    (tmp_path / "home").mkdir()
    with (
        serving(tmp_path / "server") as server,
        cutting(server.address, every=SIZE // (CUTS + 8), times=CUTS) as proxy,
    ):
        yield Site(tmp_path / "home", proxy, server.key, server.directory / "client")


@needs("git")
def test_git_clones_and_pushes(site: Site) -> None:
    there, here = site.home / "there", site.home / "here"
    site.run("git", "init", "-q", "-b", "main", str(there))
    for file in site.tree.iterdir():
        file.rename(there / file.name)
    site.run("git", "add", ".", folder=there)
    site.run("git", "commit", "-q", "-m", "all of it", folder=there)
    site.run("git", "clone", "-q", f"build:{there}", str(here))
    assert site.proxy.cuts == CUTS
    site.same(there, here)
    site.proxy.begin_again()
    for number in range(FILES):
        (here / f"file{number}").write_bytes(os.urandom(SIZE // FILES))
    site.run("git", "commit", "-q", "-a", "-m", "all anew", folder=here)
    site.run("git", "push", "-q", "origin", "main:pushed", folder=here)
    assert site.proxy.cuts == CUTS
    site.run("git", "checkout", "-q", "pushed", folder=there)
    site.same(there, here)


@needs("rsync")
def test_rsync_copies_a_tree_there_and_back(site: Site) -> None:
    there, back = site.home / "there", site.home / "back"
    site.run("rsync", "-a", "-e", THROUGH, f"{site.tree}/", f"build:{there}")
    assert site.proxy.cuts == CUTS
    site.same(site.tree, there)
    site.proxy.begin_again()
    site.run("rsync", "-a", "-e", THROUGH, f"build:{there}/", str(back))
    assert site.proxy.cuts == CUTS
    site.same(site.tree, back)


def test_a_pipe_is_whole(site: Site) -> None:
    """Without either of them."""
    data = os.urandom(SIZE)
    (site.home / "data").write_bytes(data)
    site.run("sh", "-c", f"{THROUGH} build cat < data > copy")
    assert site.proxy.cuts == CUTS
    assert (site.home / "copy").read_bytes() == data
