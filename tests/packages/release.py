"""Make of the tree the tree of a version: ``python -m tests.packages.release 0.2.0``. ``make release`` does the rest.

The version is written where it stands, the parts of the change log are gathered below a heading of their own, and the
message of the tag is written. Nothing is committed, tagged or published: whoever releases looks at it first.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from packaging.version import InvalidVersion, Version

from .environments import ROOT

VERSION = re.compile(r'^(__version__ = )"(.*)"$', re.MULTILINE)
VERSIONED = ("chanlink", "examples/rexec")
"""Packages that are released together, with one version."""
PARTS = "docs/changelog.d"
TAG_MESSAGE = "build/tag-message"


class Refused(Exception):
    """What is wrong, in a line."""


def release(root: Path, text: str) -> None:
    """Raises `Refused` before anything is changed."""
    version = checked(text)
    sources = [root / folder / "__init__.py" for folder in VERSIONED]
    for source in sources:
        if (match := VERSION.search(source.read_text())) is None or version <= Version(match[2]):
            raise Refused(f"{source} has a version that is not before {version}")
    if changed := output(root, "git", "status", "--porcelain"):
        raise Refused(f"there is something that is not committed:\n{changed}")
    parts = [path for path in (root / PARTS).glob("*.md") if path.name != "README.md"]
    if unsorted := [path.name for path in parts if not path.read_text().startswith("### ")]:
        raise Refused(f"without a heading, such as ### Added, in {PARTS}: {', '.join(sorted(unsorted))}")
    for source in sources:
        source.write_text(VERSION.sub(rf'\g<1>"{version}"', source.read_text()))
    output(root, sys.executable, "-m", "scriv", "collect", "--version", str(version))
    log = root / "CHANGELOG.md"
    log.write_text(log.read_text().replace("](../", "](docs/"))  # it is in another folder than its parts were
    message = root / TAG_MESSAGE
    message.parent.mkdir(exist_ok=True)
    message.write_text(f"chanlink {version}\n\n{news(log.read_text(), str(version))}")


def checked(text: str) -> Version:
    try:
        version = Version(text)
    except InvalidVersion:
        raise Refused(f"{text!r} is no version; write one like 0.2.0 or 1.0.0rc1") from None
    if str(version) != text or version.is_devrelease or version.local:
        raise Refused(f"{text!r} is not how a version that is released is written")
    return version


def news(log: str, version: str) -> str:
    """What stands below the heading of a version."""
    _, _, after = log.partition(f"\n## {version} (")
    return after.partition("\n")[2].partition("\n## ")[0].strip() + "\n"


def output(root: Path, *command: str) -> str:
    return subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser("tests.packages.release")
    parser.add_argument("version")
    try:
        release(ROOT, parser.parse_args().version)
    except Refused as exc:
        sys.exit(f"no release: {exc}")
    if ".invalid" in (ROOT / "pyproject.toml").read_text():
        print("not to be published yet: the addresses in pyproject.toml lead nowhere")


if __name__ == "__main__":
    main()
