"""The tree of the chaos, and whether the results are right."""

import hashlib
import random
import re
from collections import Counter
from pathlib import Path

LARGEST = 300_000
"""Bytes of a file."""


def made(folder: Path, files: int) -> dict[str, str]:
    """Make a tree, and return what one process finds the SHA-256 of its files to be."""
    found: dict[str, str] = {}
    for number in range(files):
        name, content = f"{number % 10}/{number}", random.randbytes(random.randrange(LARGEST))
        path = folder / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def mistakes(expected: dict[str, str], printed: str, said: str) -> list[str]:
    """What is wrong with the results that were printed, and with what the workers said that they have done."""
    right = set(expected.items())
    found = {(name, sha256) for sha256, _, name in (line.partition("  ") for line in printed.splitlines())}
    counted = Counter(re.findall(r"^counted: (.*)", said, re.MULTILINE))
    return [
        *(f"{name} should be {sha256}" for name, sha256 in sorted(right - found)),
        *(f"{name} is not {sha256}" for name, sha256 in sorted(found - right)),
        *(f"{id} was counted {times} times" for id, times in counted.items() if times > 1),
    ]
