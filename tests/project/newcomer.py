"""Follows the README as a newcomer does: from a copy in an empty folder to two programs that talk with each other.

Called by `make newcomer PYTHON=...`. It prints how long each block took, and how long it is until the answer is there.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from .pages import ROOT, pasted
from .pasting import run_page

GOAL = "python client.py"


def main(python: str) -> None:
    found = shutil.which(python)
    if found is None:
        sys.exit(f"there is no {python}")
    page = ROOT / "README.md"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "python3").symlink_to(Path(found).resolve())
        done = run_page(page, Path(folder))
    until = 0.0
    for block, seconds in zip(pasted(page), done.seconds, strict=False):
        print(f"{seconds:6.1f} s  {block.file or block.text.partition(chr(10))[0]}")
        until += seconds
        if GOAL in block.text:
            print(f"{until:6.1f} s  until two programs have talked with each other")
    if done.problem:
        sys.exit("\n".join([*done.output, done.problem]))


if __name__ == "__main__":
    main(*sys.argv[1:])
