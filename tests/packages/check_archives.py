"""What is in the sdists and wheels, and that they are the same whenever they are built."""

import hashlib
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from .environments import DISTRIBUTIONS, ROOT, build

SDIST = [
    *(".ci", "chanlink", "chanlink_command.py", "chanlink_pytest.py", "docs", "examples", "tests"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md"),
]
"""What one needs to read it, to change it and to test it."""


def tracked(*paths: str) -> set[str]:
    return set(subprocess.check_output(["git", "ls-files", *paths], cwd=ROOT, text=True).splitlines())


def installed_by(wheel: Path) -> set[str]:
    """The files of a wheel, beside those that describe it, which are what they have to be."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    described = {name for name in names if ".dist-info/" in name}
    assert {name.partition("/")[2] for name in described} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }
    return names - described


def test_the_sdist_has_what_the_repository_has_there_and_nothing_else(dist: Path) -> None:
    (sdist,) = dist.glob("chanlink-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names == tracked(*SDIST) | {"PKG-INFO", "pyproject.toml", ".gitignore"}


def test_the_wheel_has_the_package_the_program_and_the_plugin_for_pytest(wheel: Path) -> None:
    assert installed_by(wheel) == tracked("chanlink", "chanlink_command.py", "chanlink_pytest.py")


def test_what_an_index_shows_has_links_that_work_there(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        _, _, shown = archive.read(name).decode().partition("\n\n")
    links = re.findall(r"\]\(([^)\s]+)\)", shown)
    assert len(links) > 10
    assert all(link.startswith("https://") for link in links)
    assert [link for link in links if re.search(r"/blob/v\d\S+/docs/README\.md$", link)]


def test_what_is_built_twice_is_the_same(dist: Path, tmp_path: Path) -> None:
    build(ROOT, tmp_path)
    for path in [*tmp_path.glob("*.whl"), *tmp_path.glob("*.tar.gz")]:
        assert digest(path) == digest(dist / path.name)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_index_takes_them(dist: Path) -> None:
    archives = [*map(str, dist.glob("*.whl")), *map(str, dist.glob("*.tar.gz"))]
    assert len(archives) == 2 * len(DISTRIBUTIONS)
    command = [sys.executable, "-m", "twine", "check", "--strict", *archives]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("PASSED") == len(archives)
